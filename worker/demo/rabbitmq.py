"""RabbitMQ: a private node of Debian's package, with its HTTP administration, on loopback ports of its own.

Nothing of a RabbitMQ that the machine may already have is touched: other node name, other ports, other data,
and an epmd (Erlang's port mapper) of our own that ends with it.
"""

import os
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests

from worker.demo import packages
from worker.demo.places import LOOPBACK, fresh_folder, pick_port, say
from worker.demo.processes import Child, PartsError, wait_until
from worker.demo.processes import start as start_process
from worker.demo.processes import stop as stop_process
from worker.demo.service import Service

SERVERS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/local/lib/rabbitmq/bin/rabbitmq-server")
USER = "admin"
PASSWORD = "admin"  # noqa: S105 - of a node that only this machine can reach, and that dies with the demo
PORTS = {"amqp": 10672, "http": 10673, "distribution": 10674, "epmd": 10675}

# Erlang's schedulers would spin for a while before they sleep, which shows in measurements; and its port for other
# nodes would listen to the whole network.
NO_SPINNING = "+sbwt none +sbwtdcpu none +sbwtdio none"
NODES_ON_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"

# Erlang terms, read straight by the server: rabbitmq.conf would first be compiled into these, at each start.
# The user is the administrator of the vhost "/".
CONFIG = """
[{{rabbit, [
    {{tcp_listeners, [{{"{host}", {amqp}}}]}},
    {{default_user, <<"{user}">>}}, {{default_pass, <<"{password}">>}}, {{loopback_users, []}},
    {more}
    {{log, [{{console, [{{enabled, true}}, {{level, warning}}]}}, {{file, [{{file, false}}]}}]}}
  ]}},
  {apps}
  {{rabbitmq_management, [{{tcp_config, [{{ip, "{host}"}}, {{port, {http}}}]}}]}}].
"""


def system_packages() -> list[str]:
    """Name RabbitMQ's package where it is missing and may be installed; else a named broker serves too."""
    may_install = packages.is_debian_like() and os.geteuid() == 0
    if server() or (not may_install and os.environ.get("BROKER_URL")):
        return []
    return ["rabbitmq-server"]


def start(folder: Path) -> Service:
    """Bring up a private node, or take the broker that BROKER_URL names where there is none to start."""
    installed = server()
    return start_node(installed, folder) if installed else _named_broker()


def start_node(
    script: str,
    folder: Path,
    *,
    ports: dict[str, int] | None = None,
    terms: str = "",
    apps: str = "",
    host: str = LOOPBACK,
) -> Service:
    """Bring up a node; `terms` are more of its settings, `apps` those of its plugins, each followed by a comma.

    `host` is the address of this machine that clients and administrators find it at.
    """
    ports = ports or {name: pick_port(port) for name, port in PORTS.items()}
    _write_config(fresh_folder(folder), {"more": terms, "apps": apps, "host": host, **ports})
    env = environment(folder, ports)
    epmd = start_process("epmd", [packages.need("epmd", "erlang-base")], folder, env)
    try:
        node = start_process("rabbitmq", [script], folder, env)
        service = _service(host, ports, (node, epmd))
        wait_until(lambda: answers(service), node, 90)
    except BaseException:
        stop_process(epmd, grace=0)
        raise
    return service


def answers(service: Service) -> bool:
    """Ask the HTTP administration whether the broker's listeners are up."""
    try:
        reply = requests.get(f"{service.address['broker_api']}/api/health/checks/protocol-listener/amqp", timeout=5)
    except requests.RequestException:
        return False
    return reply.status_code == HTTPStatus.OK


def stop(service: Service) -> None:
    """End it at once: it holds nothing that is to be kept, and an orderly end takes six seconds."""
    for child in service.children:
        stop_process(child, grace=0)


def server() -> str | None:
    """Find the server's own script: Debian's wrapper on the PATH would change to another user."""
    return next((path for path in SERVERS if os.access(path, os.X_OK)), None)


def _write_config(folder: Path, settings: Mapping[str, object]) -> None:
    config = CONFIG.format(user=USER, password=PASSWORD, **settings)
    (folder / "advanced.config").write_text(config)
    (folder / "plugins").write_text("[rabbitmq_management].\n")


def environment(folder: Path, ports: dict[str, int]) -> dict[str, str]:
    """Give what the node, and whatever administers it, finds in its environment."""
    return {
        "HOME": str(folder),  # where Erlang keeps the cookie that joins nodes
        "PATH": packages.SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "RABBITMQ_NODENAME": f"codalab-parts-{ports['amqp']}@localhost",
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_DIST_PORT": str(ports["distribution"]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{NO_SPINNING} {NODES_ON_LOOPBACK}",
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": LOOPBACK,
    }


def _service(host: str, ports: dict[str, int], children: tuple[Child, ...]) -> Service:
    login = f"{USER}:{PASSWORD}@{host}"
    addresses = {
        "broker_url": f"amqp://{login}:{ports['amqp']}/%2F",
        "broker_api": f"http://{login}:{ports['http']}",
    }
    return Service("rabbitmq", addresses, children)


def _named_broker() -> Service:
    """Take the broker of BROKER_URL, its HTTP administration from BROKER_API or at the usual port."""
    named = os.environ.get("BROKER_URL")
    if not named:
        hint = packages.how_to_install(["rabbitmq-server"])
        raise PartsError(f"no RabbitMQ here: {hint}, or name a running one in BROKER_URL")
    login = urlsplit(named).netloc.rpartition("@")[0]
    usual = f"http://{login}@{urlsplit(named).hostname}:15672"
    say("rabbitmq", f"using the broker of BROKER_URL at {urlsplit(named).hostname}")
    return Service("rabbitmq", {"broker_url": named, "broker_api": os.environ.get("BROKER_API", usual)})
