"""The systemd unit, the install beneath it, and a real systemd that starts, restarts, reloads and stops it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from configparser import RawConfigParser
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml

from config.settings import Settings
from tests.support import operating, worker_image
from tests.support.booted import booted
from tests.support.competition import ANSWER, CROWD, CROWDED, Competition
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import PrivateQueue, gated, statuses
from worker.daemon import _CONFIRM_MARGIN, _INTERRUPT_MARGIN
from worker.demo import packages
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

UNIT = operating.ROOT / "config" / "codalab-worker.service"
MOST_EXPOSED = 4.3
# Each of them gives the unit a mount namespace of its own, out of which the engine sees no mount.
NAMESPACES = ("Protect", "Private", "Read", "Inaccessible", "Bind", "Temporary", "Mount", "Root", "Proc", "Dynamic")
# The drain, then the grace of the containers, then what the daemon gives statuses and slots to end.
LONGEST_STOP = Settings().worker_drain_timeout + Settings().worker_stop_grace + _CONFIRM_MARGIN + _INTERRUPT_MARGIN
HARMLESS = {"ProtectClock", "ProtectHostname"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documentation's commands make, below a folder in place of the root."""
    root = tmp_path_factory.mktemp("root")
    source = root / "source"
    source.mkdir()
    for name in ("config", "constraints", "protocol", "sandbox", "worker", "pyproject.toml", "README.md", "LICENSE"):
        path = operating.ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, source / name)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(worker_image.wheels()), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), **offline}
    operating.run("settings", {}, source, environment)
    operating.run("pip", {"/opt/": f"{root}/opt/"}, source, environment)
    operating.run("systemd", {"/etc/": f"{root}/etc/"}, source, environment)
    text = UNIT.read_text().replace("/opt/", f"{root}/opt/").replace("/etc/codalab", f"{root}/etc/codalab")
    (root / "codalab-worker.service").write_text(text)
    return root


@pytest.fixture(scope="module")
def service() -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's names have capitals
    parser.read(UNIT)
    return parser


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if packages.program("systemd-analyze") is None:
        packages.install(["systemd"])
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_has_nothing_to_say_against_it(installed: Path) -> None:
    verified = analyze("verify", str(installed / "codalab-worker.service"))
    # A key that it does not know is a line on stderr, with exit code 0.
    assert (verified.returncode, verified.stderr, verified.stdout) == (0, "", "")


def test_a_second_worker_on_the_host_has_a_unit_of_its_own(installed: Path) -> None:
    source = installed / "source"
    (source / "second.env").touch()
    operating.run("second-unit", {"/etc/": f"{installed}/etc/"}, source, {"PATH": os.environ["PATH"]})
    unit = installed / "etc" / "systemd" / "system" / "codalab-worker-second.service"
    unit.write_text(
        unit.read_text().replace("/opt/", f"{installed}/opt/").replace("/etc/codalab", f"{installed}/etc/codalab")
    )
    assert analyze("verify", str(unit)).stderr == ""
    changed = set(unit.read_text().splitlines()) - set((installed / "codalab-worker.service").read_text().splitlines())
    assert {line.partition("=")[0] for line in changed} == {"ExecStart", "Environment", "StateDirectory"}
    assert all("second" in line for line in changed)


def test_the_documented_check_finds_nothing_amiss(installed: Path, private_queue: PrivateQueue) -> None:
    lines = "".join(f"{name}='{value}'\n" for name, value in private_queue.settings.items())
    (private_queue.folder / "worker.env").write_text(lines)
    changes, environment = {"/opt/": f"{installed}/opt/"}, {"PATH": os.environ["PATH"]}
    assert "a worker can work here" in operating.run("check", changes, private_queue.folder, environment)


def test_its_exposure_is_what_the_documentation_says(installed: Path) -> None:
    unit = str(installed / "codalab-worker.service")
    limit = str(round(MOST_EXPOSED * 10))  # it takes tenths
    rated = analyze("security", "--offline=true", f"--threshold={limit}", "--json=short", unit)
    assert rated.returncode == 0, json.dumps([row for row in json.loads(rated.stdout) if row["exposure"]], indent=1)
    assert f"rates the unit {MOST_EXPOSED}" in (operating.ROOT / "docs" / "operating.md").read_text()
    stricter = analyze("security", "--offline=true", f"--threshold={int(limit) - 1}", unit)
    assert stricter.returncode != 0


def test_it_has_no_mount_namespace_of_its_own(service: RawConfigParser) -> None:
    names = {name for name in service["Service"] if name.startswith(NAMESPACES)}
    assert names <= HARMLESS


def test_what_only_a_person_can_mend_is_not_tried_again(service: RawConfigParser) -> None:
    codes = {int(code) for code in service["Service"]["RestartPreventExitStatus"].split()}
    assert codes == {ExitCode.USAGE, ExitCode.TEMP_DIR_TAKEN}


def test_a_stop_waits_for_longer_than_the_drain_takes(service: RawConfigParser) -> None:
    minutes = int(service["Service"]["TimeoutStopSec"].removesuffix("min"))
    assert minutes * 60 >= LONGEST_STOP
    compose = yaml.safe_load((UNIT.parent / "compose.yaml").read_text())
    assert int(compose["services"]["worker"]["stop_grace_period"].removesuffix("m")) * 60 >= LONGEST_STOP
    documented = re.findall(r"-time(?:out)? (\d+)", "".join(operating.commands().values()))
    assert len(documented) == 2
    assert min(map(int, documented)) >= LONGEST_STOP


def test_the_settings_are_for_root_alone(installed: Path) -> None:
    assert (installed / "etc" / "codalab-worker" / "worker.env").stat().st_mode & 0o777 == 0o600


def test_its_command_works_a_run_with_what_the_unit_leaves_it(
    installed: Path, service: RawConfigParser, private_queue: PrivateQueue, competition: Competition
) -> None:
    """With its capabilities and its umask, and settings from the file alone; SIGTERM then drains it."""
    file = installed / "etc" / "codalab-worker" / "worker.env"
    lines = {**private_queue.settings, "WORKER_PIDS_LIMIT": "64"}
    file.write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()))
    submission = competition.docker_submission(f"{CROWD}; {ANSWER}; mkdir -m 0 /mnt/out/closed")
    with started(installed, service["Service"], private_queue.folder) as process:
        private_queue.publish(submission)
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == ExitCode.OK
    assert submission.archive()["scores.txt"] == b"correct: 1\n"
    assert CROWDED in submission.read("stderr.txt")
    assert list((private_queue.folder / "temp" / "runs").iterdir()) == []


def test_systemd_starts_restarts_reloads_and_drains_it(
    installed: Path,
    private_queue: PrivateQueue,
    competition: Competition,
    parts: Parts,
    events: EngineEvents,
    tmp_path: Path,
) -> None:
    """As the documentation says, with everything where it says; only the temp dir is one that the engine sees, too."""
    opt, source = tmp_path / "upper" / "opt", installed / "source"
    opt.mkdir(parents=True)
    (opt / "codalab-worker").symlink_to(installed / "opt" / "codalab-worker")
    lines = (f"{name}='{value}'\n" for name, value in private_queue.settings_of().items())
    (source / "worker.env").write_text("".join(lines))
    engine = Path(parts.docker_host.removeprefix("unix://")).parent
    with booted(tmp_path, private_queue.folder, engine) as host:
        documented = partial(operating.run, folder=source, changes={}, environment=os.environ, within=host.within)
        documented("systemd")
        edit(tmp_path / "units", f"Environment=SUBMISSION_TEMP_DIR={private_queue.folder}/temp\nRestartSec=1\n")
        documented("start-unit")
        host.wait_for(UNIT.name, StatusText="waiting for runs")

        submission = competition.docker_submission(gated())
        message = private_queue.publish(submission)
        events.wait(message, "start")
        host.wait_for(UNIT.name, StatusText=f"in work: {submission.task_id} (participant)")
        host.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", UNIT.name)
        host.wait_for(UNIT.name, NRestarts="1", ActiveState="active")
        documented("reload-unit")
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(documented, "stop-unit")
            host.wait_for(UNIT.name, ActiveState="deactivating")
            private_queue.open_gate()
            stopped.result()
        assert [status for status in statuses(private_queue.end_of(submission)) if status != "running"] == ["finished"]
        assert (host.shown(UNIT.name, "ActiveState"), host.shown(UNIT.name, "Result")) == ("inactive", "success")
        host.run("journalctl", "--sync")
        journal = host.run("journalctl", "--unit", UNIT.name, "--output", "cat")
        assert '"by": "walled and watched"' in journal  # all that the unit takes from it, and it may mount nonetheless
        assert "goes untold" not in journal  # and read the kernel's log
        assert "container adopted" in journal
        assert "settings read again" in journal

        host.run("sh", "-c", "echo WORKER_CONCURRENCY=none >> /etc/codalab-worker/worker.env")
        with pytest.raises(subprocess.CalledProcessError):
            host.run("systemctl", "start", UNIT.name)
        properties = ("ActiveState", "ExecMainStatus", "NRestarts")
        assert [host.shown(UNIT.name, name) for name in properties] == ["failed", "2", "0"]


def edit(units: Path, lines: str) -> None:
    """What `systemctl edit` does."""
    folder = units / f"{UNIT.name}.d"
    folder.mkdir()
    (folder / "override.conf").write_text(f"[Service]\n{lines}")


@contextmanager
def started(installed: Path, service: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = service["ExecStart"].replace("/opt/", f"{installed}/opt/").replace("/etc/", f"{installed}/etc/")
    kept = (name.removeprefix("CAP_").lower() for name in service["CapabilityBoundingSet"].split())
    bounds = ",".join(["-all", *(f"+{name}" for name in kept)])
    environment = {"PATH": os.environ["PATH"], "SUBMISSION_TEMP_DIR": str(folder / "temp"), "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen(
        ["setpriv", f"--bounding-set={bounds}", "--no-new-privs", *shlex.split(command)],
        env=environment,
        umask=int(service["UMask"], 8),
        cwd=folder,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
