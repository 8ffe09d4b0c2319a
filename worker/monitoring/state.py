"""The figures of this moment, looked up when Prometheus asks, and at no other time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.monitoring.gpus import GpuUse
from worker.monitoring.health import Health
from worker.monitoring.metrics import PREFIX
from worker.watched import Watched

ReadGpus = Callable[[], Sequence[GpuUse]]


class State(Collector):
    """A collector of prometheus_client. `gpus` is None where runs are given none."""

    def __init__(self, watched: Watched, health: Health, gpus: ReadGpus | None = None) -> None:
        self._watched = watched
        self._health = health
        self._gpus = gpus

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All of them."""
        watched = self._watched
        yield _gauge("info", "Always 1; the version is a label.", {watched.version: 1}, "version")
        yield _gauge("slots", "Runs that may be staged or computed at a time.", watched.slots)
        yield _gauge("busy_slots", "Runs that are staged or computed.", watched.busy())
        yield _gauge("leases_held", "Leases held on runs in work.", watched.leases())
        links = {name: int(up()) for name, up in watched.links.items()}
        yield _gauge("broker_up", "1 while that connection to the broker is up.", links, "link")
        yield _gauge("engine_up", "1 while the container engine answers.", int(self._health.is_engine_up()))
        yield _gauge("ready", "1 while /readyz says yes.", int(not self._health.obstacles()))
        yield _gauge("temp_dir_free_bytes", "Bytes that are free for SUBMISSION_TEMP_DIR.", watched.free_disk())
        yield _gauge("temp_dir_least_free_bytes", "WORKER_MIN_FREE_DISK.", watched.least_disk)
        if self._gpus:
            yield from _of_gpus(self._gpus())


def _of_gpus(gpus: Iterable[GpuUse]) -> Iterator[GaugeMetricFamily]:
    found = {str(gpu.index): gpu for gpu in gpus}
    busy = {index: gpu.utilisation for index, gpu in found.items()}
    used = {index: gpu.memory_used for index, gpu in found.items()}
    total = {index: gpu.memory_total for index, gpu in found.items()}
    yield _gauge("gpu_utilisation_ratio", "Share of time that the GPU computed, of late.", busy, "gpu")
    yield _gauge("gpu_memory_used_bytes", "Bytes of the GPU's memory in use.", used, "gpu")
    yield _gauge("gpu_memory_total_bytes", "Bytes of the GPU's memory.", total, "gpu")


def _gauge(name: str, meaning: str, values: float | Mapping[str, float], label: str = "") -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=[label] if label else None)
    for key, value in values.items() if isinstance(values, Mapping) else ((None, values),):
        family.add_metric([key] if key is not None else [], value)
    return family
