"""A small root file system out of Debian 12's packages, written as a tar archive: no root, no chroot.

No package script runs; what Python and busybox need is all in the files themselves.
"""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from worker.demo import packages

PACKAGES = (
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "libexpat1",
    "libssl3",
    "libbz2-1.0",
    "liblzma5",
    "libffi8",
    "libuuid1",
    "libcrypt1",
    "libsqlite3-0",
    "libreadline8",
    "libtinfo6",
    "libncursesw6",
    "libdb5.3",
    "libnsl2",
    "libtirpc3",
    "media-types",
    "libpython3.11-minimal",
    "python3.11-minimal",
    "libpython3.11-stdlib",
    "busybox-static",
)

# Debian's merged /usr: packages still ship some files by the old names.
MERGED = ("bin", "sbin", "lib", "lib64")
FOLDERS = {
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
    "usr/lib": 0o755,
    "usr/lib64": 0o755,
    "etc": 0o755,
}
FOLDERS |= {"tmp": 0o1777, "root": 0o700, "proc": 0o555, "sys": 0o555, "dev": 0o755, "etc/ssl": 0o755}
FOLDERS |= {"etc/ssl/certs": 0o755}
LINKS = {
    **{name: f"usr/{name}" for name in MERGED},
    "usr/bin/python3": "python3.11",
    "usr/bin/python": "python3.11",
}
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nparticipant:x:1000:1000::/tmp:/bin/sh\n"
GROUP = b"root:x:0:\nparticipant:x:1000:\n"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LEFT_OUT = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/")


def write_rootfs(root: tarfile.TarFile) -> None:
    """Write folders, links, users and the contents of all packages into an open archive."""
    written = set(FOLDERS) | set(LINKS)
    for name, mode in FOLDERS.items():
        _add(root, name, mode=mode, kind=tarfile.DIRTYPE)
    for name, target in LINKS.items():
        _add(root, name, kind=tarfile.SYMTYPE, target=target)
    for name, data in _own_files():
        _add(root, name, data=data)
    for deb in packages.debs(PACKAGES, "base-1"):
        _unpack(deb, root, written)
    for applet in _busybox_applets():
        if f"usr/bin/{applet}" not in written:
            _add(root, f"usr/bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")


def _own_files() -> Iterator[tuple[str, bytes]]:
    yield "etc/passwd", PASSWD
    yield "etc/group", GROUP
    if CERTIFICATES.exists():
        yield "etc/ssl/certs/ca-certificates.crt", CERTIFICATES.read_bytes()


def _add(
    root: tarfile.TarFile,
    name: str,
    *,
    data: bytes = b"",
    mode: int = 0o644,
    kind: bytes = tarfile.REGTYPE,
    target: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), target
    root.addfile(entry, io.BytesIO(data))


def _unpack(deb: Path, root: tarfile.TarFile, written: set[str]) -> None:
    """Copy a package's files into the archive, each at its merged place and none twice."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as unpacker,
        tarfile.open(fileobj=unpacker.stdout, mode="r|") as package,
    ):
        for entry in package:
            entry.name = merged(entry.name)
            entry.linkname = merged(entry.linkname) if entry.islnk() else entry.linkname
            if wanted(entry.name) and entry.name not in written:
                written.add(entry.name)
                root.addfile(entry, package.extractfile(entry) if entry.isreg() else None)


def merged(name: str) -> str:
    """Give a file's place under the merged /usr."""
    plain = name.removeprefix(".").strip("/")
    return f"usr/{plain}" if plain.split("/")[0] in MERGED else plain


def wanted(name: str) -> bool:
    """Leave out the package's root entry, documentation, and what keeps `pip` from installing."""
    unwanted = name.startswith(LEFT_OUT) or "/gconv" in name or name.endswith("/EXTERNALLY-MANAGED")
    return bool(name) and not unwanted


def _busybox_applets() -> list[str]:
    """Ask busybox itself which tools it can be."""
    (deb,) = [deb for deb in packages.debs(PACKAGES, "base-1") if deb.name.startswith("busybox-static_")]
    with TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
        busybox = next(path for path in Path(folder).rglob("busybox") if path.is_file() and path.parent.name == "bin")
        listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    return listed.stdout.split()
