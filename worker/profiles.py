"""From settings and what the engine's host has, the walls around each kind of container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from config.settings import Settings
from protocol.run import Role
from sandbox.cpus import cpus_of
from sandbox.engine_facts import HostFacts
from sandbox.profile import SecurityProfile
from sandbox.slots import Share

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
    """The profile of each role, before a run has its share of the host."""

    participant: SecurityProfile
    organiser: SecurityProfile

    def of(self, role: Role, share: Share) -> SecurityProfile:
        """The profile of a container of that role with these GPUs and CPUs."""
        profile = self.participant if role is Role.PARTICIPANT else self.organiser
        return replace(profile, gpus=share.gpus, cpuset=share.cpuset)


def make_profiles(settings: Settings, host: HostFacts, shares: Sequence[Share]) -> Profiles:
    """The profiles that `settings` ask for on that host; limits not set are what each slot's share comes to."""
    memory = _memory_limit(settings, host, len(shares))
    participant = SecurityProfile(
        memory=memory,
        cpus=_cpu_limit(settings, host, shares),
        pids=settings.worker_pids_limit,
        shm_size=settings.worker_shm_size or min(_DEFAULT_SHM, memory // 2),
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


def _memory_limit(settings: Settings, host: HostFacts, slots: int) -> int:
    """Bytes of memory, swap included, of each container."""
    share = (host.memory - _RESERVED_MEMORY) // slots
    return settings.worker_memory_limit or max(share, _LEAST_MEMORY)


def _cpu_limit(settings: Settings, host: HostFacts, shares: Sequence[Share]) -> float:
    """CPUs of each container, never more than the host has: the engine would refuse."""
    own = len(cpus_of(shares[0].cpuset))
    return min(settings.worker_cpu_limit or own or host.cpus / len(shares), float(host.cpus))
