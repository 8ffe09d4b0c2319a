"""From settings and what the engine's host has, the walls around each kind of container."""

from __future__ import annotations

from dataclasses import dataclass, replace

from config.settings import Settings
from protocol.run import Role
from sandbox.engine import HostFacts
from sandbox.gpu import GpuRequest
from sandbox.profile import SecurityProfile

_RESERVED_MEMORY = 512 << 20  # for the worker, the engine and the host itself
_LEAST_MEMORY = 64 << 20
_DEFAULT_SHM = 1 << 30
# What the engine keeps of output for a worker that comes back: two streams, and its own words around each line.
_ENGINE_LOG_FACTOR = 4
_LEAST_ENGINE_LOG = 1 << 20
# What installing packages and writing as root in one's own folders takes, and nothing that reaches the host.
_ORGANISER_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profile of each role, before GPUs are allotted to a run."""

    participant: SecurityProfile
    organiser: SecurityProfile

    def of(self, role: Role, gpus: GpuRequest | None) -> SecurityProfile:
        """The profile of a container of that role with these GPUs."""
        profile = self.participant if role is Role.PARTICIPANT else self.organiser
        return replace(profile, gpus=gpus)


def make_profiles(settings: Settings, host: HostFacts) -> Profiles:
    """The profiles that `settings` ask for on that host; limits not set are its share per slot."""
    participant = SecurityProfile(
        memory=memory_limit(settings, host),
        cpus=cpu_limit(settings, host),
        pids=settings.worker_pids_limit,
        shm_size=shm_size(settings, host),
        network=settings.worker_participant_network,
        runtime=settings.worker_runtime,
        read_only_root=settings.worker_read_only_root,
        scratch=settings.worker_scratch_limit,
        log_size=max(_LEAST_ENGINE_LOG, _ENGINE_LOG_FACTOR * settings.worker_log_limit),
    )
    organiser = replace(
        participant,
        network=settings.worker_organiser_network,
        capabilities=_ORGANISER_CAPABILITIES,
        runtime=None,
        read_only_root=False,
    )
    return Profiles(participant, organiser)


def memory_limit(settings: Settings, host: HostFacts) -> int:
    """Bytes of memory, swap included, of each container."""
    share = (host.memory - _RESERVED_MEMORY) // settings.worker_concurrency
    return settings.worker_memory_limit or max(share, _LEAST_MEMORY)


def cpu_limit(settings: Settings, host: HostFacts) -> float:
    """CPUs of each container, never more than the host has: the engine would refuse."""
    return min(settings.worker_cpu_limit or host.cpus / settings.worker_concurrency, float(host.cpus))


def shm_size(settings: Settings, host: HostFacts) -> int:
    """Bytes of /dev/shm of each container."""
    return settings.worker_shm_size or min(_DEFAULT_SHM, memory_limit(settings, host) // 2)
