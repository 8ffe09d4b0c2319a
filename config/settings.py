"""The worker's settings: every name that an operator may set, its meaning and its default.

Names in the environment are the field names in capitals. Settings that depend on the engine's
host (memory, CPUs) are None here, and are filled in by `worker.compose` once the engine has told.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from config.units import Seconds, Size


class Settings(BaseModel):
    """One worker's settings, frozen. `config.load.load` makes it; nothing else reads the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # The names of the worker that this one replaces, with the same meaning.
    broker_url: SecretStr | None = Field(None, description="amqp://, amqps:// or pyamqp:// URL, as the site shows it")
    broker_use_ssl: bool = Field(False, description="TLS to the broker")
    use_gpu: bool = Field(False, description="give participants' and organisers' programs the GPUs")
    submission_temp_dir: Path = Field(
        Path("/tmp/codalab"),  # noqa: S108 -- the documented default of today's workers; made mode 0700 by us
        description="everything that a run stages lives below it; the engine's host must see it",
    )
    host_directory: Path | None = Field(
        None, description="SUBMISSION_TEMP_DIR's path on the engine's host, where a worker in a container cannot ask it"
    )
    submission_cache_dir: Path | None = Field(None, description="cache of downloaded bundles; none: off")
    submission_cache_dir_max_size_in_gb: float = Field(
        10.0, gt=0, description="least recently used bundles leave first"
    )
    codalab_hostname: str = Field(
        default_factory=socket.gethostname, description="the name that the site shows for this worker"
    )
    dont_finalize_submission: bool = Field(False, description="keep each run's folder, for debugging")

    broker_ssl_verify: bool = Field(True, description="check the broker's certificate")
    broker_ssl_ca: Path | None = Field(None, description="file of the CA that signed the broker's certificate")
    worker_queue: str = Field("compute-worker", description="where run messages come from")
    worker_updates_queue: str = Field("submission-updates", description="exchange and queue that updates go to")
    worker_updates_vhost: str = Field("/", description="virtual host of the updates")
    worker_concurrency: int = Field(
        1, ge=1, le=256, description="runs at a time; fewer where there are not GPUs for so many"
    )

    worker_participant_input_dir: Path | None = Field(
        None, description="host folder mounted read-only at /mnt/in of a docker submission"
    )
    worker_participant_user: str = Field(
        "participant",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$",
        description="user of a participant's container; where the image lacks it, 1000:1000",
    )
    worker_memory_limit: Size | None = Field(
        None, ge=6 << 20, description="bytes of each container, swap included; (host memory - 512 MiB) / concurrency"
    )
    worker_cpu_limit: float | None = Field(
        None, ge=0.01, description="CPUs of each container; host CPUs / concurrency, whole ones of its own if it can be"
    )
    worker_pids_limit: int = Field(1024, ge=8, description="processes and threads of each container")
    worker_shm_size: Size | None = Field(
        None, ge=1 << 16, description="bytes of /dev/shm; 1 GiB, at most half the memory limit"
    )
    worker_log_limit: Size = Field(10 << 20, ge=1024, description="bytes kept of each of stdout and stderr")
    worker_output_limit: Size = Field(
        10 << 30, ge=1 << 20, description="bytes that a container may leave in its output folder, holes included"
    )
    worker_output_files_limit: int = Field(100_000, ge=16, description="files and folders in it")
    worker_scratch_limit: Size = Field(
        10 << 30, ge=1 << 20, description="bytes that a container may write elsewhere: its writable layer"
    )
    worker_bundle_limit: Size = Field(50 << 30, ge=1024, description="unpacked bytes of a downloaded bundle")
    worker_bundle_files_limit: int = Field(1_000_000, ge=1, description="entries of a downloaded bundle")
    worker_min_free_disk: Size = Field(
        5 << 30, ge=0, description="below it no new run is taken, and images that this worker pulled leave"
    )
    worker_default_time_limit: Seconds = Field(600.0, gt=0, description="where the message has none or one <= 0")
    worker_stop_grace: Seconds = Field(5.0, ge=0, le=600, description="between SIGTERM and SIGKILL to a container")
    worker_drain_timeout: Seconds = Field(
        3600.0, ge=0, description="after SIGTERM to the worker: time to finish what runs"
    )
    worker_participant_network: str = Field("none", description="Docker network of participants' containers")
    worker_organiser_network: str = Field("bridge", description="Docker network of ingestion and scoring programs")
    worker_runtime: str | None = Field(None, description="OCI runtime of participants' containers: runsc, kata, …")
    worker_read_only_root: bool = Field(
        False, description="read-only root file system with a sized tmpfs on /tmp for participants"
    )
    worker_allowed_images: tuple[str, ...] = Field(
        (), description="patterns of images that participants may use; empty: any"
    )
    worker_pull_policy: Literal["always", "if-not-present", "never"] = Field("always", description="when to pull")
    worker_registry_auth: Path | None = Field(
        None, description="file with registry credentials; the Docker client's config.json"
    )
    worker_gpus: tuple[str, ...] = Field(
        (), description="GPUs that this worker may use (index, UUID or CDI name); empty: all"
    )
    worker_gpus_per_run: int | None = Field(None, ge=1, description="GPUs that a run gets; empty: all")

    worker_lease_ttl: Seconds = Field(
        120.0,
        ge=0,
        le=3600,
        description="after that long without a sign of life a run goes to another worker; 0: no leases",
    )
    worker_live_logs: Seconds = Field(
        10.0, ge=0, description="how often growing logs are stored while a run is under way; 0: at its end only"
    )
    worker_metrics: str | None = Field(None, description="host:port of the Prometheus, health and status pages")

    docker_host: str | None = Field(None, description="address of the Docker engine")
    docker_tls_verify: bool = Field(False, description="TLS to the Docker engine")
    docker_cert_path: Path | None = Field(None, description="folder of ca.pem, cert.pem and key.pem for it")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level logged")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: text on a terminal, else JSON")

    @field_validator("worker_allowed_images", "worker_gpus", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Comma-separated text; `any` and `all` are the documented words for no restriction."""
        if not isinstance(value, str):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        return () if names in {("any",), ("all",)} else names

    @field_validator("worker_gpus_per_run", mode="before")
    @classmethod
    def _all_gpus(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "all" else value

    @field_validator("worker_pull_policy", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("worker_metrics")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"([^:\s]+|\[[^\]\s]+\]):\d{1,5}", value):
            raise ValueError("must be HOST:PORT or [IPv6]:PORT; 0.0.0.0:PORT is every address of this host")
        return value

    @field_validator("submission_temp_dir", "host_directory", "worker_participant_input_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("must be an absolute path: the engine mounts it")
        return value

    @field_validator("worker_lease_ttl")
    @classmethod
    def _renewable(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError("must be 0 or at least one second: a lease is renewed four times in it")
        return value

    @model_validator(mode="after")
    def _gpus_fit(self) -> Self:
        if self.worker_gpus and self.worker_gpus_per_run and self.worker_gpus_per_run > len(self.worker_gpus):
            raise ValueError("WORKER_GPUS_PER_RUN is more than WORKER_GPUS names")
        return self
