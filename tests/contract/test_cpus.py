"""Sets of CPUs on a real engine: as it reports them, as a program inside finds them, and where it has them not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.cpu_check import why_no_cpusets
from sandbox.cpus import cpu_list, cpus_of
from sandbox.docker.engine import DockerEngine
from sandbox.logs import LogPair
from sandbox.runner import Sandbox
from sandbox.testing import Program
from tests.support.own_engine import Bridge, own_engine
from worker.demo.engine import connect

pytestmark = pytest.mark.integration

CPUSETS = Path("/sys/fs/cgroup/cpuset")
BRIDGE = Bridge("codalab-cpu0", "10.198.19.1/24")
LOOK = "import os; print(*os.sched_getaffinity(0)); print(os.popen('nproc').read())"


@pytest.fixture
def client(parts: Any) -> Iterator[docker.APIClient]:
    with closing(connect(parts.docker_host)) as client:
        yield client.api


def test_a_container_has_the_cpus_of_its_set_and_no_others(real: Any, client: docker.APIClient, logs: LogPair) -> None:
    last = real.engine.host_facts().cpus - 1
    spec = real.spec(Program(), command=("python3", "-c", LOOK))
    spec = replace(spec, profile=replace(spec.profile, cpuset=str(last)))
    with Sandbox(real.engine).container(spec) as container:
        host_config = client.inspect_container(container.id or "")["HostConfig"]
        assert container.run(time_limit=60, grace=1, logs=logs).ok
    assert host_config["CpusetCpus"] == str(last)
    assert logs.stdout.path.read_text().split() == [str(last), "1"]


def test_the_check_passes_for_the_cpus_that_there_are_and_names_what_is_missing(real: Any) -> None:
    cpus = real.engine.host_facts().cpus
    assert why_no_cpusets(real.engine, [str(cpu) for cpu in range(cpus)]) == ""
    assert "not available" in why_no_cpusets(real.engine, ["0", str(cpus)])


@contextmanager
def confined(name: str, cpus: str) -> Iterator[str]:
    """A control group whose members may run on those CPUs only."""
    group = CPUSETS / name
    group.mkdir()
    try:
        (group / "cpuset.mems").write_text((CPUSETS / "cpuset.mems").read_text())
        (group / "cpuset.cpus").write_text(cpus)
        yield f"/{name}"
    finally:
        group.rmdir()


def test_an_engine_whose_containers_are_confined_to_some_cpus_is_found_out_at_a_start() -> None:
    """Its word at their making is that all is well."""
    all_of_them = cpus_of((CPUSETS / "cpuset.cpus").read_text())
    with (
        confined(BRIDGE.name, str(max(all_of_them))) as group,
        own_engine(BRIDGE, (f"--cgroup-parent={group}",)) as host,
        closing(DockerEngine(host)) as engine,
    ):
        assert why_no_cpusets(engine, [str(max(all_of_them))]) == ""
        assert "cpuset" in why_no_cpusets(engine, [cpu_list(all_of_them)])
