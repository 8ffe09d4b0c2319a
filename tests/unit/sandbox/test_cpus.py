"""How CPUs are dealt out: disjoint, alike, and as near to each other as the host allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.cpu_check import why_no_cpusets
from sandbox.cpus import cpu_list, cpu_order, cpu_sets, cpus_of
from sandbox.engine import ContainerSpec
from sandbox.engine_facts import HostFacts
from sandbox.errors import EngineRefused
from sandbox.testing import FakeEngine


@pytest.mark.parametrize(
    ("order", "count", "expected"),
    [
        (range(4), 2, ("0-1", "2-3")),
        (range(2), 2, ("0", "1")),
        (range(8), 3, ("0-1", "2-3", "4-5")),
        ((0, 4, 1, 5, 2, 6, 3, 7), 2, ("0-1,4-5", "2-3,6-7")),
        (range(2), 3, ()),
        (range(3), 1, ("0-2",)),
    ],
)
def test_sets_are_disjoint_and_of_one_size(order: tuple[int, ...], count: int, expected: tuple[str, ...]) -> None:
    assert cpu_sets(order, count) == expected


@pytest.mark.parametrize(
    ("text", "cpus"), [("", set()), ("3", {3}), ("0-3,8\n", {0, 1, 2, 3, 8}), ("1,3,5-6", {1, 3, 5, 6})]
)
def test_the_kernels_list_format(text: str, cpus: set[int]) -> None:
    assert cpus_of(text) == cpus
    assert cpu_list(cpus) == text.strip()


def sysfs(folder: Path, online: str, places: dict[int, tuple[int, int, str]]) -> Path:
    """A host whose CPUs lie so: socket, NUMA node, threads of their core."""
    (folder / "online").write_text(online + "\n")
    for cpu, (socket, node, threads) in places.items():
        topology = folder / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{socket}\n")
        (topology / "thread_siblings_list").write_text(f"{threads}\n")
        (topology.parent / f"node{node}").mkdir()
    return folder


def test_threads_of_a_core_stay_together(tmp_path: Path) -> None:
    places = {cpu: (0, 0, f"{cpu % 4},{cpu % 4 + 4}") for cpu in range(8)}
    order = cpu_order(8, sysfs(tmp_path, "0-7", places))
    assert order == (0, 4, 1, 5, 2, 6, 3, 7)


def test_a_numa_node_is_used_up_before_the_next(tmp_path: Path) -> None:
    places = {cpu: (cpu % 2, cpu % 2, str(cpu)) for cpu in range(6)}
    assert cpu_order(6, sysfs(tmp_path, "0-5", places)) == (0, 2, 4, 1, 3, 5)


def test_what_is_switched_off_is_not_dealt_out(tmp_path: Path) -> None:
    places = {cpu: (0, 0, str(cpu)) for cpu in (0, 2, 5)}
    assert cpu_order(3, sysfs(tmp_path, "0,2,5", places)) == (0, 2, 5)


@pytest.mark.parametrize("online", ["0-1", "0-7", "nonsense", ""])
def test_of_another_host_only_the_number_is_known(tmp_path: Path, online: str) -> None:
    assert cpu_order(4, sysfs(tmp_path, online, {})) == (0, 1, 2, 3)
    assert cpu_order(4, tmp_path / "none") == (0, 1, 2, 3)


class Confined(FakeEngine):
    """Its containers may not have just any CPU."""

    def start(self, container: str) -> None:
        if self.containers[container].spec.profile.cpuset != "0-2,8":
            raise EngineRefused("Requested CPUs are not available")
        super().start(container)


def test_the_check_tries_all_sets_together_and_leaves_nothing() -> None:
    engine = Confined()
    assert why_no_cpusets(engine, ("0-1", "2,8")) == ""
    assert why_no_cpusets(engine, ("0-1", "2")) == "Requested CPUs are not available"
    assert (engine.containers, engine.programs) == ({}, {})


def test_an_engine_that_has_no_cpusets_is_not_tried() -> None:
    class Without(FakeEngine):
        def host_facts(self) -> HostFacts:
            return HostFacts("h", "1", 4, 1 << 30, "linux", True, ("runc",), cdi=False, cpusets=False)

        def create(self, spec: ContainerSpec) -> str:
            raise AssertionError(spec)

    assert "no cpusets" in why_no_cpusets(Without(), ("0", "1"))
