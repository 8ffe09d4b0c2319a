"""Getting programs that are missing: Debian packages (as root), single .deb files, npm modules.

Each says in one line what it is doing, and where it may not act says exactly what to install.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from worker.demo.places import cache_folder, say
from worker.demo.processes import PartsError

APT_TIMEOUT = 900
APT_LISTS = Path("/var/lib/apt/lists")
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

_apt = Lock()  # one `apt-get update` at a time; `apt-get install` has a lock of its own


def program(name: str) -> str | None:
    """Find a program, also where daemons live that are not on everybody's PATH."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_PATH)))


def need(name: str, package: str) -> str:
    """Find a program, or say which package has it."""
    found = program(name)
    if found is None:
        raise PartsError(f"{name} is not installed: {how_to_install([package])}")
    return found


@cache
def is_debian_like() -> bool:
    """Tell whether Debian's package tools are here."""
    return program("apt-get") is not None and program("dpkg-deb") is not None


@cache
def is_bookworm() -> bool:
    """Tell whether this is Debian 12, whose package names the base image is made of."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    return is_debian_like() and release.get("VERSION_CODENAME") == "bookworm"


def how_to_install(packages: Sequence[str]) -> str:
    """Say what a person has to do, on this kind of machine."""
    names = " ".join(packages)
    if is_debian_like():
        return f"as root, run: apt-get install --no-install-recommends {names}"
    return f"install what Debian calls {names}"


def install(packages: Sequence[str]) -> None:
    """Install Debian packages as root; whoever may not do so is told what to install."""
    if not packages:
        return
    if not is_debian_like() or os.geteuid() != 0:
        raise PartsError(f"missing on this machine: {', '.join(packages)}; {how_to_install(packages)}")
    update_lists()
    say("apt", f"installing {' '.join(packages)}")
    argv = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    _run([*argv, *packages], "apt-get install", env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


@cache
def _update_lists_once() -> None:
    say("apt", "updating the package lists")
    _run(["apt-get", "update", "-q"], "apt-get update")


def update_lists() -> None:
    """Fetch Debian's package lists, once and only where there are none (or where root cannot, not at all)."""
    with _apt:
        if os.geteuid() == 0 and not any(APT_LISTS.glob("*_Packages*")):
            _update_lists_once()


def debs(names: Sequence[str], folder: str) -> list[Path]:
    """Download single .deb files into the cache, once, without installing them."""
    target = cache_folder("debs", folder)
    if not (target / "complete").exists():
        if not is_debian_like():
            raise PartsError(f"only Debian's apt-get can fetch this: {how_to_install(names)}")
        update_lists()
        say("apt", f"downloading {names[0] if len(names) == 1 else f'{len(names)} packages for {folder}'}")
        _run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=", *names], "apt-get download", cwd=target)
        (target / "complete").touch()
    return sorted(target.glob("*.deb"))


def unpacked(names: Sequence[str], folder: str) -> Path:
    """Have .deb files unpacked in the cache, once, installed nowhere; give the folder that stands for `/`."""
    root = cache_folder("unpacked", folder) / "root"
    if not root.exists():
        with TemporaryDirectory(dir=root.parent) as draft:
            for deb in debs(names, folder):
                subprocess.run(["dpkg-deb", "-x", deb, f"{draft}/root"], check=True)
            with suppress(OSError):  # another process was quicker, and has made the same
                Path(draft, "root").rename(root)
    return root


def npm(package: str, version: str) -> Path:
    """Install one npm package, at one version, into the cache; give the folder of its programs."""
    target = cache_folder("npm", f"{package}-{version}")
    if not (target / "complete").exists():
        say("npm", f"installing {package} {version}")
        argv = [need("npm", "npm"), "install", "--silent", "--no-audit", "--no-fund", "--omit=optional"]
        _run([*argv, "--prefix", str(target), f"{package}@{version}"], "npm install", cwd=target)
        (target / "complete").touch()
    return target / "node_modules" / ".bin"


def _run(argv: Sequence[str], what: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=APT_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise PartsError(f"{what} failed with exit code {done.returncode}:\n{done.stdout[-2000:].strip()}")
