"""`codalab-worker check` on the real parts: all well, and each failure provoked for real."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import docker
import pika
import pytest

from sandbox import labels
from tests.support.checked import Checked, check
from tests.support.command import run, run_on_terminal
from tests.support.rabbit import Management, Owner
from tests.support.run_queue import RunQueue
from worker.broker.connection import ensure_queue
from worker.demo import images, packages, registry
from worker.demo.parts import Parts
from worker.demo.places import LOOPBACK
from worker.demo.registry import ProtectedRegistry
from worker.exit_codes import ExitCode
from worker.kept.folders import identity

pytestmark = pytest.mark.acceptance

# What stands in files and URLs and must never be shown.
HUSH = "hush-hush"
AWAY, LOGGED_OUT = f"{LOOPBACK}:1", f"{LOOPBACK}:2"
ALL = {"settings", "broker", "intake", "leases", "clock", "updates", "engine", "limits", "gpu", "temp dir"} | {
    "free disk",
    "cache",
    "registry",
    "leftovers",
}


class Cases:
    """Checks that run side by side, each in a folder of its own; looked at one by one."""

    def __init__(self, pool: ThreadPoolExecutor, settings: dict[str, str], root: Path) -> None:
        self._pool = pool
        self._root = root
        self._begun: dict[str, Future[Checked]] = {}
        self.settings = settings

    def folder(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir(exist_ok=True)
        return folder

    def begin(self, name: str, *within: str, **more: str) -> None:
        """`within` is the command that it is run by; `more` are settings."""
        folder = self.folder(name)
        self._begun[name] = self._pool.submit(check, self.settings, folder, within=within, **more)

    def all_ended(self) -> None:
        """Waits for them: each has its queues and containers while it lasts."""
        wait(self._begun.values())

    def __getitem__(self, name: str) -> Checked:
        checked = self._begun[name].result()
        password = urlsplit(self.settings["BROKER_URL"]).password or ""
        assert password not in checked.said
        assert HUSH not in checked.said
        assert "Traceback" not in checked.said
        return checked


def _faketime() -> str:
    if packages.program("faketime") is None:
        packages.install(["faketime"])
    return packages.need("faketime", "faketime")


def _mounted_apart(folder: Path) -> tuple[str, ...]:
    """A file system that this process alone sees at that folder: the engine has its own mounts."""
    folder.mkdir()
    return _with_mounts('mount -t tmpfs none "$1"; shift', str(folder))


def _with_mounts(script: str, *arguments: str) -> tuple[str, ...]:
    """A command that has the script change mounts that nobody else sees, and then becomes the command that follows."""
    unshare = packages.need("unshare", "util-linux")
    return (unshare, "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh", *arguments)


@pytest.fixture(scope="module")
def updates_queue(parts: Parts) -> Iterator[str]:
    """Exchange and queue as a site has them, of this module's own."""
    name = f"submission-updates.{uuid4().hex[:8]}"
    with closing(pika.BlockingConnection(pika.URLParameters(parts.broker_url))) as connection:
        ensure_queue(connection, name)
    yield name
    with closing(pika.BlockingConnection(pika.URLParameters(parts.broker_url))) as connection:
        connection.channel().queue_delete(name)
        connection.channel().exchange_delete(name)


@pytest.fixture(scope="module")
def cases(
    parts: Parts, owner: Owner, management: Management, updates_queue: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cases]:
    queue = RunQueue(owner, "checked")
    with queue._channel() as channel:
        channel.queue_declare(queue.name, durable=True)
    settings = {
        "BROKER_URL": owner.broker_url,
        "DOCKER_HOST": parts.docker_host,
        "WORKER_QUEUE": queue.name,
        "WORKER_UPDATES_QUEUE": updates_queue,
    }
    with ThreadPoolExecutor(4) as pool, management.owner() as other, registry.protected() as protected:
        cases = Cases(pool, settings, tmp_path_factory.mktemp("check"))
        _begin_at_the_broker(cases, management, other)
        _begin_on_this_host(cases)
        _begin_at_a_registry(cases, protected)
        yield cases


def _begin_at_the_broker(cases: Cases, management: Management, other: Owner) -> None:
    url = cases.settings["BROKER_URL"]
    login = urlsplit(url)
    nowhere = f"{login.scheme}://{login.username}:{HUSH}@{login.hostname}"
    user = urlsplit(other.broker_url).username
    for vhost, rights in (("/", (".*", "^$", ".*")), (other.vhost, (".*", "^checked$", ".*"))):
        configure, write, read = rights
        permissions: dict[str, object] = {"configure": configure, "write": write, "read": read}
        management.put(f"permissions/{quote(vhost, safe='')}/{user}", permissions)
    cases.begin("all well")
    cases.begin("wrong password", BROKER_URL=f"{nowhere}:{login.port}{login.path}")
    cases.begin("no vhost", BROKER_URL=url.replace(login.path, "/no-such-vhost"))
    cases.begin("TLS", BROKER_USE_SSL="true")
    cases.begin("no broker", BROKER_URL=f"{nowhere}:1/")
    cases.begin("no host", BROKER_URL=f"amqp://user:{HUSH}@broker.invalid/")
    cases.begin("few rights", BROKER_URL=other.broker_url)
    cases.begin("no queue", WORKER_QUEUE="absent", WORKER_LEASE_TTL="0")


def _begin_on_this_host(cases: Cases) -> None:
    cases.begin("no engine", DOCKER_HOST="unix:///no/such.sock")
    cases.begin("no runtime", WORKER_RUNTIME="no-such-runtime", USE_GPU="true")
    cases.begin("apart", *_mounted_apart(cases.folder("apart") / "temp"))
    cases.begin("no kernel log", *_with_mounts("mount --bind /dev/null /dev/kmsg"))
    cases.begin("no folder", SUBMISSION_TEMP_DIR="/proc/no/such")
    cases.begin("little disk", WORKER_MIN_FREE_DISK="1000000g")
    cases.begin("clock", _faketime(), "-f", "+600s", FAKETIME_DONT_FAKE_MONOTONIC="1")
    cases.begin("credentials", WORKER_REGISTRY_AUTH=_auths(cases, "credentials", HUSH))


def _begin_at_a_registry(cases: Cases, protected: ProtectedRegistry) -> None:
    """Registries that take a login, refuse it, are away, and have none."""
    port = protected.address.rpartition(":")[2]
    passwords = {protected.address: protected.password, f"localhost:{port}": HUSH, AWAY: HUSH}
    logins = {host: f"{protected.user}:{password}".encode() for host, password in passwords.items()}
    auths = {f"https://{host}/v1/": {"auth": base64.b64encode(login).decode()} for host, login in logins.items()}
    cases.begin(
        "logins", WORKER_REGISTRY_AUTH=_auths(cases, "logins", json.dumps({"auths": {**auths, LOGGED_OUT: {}}}))
    )


def _auths(cases: Cases, name: str, text: str) -> str:
    path = cases.folder(name) / "config.json"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_where_all_is_well_every_line_says_so(cases: Cases) -> None:
    checked = cases["all well"]
    assert [line for line in checked.lines if line["state"] != "ok"] == []
    assert {line["name"] for line in checked.lines} == ALL
    assert checked.exit_code == ExitCode.OK


@pytest.mark.parametrize(
    ("case", "sentence", "mend"),
    [
        ("wrong password", "it refuses this user or password", "Copy BROKER_URL anew"),
        ("no vhost", "it has no such virtual host", "rabbitmqctl add_vhost 'no-such-vhost'"),
        ("TLS", "that port speaks no TLS", "Set BROKER_USE_SSL=false"),
        ("no broker", "nothing listens there", "Correct host and port in BROKER_URL"),
        ("no host", "its host name is unknown", "Correct the host in BROKER_URL"),
    ],
)
def test_a_broker_that_cannot_be_worked_with_is_told_by_what_to_do(
    cases: Cases, case: str, sentence: str, mend: str
) -> None:
    checked = cases[case]
    failures = {line["name"]: line for line in checked.lines if line["state"] == "failed"}
    assert sentence in failures["broker"]["found"]
    assert mend in failures["broker"]["mend"]
    assert failures.keys() <= {"broker", "updates"}
    assert checked.states("engine") == ["ok"]  # one that fails does not stop the others
    assert checked.exit_code == ExitCode.UNREACHABLE


def test_an_owner_who_may_not_write_updates_or_leases_is_told_what_to_grant(cases: Cases) -> None:
    checked = cases["few rights"]
    failure = checked.only_failure("updates")
    assert failure["found"].startswith("updates may not be published to the exchange")
    assert "rabbitmqctl set_permissions -p '/' 'owner-" in failure["mend"]
    assert "handed out twice" in checked.warning("leases")["found"]


def test_a_queue_that_is_not_there_yet_and_leases_switched_off_are_warnings(cases: Cases) -> None:
    checked = cases["no queue"]
    assert "there is no queue absent yet" in checked.warning("intake")["found"]
    assert checked.warning("leases")["mend"] == "Set WORKER_LEASE_TTL=120s."
    assert checked.exit_code == ExitCode.OK


def test_no_engine_is_told_once(cases: Cases) -> None:
    failure = cases["no engine"].only_failure("engine")
    assert failure["found"].startswith("No Docker engine answers at unix:///no/such.sock")
    assert "systemctl start docker" in failure["mend"]


def test_a_runtime_and_gpus_that_the_engine_lacks_are_told(cases: Cases) -> None:
    failures = {line["name"]: line for line in cases["no runtime"].lines if line["state"] == "failed"}
    assert failures.keys() == {"limits", "gpu"}
    assert "no-such-runtime" in failures["limits"]["found"]
    assert failures["limits"]["mend"].startswith("Set WORKER_RUNTIME to one of ")
    assert "nvidia-ctk" in failures["gpu"]["mend"]


def test_where_nobody_could_be_told_of_the_limit_of_processes_it_warns(cases: Cases) -> None:
    assert cases["all well"].states("limits") == ["ok"]
    assert "kernel's log cannot be read" in cases["no kernel log"].warning("limits")["found"]


def test_a_temp_dir_that_the_engine_does_not_see_is_told(cases: Cases) -> None:
    checked = cases["apart"]
    failure = checked.only_failure("temp dir")
    assert failure["found"].startswith("The container engine does not see what this worker writes to ")
    assert "in memory (tmpfs)" in checked.warning("temp dir")["found"]


def test_a_temp_dir_that_cannot_be_made_is_told(cases: Cases) -> None:
    failure = cases["no folder"].only_failure("temp dir")
    assert failure["found"].startswith("/proc/no/such cannot be written to: ")
    assert failure["mend"].startswith("mkdir -p /proc/no/such && chmod 700")


def test_little_free_disk_is_told(cases: Cases) -> None:
    failure = cases["little disk"].only_failure("free disk")
    assert "1000000.0 GiB wanted (WORKER_MIN_FREE_DISK)" in failure["found"]
    assert "docker image prune" in failure["mend"]


def test_a_clock_that_is_wrong_is_told_by_broker_and_engine(cases: Cases) -> None:
    failures = [line for line in cases["clock"].lines if line["state"] == "failed"]
    assert {line["name"] for line in failures} == {"clock"}
    assert sorted(line["found"].rpartition("that of ")[2] for line in failures) == ["the broker", "the engine"]
    assert {line["mend"] for line in failures} == {"Set this host's clock: timedatectl set-ntp true"}


def test_broken_credentials_are_told(cases: Cases) -> None:
    assert cases["credentials"].only_failure("registry")["found"].endswith("config.json is no JSON")


def test_credentials_are_shown_to_their_registry(cases: Cases) -> None:
    checked = cases["logins"]
    failure = checked.only_failure("registry")
    assert failure["found"].startswith("localhost:")
    assert "refuses the credentials in " in failure["found"]
    assert failure["mend"].startswith(f"docker --config {cases.folder('logins')} login localhost:")
    told = {line["state"]: line["found"] for line in checked.lines if line["name"] == "registry" if line != failure}
    assert told["ok"].endswith(" takes the credentials")
    doubts = [line["found"] for line in checked.lines if line["name"] == "registry" and line["state"] == "warning"]
    assert doubts[0].startswith(f"the credentials for {AWAY} could not be tried: ")
    assert doubts[1].endswith(f"names {LOGGED_OUT}, but has no credentials for it")


def test_it_leaves_no_trace(cases: Cases, owner: Owner, management: Management, client: docker.DockerClient) -> None:
    cases.all_ended()
    queue = RunQueue(owner, cases.settings["WORKER_QUEUE"])
    queue.publish(b"{}")
    checked = check(cases.settings, folder := cases.folder("no trace"))
    assert checked.exit_code == ExitCode.OK
    assert list(folder.iterdir()) == []  # nor the temp dir, which the daemon makes as its own user
    with queue._channel() as channel:
        method, _, body = channel.basic_get(queue.name, auto_ack=True)
        assert (method and method.redelivered, body) == (False, b"{}")  # never taken, not even for a moment
    queues = management.get(f"queues/{owner.vhost}")
    assert isinstance(queues, list)
    assert not [one["name"] for one in queues if "check." in one["name"]]
    own = identity(folder / "temp", client.info()["Name"])
    assert not client.containers.list(all=True, ignore_removed=True, filters={"label": f"{labels.WORKER}={own}"})


def test_what_a_dead_worker_left_is_told(cases: Cases, client: docker.DockerClient) -> None:
    folder = cases.folder("leftovers")
    (folder / "temp" / "runs" / "lost").mkdir(parents=True)
    (folder / "temp" / "try-left").mkdir()
    label = {labels.WORKER: identity(folder / "temp", client.info()["Name"])}
    left = client.containers.create(images.ensure_base(client), labels=label)
    try:
        checked = check(cases.settings, folder)
    finally:
        left.remove()
    found = [line["found"] for line in checked.lines if line["name"] == "leftovers"]
    assert found == [
        "1 folders of runs that nobody works on: lost",
        "1 folders of commands",
        f"1 containers of this worker, which does not run: {str(left.id)[:12]}",
    ]
    assert checked.exit_code == ExitCode.OK


@pytest.mark.parametrize("as_json", [True, False])
def test_settings_that_cannot_be_are_a_matter_of_usage(tmp_path: Path, as_json: bool) -> None:
    wrong = {"BROKER_URL": f"amqp://user:{HUSH}@host/", "WORKER_CONCURENCY": "2"}
    done = run(["check", *(["--json"] if as_json else [])], wrong, tmp_path)
    assert done.exit_code == ExitCode.USAGE
    assert "did you mean WORKER_CONCURRENCY?" in done.stdout
    assert HUSH not in done.stdout + done.stderr
    if as_json:
        assert json.loads(done.stdout)["ok"] is False


SHOWN: dict[str, Callable[[Cases, Path], str]] = {
    "terminal": lambda cases, folder: run_on_terminal(["check"], cases.settings, folder).stderr,
    "pipe": lambda cases, folder: run(["check"], cases.settings, folder).stdout,
}


@pytest.mark.parametrize("where", SHOWN)
def test_people_read_a_table_and_pipes_plain_lines(cases: Cases, tmp_path: Path, where: str) -> None:
    shown = SHOWN[where](cases, tmp_path)
    assert ("\x1b[" in shown) is (where == "terminal")
    for name in ALL:
        assert name in shown
    assert "0 failed, " in shown
    assert ": a worker can work here" in shown
