"""The whole of what the engine is asked for when a container is made; pure."""

from __future__ import annotations

from sandbox.engine import ContainerSpec, Mount
from sandbox.gpu import gpu_environment
from sandbox.host_paths import SAME_HOST, HostPaths
from sandbox.profile import host_config

HOSTNAME = "sandbox"
"""What the container believes its host to be called; the real name would be seen on a host network."""


def container_config(spec: ContainerSpec, *, host_cpus: float, host_paths: HostPaths = SAME_HOST) -> dict[str, object]:
    """The body of the Engine API's `POST /containers/create`. Raises `FolderUnseen`."""
    config: dict[str, object] = {
        "Image": spec.image,
        "Hostname": HOSTNAME,
        "Env": _environment(spec),
        "Labels": dict(spec.labels),
        "Healthcheck": {"Test": ["NONE"]},  # an image's own would run commands beside the program
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": {
            **host_config(spec.profile, host_cpus=host_cpus),
            "Mounts": [_mount(mount, host_paths) for mount in spec.mounts],
        },
    }
    return config | _program(spec)


def _program(spec: ContainerSpec) -> dict[str, object]:
    config: dict[str, object] = {}
    if spec.command is not None:
        config["Cmd"] = list(spec.command)
    if spec.entrypoint is not None:
        # With a command, [""] is the documented way to none; without one, only [] keeps the image's CMD.
        config["Entrypoint"] = list(spec.entrypoint) or ([""] if spec.command else [])
    if spec.user is not None:
        config["User"] = spec.user
    if spec.working_dir is not None:
        config["WorkingDir"] = spec.working_dir
    return config


def _environment(spec: ContainerSpec) -> list[str]:
    variables = {**spec.environment, **gpu_environment(spec.profile.gpus)}
    return [f"{name}={value}" for name, value in variables.items()]


def _mount(mount: Mount, host_paths: HostPaths) -> dict[str, object]:
    # The long form: a source that is missing is an error, where `Binds` would make it, owned by root.
    # Of propagation nothing is said: the engine makes it rprivate, and rslave in its own volumes, where it must be.
    return {
        "Type": "bind",
        "Source": str(host_paths.of(mount.source)),
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        # What the host mounts below a read-only folder would be writable, so it is left out.
        "BindOptions": {"NonRecursive": mount.read_only},
    }
