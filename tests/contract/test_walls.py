"""The walls around a real container: as the engine reports them, and as a program inside finds them."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.engine import ContainerSpec, Mount, Stream
from sandbox.errors import EngineRefused
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason
from sandbox.runner import Sandbox
from sandbox.testing import Program
from worker.demo import images
from worker.demo.engine import connect

pytestmark = pytest.mark.integration
MIB = 1 << 20

LOOK = """
import json, os, socket
PLACES = ("/", "/in", "/in/below", "/out", "/tmp", "/proc/sys/kernel", "/sys")
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
mounts = {line.split()[4]: line.split()[5].split(",") for line in open("/proc/self/mountinfo")}
def may_write(path):
    try:
        open(os.path.join(path, "probe"), "w").close()
        return True
    except OSError:
        return False
print(json.dumps({
    "status": status, "mounts": mounts, "env": dict(os.environ), "hostname": socket.gethostname(),
    "interfaces": sorted(os.listdir("/sys/class/net")), "uid": os.getuid(), "cwd": os.getcwd(),
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "init": open("/proc/1/comm").read().strip(),
    "devices": sorted(os.listdir("/dev")),
    "limits": open("/proc/self/limits").read(),
    "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "writable": [path for path in PLACES if may_write(path)],
}))
"""


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """An input folder of the host that has another file system mounted below it, and an output folder."""
    given, out = tmp_path / "in", tmp_path / "out"
    (given / "below").mkdir(parents=True)
    out.mkdir()
    out.chmod(0o777)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", given / "below"], check=True)
    yield given, out
    subprocess.run(["umount", given / "below"], check=True)


@pytest.fixture
def client(parts: Any) -> Iterator[docker.APIClient]:
    with closing(connect(parts.docker_host)) as client:
        yield client.api


Built = Callable[[str], str]


@pytest.fixture
def built(parts: Any) -> Iterator[Built]:
    """Builds an image upon the base from the rest of a Dockerfile, and removes it in the end."""
    tags: list[str] = []
    with closing(connect(parts.docker_host)) as client:

        def build(dockerfile: str) -> str:
            tags.append(f"contract/{uuid.uuid4().hex[:12]}:1")
            images.build(client, tags[-1], f"FROM {images.BASE}\n{dockerfile}\n", {})
            return tags[-1]

        yield build
        for tag in tags:
            client.images.remove(tag, force=True)


def looking(real: Any, folders: tuple[Path, Path], **changes: Any) -> ContainerSpec:
    given, out = folders
    spec: ContainerSpec = real.spec(
        Program(),
        command=("python3", "-c", LOOK),
        user="participant",
        working_dir="/out",
        environment={"GIVEN": "yes", "NVIDIA_VISIBLE_DEVICES": "all"},
        mounts=(Mount(given, "/in", read_only=True), Mount(out, "/out", read_only=False)),
    )
    return replace(spec, **changes)


def seen(real: Any, spec: ContainerSpec, logs: LogPair) -> dict[str, Any]:
    with Sandbox(real.engine).container(spec) as container:
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert outcome.ok, logs.stderr.path.read_text()
    return dict(json.loads(logs.stdout.path.read_text()))


def test_what_a_program_finds(
    real: Any, folders: tuple[Path, Path], logs: LogPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://worker-only.example:1")
    monkeypatch.setenv("BROKER_URL", "amqp://secret")
    inside = seen(real, looking(real, folders), logs)
    assert inside["status"]["CapEff"] == inside["status"]["CapBnd"] == f"{0:016x}"
    assert inside["status"]["NoNewPrivs"] == "1"
    assert inside["status"]["Seccomp"] == "2"
    assert inside["interfaces"] == ["lo"]
    assert inside["hostname"] == "sandbox" != os.uname().nodename
    assert inside["env"].keys() <= {"PATH", "LANG", "HOME", "HOSTNAME", "GIVEN", "NVIDIA_VISIBLE_DEVICES", "PWD"}
    assert inside["env"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert (inside["uid"], inside["cwd"], inside["init"]) == (1000, "/out", "docker-init")
    assert len(inside["processes"]) == 2  # the init process and the program: nothing of the host
    assert inside["writable"] == ["/out", "/tmp"]
    assert "ro" in inside["mounts"]["/in"]
    assert "/in/below" not in inside["mounts"]
    assert inside["shm"] == 16 * MIB
    assert "Max core file size        0                    0 " in inside["limits"]
    assert not {"sda", "vda", "kvm", "fuse", "mem"} & set(inside["devices"])


def test_a_read_only_root_leaves_a_sized_tmp(real: Any, folders: tuple[Path, Path], logs: LogPair) -> None:
    profile = replace(real.spec(Program()).profile, read_only_root=True)
    command = ("sh", "-c", "touch /etc/x; df -P /tmp | tail -1; dd if=/dev/zero of=/tmp/f bs=1M count=100; exit 0")
    spec = looking(real, folders, profile=profile, command=command, user="0:0")
    with Sandbox(real.engine).container(spec) as container:
        assert container.run(time_limit=60, grace=1, logs=logs).ok
    assert "Read-only file system" in logs.stderr.path.read_text()
    assert "No space left on device" in logs.stderr.path.read_text()
    assert logs.stdout.path.read_text().split()[1] == str(64 * 1024)


def test_what_the_engine_was_told(real: Any, folders: tuple[Path, Path], client: docker.APIClient) -> None:
    spec = looking(real, folders)
    found = client.inspect_container(real.engine.create(spec))
    host, config = found["HostConfig"], found["Config"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["Privileged"], host["PublishAllPorts"], host["AutoRemove"]) == (False, False, False)
    assert (host["NetworkMode"], host["IpcMode"], host["PidMode"], host["UTSMode"]) == ("none", "private", "", "")
    assert host["Memory"] == host["MemorySwap"] == 128 * MIB
    assert (host["NanoCpus"], host["CpuShares"], host["PidsLimit"]) == (10**9, 1024, 128)
    assert host["Init"] is True
    assert host["LogConfig"] == {"Type": "none", "Config": {}}
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["Binds"]
    assert not host["Devices"]
    assert not host["DeviceRequests"]
    assert host["OomScoreAdj"] == 0
    assert host["Ulimits"] == [{"Name": "core", "Hard": 0, "Soft": 0}]
    assert "/proc/kcore" in host["MaskedPaths"]
    assert config["Healthcheck"] == {"Test": ["NONE"]}
    assert config["Labels"].items() >= spec.labels.items()
    mounts = [(mount["Destination"], mount["RW"], mount["Propagation"]) for mount in found["Mounts"]]
    assert sorted(mounts) == [("/in", False, "rprivate"), ("/out", True, "rprivate")]


def test_more_cpus_than_the_host_has_are_cut_to_what_it_has(real: Any, client: docker.APIClient) -> None:
    spec = real.spec(Program())
    container = real.engine.create(replace(spec, profile=replace(spec.profile, cpus=9999)))
    assert client.inspect_container(container)["HostConfig"]["NanoCpus"] == client.info()["NCPU"] * 10**9


def test_a_source_that_is_missing_is_refused_and_not_made(real: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(EngineRefused, match="bind source path does not exist"):
        real.engine.create(real.spec(Program(), mounts=(Mount(missing, "/in", read_only=True),)))
    assert not missing.exists()


def test_an_images_own_volumes_go_with_the_container(
    real: Any, client: docker.APIClient, built: Built, logs: LogPair
) -> None:
    spec = real.spec(Program(), image=built("VOLUME /data"), command=("touch", "/data/x"))
    with Sandbox(real.engine).container(spec) as container:
        assert container.id
        (volume,) = (mount["Name"] for mount in client.inspect_container(container.id)["Mounts"])
        assert volume in {found["Name"] for found in client.volumes()["Volumes"]}
        assert container.run(time_limit=60, grace=1, logs=logs).ok
    assert volume not in {found["Name"] for found in client.volumes()["Volumes"] or ()}  # others' come and go


def test_an_image_without_a_command_could_not_be_started(real: Any, logs: LogPair) -> None:
    with real.engine.empty_image() as image:
        spec = real.spec(Program(), image=image.id, command=None)
        with Sandbox(real.engine).container(spec) as container:
            outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.COULD_NOT_START, 127)
    assert "No command specified" in outcome.note


@pytest.mark.parametrize(
    ("command", "exit_code", "words"),
    [
        (("no-such-program",), 127, "exec no-such-program failed: No such file or directory"),
        (("/etc/passwd",), 126, "exec /etc/passwd failed: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_executed_says_so(
    real: Any, logs: LogPair, command: tuple[str, ...], exit_code: int, words: str
) -> None:
    with Sandbox(real.engine).container(real.spec(Program(), command=command)) as container:
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert (outcome.reason, outcome.exit_code, outcome.note) == (ExitReason.COULD_NOT_START, exit_code, words)


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({"command": None}, b"point cmd\n"),
        ({"command": ("given",)}, b"point given\n"),
        ({"command": ("echo", "given"), "entrypoint": ()}, b"given\n"),
        ({"command": None, "entrypoint": ("echo", "own")}, b"own\n"),
    ],
)
def test_entrypoint_and_command_of_the_image_are_kept_or_replaced(
    real: Any, built: Built, logs: LogPair, changes: dict[str, Any], printed: bytes
) -> None:
    image = built('ENTRYPOINT ["echo", "point"]\nCMD ["cmd"]')
    with Sandbox(real.engine).container(real.spec(Program(), image=image, **changes)) as container:
        assert container.run(time_limit=60, grace=1, logs=logs).ok
    assert logs.stdout.path.read_bytes() == printed


def test_no_entrypoint_and_no_command_of_ours_runs_the_images_command(real: Any, built: Built, logs: LogPair) -> None:
    image = built('ENTRYPOINT ["false"]\nCMD ["echo", "cmd"]')
    spec = real.spec(Program(), image=image, command=None, entrypoint=())
    with Sandbox(real.engine).container(spec) as container:
        assert container.run(time_limit=60, grace=1, logs=logs).ok
    assert logs.stdout.path.read_bytes() == b"cmd\n"


def test_a_child_killed_for_memory_is_reported_and_is_no_failure(real: Any, logs: LogPair) -> None:
    command = ("sh", "-c", "python3 -c 'bytearray(1 << 30)'; echo survived; exit 0")
    with Sandbox(real.engine).container(real.spec(Program(), command=command)) as container:
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert (outcome.reason, outcome.exit_code, outcome.oom_killed) == (ExitReason.EXITED, 0, True)
    assert logs.stdout.path.read_bytes() == b"survived\n"


def test_137_by_itself_is_no_memory_fault(real: Any, logs: LogPair) -> None:
    with Sandbox(real.engine).container(real.spec(Program(exit_code=137))) as container:
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert (outcome.reason, outcome.exit_code, outcome.oom_killed) == (ExitReason.EXITED, 137, False)


def test_a_flood_is_cut_with_a_line_that_says_so(real: Any, tmp_path: Path) -> None:
    logs = LogPair.at(tmp_path / "o", tmp_path / "e", limit=100_000)
    command = ("sh", "-c", "head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2")
    with Sandbox(real.engine).container(real.spec(Program(), command=command)) as container:
        assert container.run(time_limit=60, grace=1, logs=logs).ok
    for log in (logs.stdout, logs.stderr):
        assert (log.kept, log.dropped) == (100_000, 49_900_000)
        assert log.path.read_bytes() == (
            bytes(100_000) + b"\n[... 47.6 MiB more were dropped: a log may hold 97.7 KiB]\n"
        )


def test_output_that_nobody_reads_yet_is_not_lost(real: Any) -> None:
    container = real.engine.create(real.spec(Program(output=((Stream.STDOUT, b"early"),))))
    attachment = real.engine.attach(container)
    real.engine.start(container)
    real.engine.wait(container, timeout=30)
    assert list(attachment.chunks()) == [(Stream.STDOUT, b"early")]
    attachment.close()
