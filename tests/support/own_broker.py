"""A RabbitMQ node of a test's own, to be restarted, to run short of memory, and to lose patience within seconds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.certificate import Certificate
from worker.demo import packages, rabbitmq
from worker.demo.places import LOOPBACK, pick_port

CONSUMER_TIMEOUT = 2.0
_USUAL_TIMEOUT = 1800.0
IMPATIENT = "{channel_tick_interval, 250},"
"""Has a node look at its channels' consumer timeouts four times a second."""
_TLS = (
    '{{ssl_listeners, [{{"{host}", {port}}}]}},'
    '{{ssl_options, [{{certfile, "{one.certificate}"}}, {{keyfile, "{one.key}"}}]}},'
)
_CTL_PATIENCE = 60.0


class OwnBroker:
    """`tls_port` is for those who speak TLS, where it has a certificate."""

    def __init__(self, url: str, api: str, folder: Path, ports: dict[str, int]) -> None:
        self.url = url
        self.api = api
        self.tls_port = ports["amqps"]
        self._folder = folder
        self._ports = ports

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Cleanly, as an upgrade does it."""
        self._ctl("stop_app")
        yield
        self._ctl("start_app")

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Whoever opens a channel meanwhile has `CONSUMER_TIMEOUT` seconds to acknowledge."""
        self._set_consumer_timeout(CONSUMER_TIMEOUT)
        yield
        self._set_consumer_timeout(_USUAL_TIMEOUT)

    def collect_garbage(self) -> None:
        """So that its memory is what it needs."""
        self._ctl("force_gc")

    def _set_consumer_timeout(self, seconds: float) -> None:
        self._ctl("eval", f"application:set_env(rabbit, consumer_timeout, {round(seconds * 1000)}).")

    @contextmanager
    def short_of_memory(self) -> Iterator[None]:
        """It raises its alarm, and takes nothing from whoever publishes."""
        self._ctl("set_vm_memory_high_watermark", "0")
        yield
        self._ctl("set_vm_memory_high_watermark", "0.9")

    @property
    def environment(self) -> dict[str, str]:
        """In which `rabbitmqctl` is found, and finds this node."""
        found = rabbitmq.environment(self._folder, self._ports)
        return {**found, "PATH": f"{Path(rabbitmq.SERVERS[0]).parent}:{found['PATH']}"}

    def _ctl(self, *words: str) -> None:
        done = subprocess.run(
            ["rabbitmqctl", "--quiet", *words],
            env=self.environment,
            check=False,
            timeout=_CTL_PATIENCE,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"rabbitmqctl {words[0]}: {done.stdout}{done.stderr}"


@contextmanager
def own_broker(
    folder: Path,
    *,
    terms: str = IMPATIENT,
    apps: str = "",
    host: str = LOOPBACK,
    certificate: Certificate | None = None,
) -> Iterator[OwnBroker]:
    """Has one for a while; `terms` and `apps` are settings as Erlang terms, `host` is where it listens."""
    script = rabbitmq.server() or packages.need(rabbitmq.SERVERS[0], "rabbitmq-server")
    ports = {name: pick_port(0) for name in (*rabbitmq.PORTS, "amqps")}
    if certificate:
        terms += _TLS.format(host=host, port=ports["amqps"], one=certificate)
    service = rabbitmq.start_node(script, folder, ports=ports, terms=terms, apps=apps, host=host)
    try:
        yield OwnBroker(service.address["broker_url"], service.address["broker_api"], folder, ports)
    finally:
        rabbitmq.stop(service)
