from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.docker.container_config import container_config
from sandbox.engine import ContainerSpec, Mount
from sandbox.gpu import GpuRequest
from sandbox.profile import SecurityProfile, host_config

PROFILE = SecurityProfile(memory=1 << 30, cpus=1.5, pids=100, shm_size=1 << 26)
SPEC = ContainerSpec(name="n", image="sha256:1", profile=PROFILE)

EXPECTED = {
    "Privileged": False,
    "CapDrop": ["ALL"],
    "CapAdd": [],
    "SecurityOpt": ["no-new-privileges:true"],
    "NetworkMode": "none",
    "PublishAllPorts": False,
    "IpcMode": "private",
    "PidMode": "",
    "ReadonlyRootfs": False,
    "Devices": [],
    "DeviceRequests": [],
    "Memory": 1 << 30,
    "MemorySwap": 1 << 30,
    "NanoCpus": 1_500_000_000,
    "CpuShares": 1536,
    "PidsLimit": 100,
    "ShmSize": 1 << 26,
    "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
    "Init": True,
    "LogConfig": {"Type": "none", "Config": {}},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
}


def test_the_walls_by_value_and_nothing_besides() -> None:
    assert host_config(PROFILE, host_cpus=8) == EXPECTED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"capabilities": ("CHOWN",)}, {"CapAdd": ["CHOWN"], "CapDrop": ["ALL"]}),
        ({"network": "bridge"}, {"NetworkMode": "bridge"}),
        ({"runtime": "runsc"}, {"Runtime": "runsc"}),
        ({"cpus": 64}, {"NanoCpus": 8_000_000_000, "CpuShares": 8192}),
        ({"cpus": 0.001}, {"NanoCpus": 10_000_000, "CpuShares": 10}),
        (
            {"read_only_root": True},
            {"ReadonlyRootfs": True, "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=536870912"}},
        ),
        (
            {"gpus": GpuRequest(count=2)},
            {"DeviceRequests": [{"Driver": "nvidia", "Capabilities": [["gpu"]], "Count": 2}]},
        ),
    ],
)
def test_what_a_profile_changes_and_that_it_changes_nothing_else(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert host_config(replace(PROFILE, **changes), host_cpus=8) == EXPECTED | expected


@pytest.mark.parametrize("limit", ["memory", "cpus", "pids", "shm_size"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_that_the_engine_would_take_for_none_is_refused(limit: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"limit {limit} must be positive"):
        replace(PROFILE, **{limit: value})  # type: ignore[arg-type]


def test_the_default_network_of_the_engine_is_never_taken_by_an_oversight() -> None:
    with pytest.raises(ValueError, match="network"):
        replace(PROFILE, network="")


def test_the_least_that_is_asked_of_the_engine() -> None:
    config = container_config(SPEC, host_cpus=8)
    assert config == {
        "Image": "sha256:1",
        "Hostname": "sandbox",
        "Env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "Labels": {},
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": EXPECTED | {"Mounts": []},
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"command": ("a", "b")}, {"Cmd": ["a", "b"]}),
        ({"command": ()}, {"Cmd": []}),
        ({"entrypoint": ("e",)}, {"Entrypoint": ["e"]}),
        ({"entrypoint": (), "command": ("a",)}, {"Entrypoint": [""], "Cmd": ["a"]}),
        ({"entrypoint": ()}, {"Entrypoint": []}),
        ({"user": "1000:1000", "working_dir": "/w"}, {"User": "1000:1000", "WorkingDir": "/w"}),
        ({"labels": {"k": "v"}}, {"Labels": {"k": "v"}}),
        ({"environment": {"A": "b c", "E": ""}}, {"Env": ["A=b c", "E=", "NVIDIA_VISIBLE_DEVICES=void"]}),
    ],
)
def test_what_a_spec_adds(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    assert container_config(replace(SPEC, **changes), host_cpus=8) == (container_config(SPEC, host_cpus=8) | expected)


def test_mounts_are_binds_that_make_nothing_and_let_nothing_through() -> None:
    mounts = (Mount(Path("/a b"), "/in", read_only=True), Mount(Path("/o"), "/out", read_only=False))
    host = container_config(replace(SPEC, mounts=mounts), host_cpus=8)["HostConfig"]
    assert host["Mounts"] == [  # type: ignore[index]
        {
            "Type": "bind",
            "Source": "/a b",
            "Target": "/in",
            "ReadOnly": True,
            "BindOptions": {"NonRecursive": True},
        },
        {
            "Type": "bind",
            "Source": "/o",
            "Target": "/out",
            "ReadOnly": False,
            "BindOptions": {"NonRecursive": False},
        },
    ]
