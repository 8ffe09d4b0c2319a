"""Things that change while somebody looks at them: files under the packer's hands, folders that two programs share."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest

from tests.attacks.arena import MARK, Arena
from tests.support.competition import Submission
from worker.archives.pack import pack
from worker.archives.tree import sanitise
from worker.archives.walk import Found
from worker.archives.web_page import copy_web_page
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

SECRET = b"canary-of-the-host"
NAME = "page.html"
ROUNDS = 200
Trap = Callable[[Path, Path], object]
TRAPS: dict[str, Trap] = {
    "a link to a secret": lambda place, secrets: place.symlink_to(secrets / NAME),
    "a link to a folder": lambda place, secrets: place.symlink_to(secrets),
    "a link to what never ends": lambda place, _: place.symlink_to("/dev/zero"),
    "a FIFO": lambda place, _: os.mkfifo(place),
    "a folder": lambda place, _: place.mkdir(),
}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / NAME).write_bytes(SECRET)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "deep"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(b"good")
    return folder.parent


def packed(folder: Path, archive: Path) -> bytes:
    pack(folder, archive)
    with zipfile.ZipFile(archive) as opened:
        return b"".join(map(opened.read, opened.namelist()))


def shown(folder: Path, page: Path) -> bytes:
    return page.read_bytes() if copy_web_page(folder, page, limit=1 << 20) else b""


LOOKS: dict[str, Callable[[Path, Path], bytes]] = {"packed": packed, "shown as a page": shown}


def put(place: Path, make: Callable[[Path], object]) -> None:
    """In the place of what is there."""
    with suppress(FileNotFoundError):
        (place.rmdir if place.is_dir() and not place.is_symlink() else place.unlink)()
    make(place)


@contextmanager
def swapping(place: Path, trap: Callable[[Path], object]) -> Iterator[None]:
    """A program that puts the trap in the file's place and takes it out again, as fast as it can."""
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            put(place, trap)
            put(place, lambda free: free.write_bytes(b"good"))

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_a_trap_that_comes_and_goes_leads_nowhere(
    out: Path, secrets: Path, tmp_path: Path, look: Callable[[Path, Path], bytes], trap: Trap
) -> None:
    found = set()
    with swapping(out / "deep" / NAME, lambda place: trap(place, secrets)):
        for _ in range(ROUNDS):
            found.add(look(out, tmp_path / "result"))
    assert found <= {b"good", b""}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_a_trap_that_comes_between_the_look_and_the_opening_leads_nowhere(
    out: Path,
    secrets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[Path, Path], bytes],
    trap: Trap,
) -> None:
    """At the worst moment, and not only now and then."""
    real = Found.open_file

    def swapped(found: Found) -> int:
        put(out / "deep" / NAME, lambda place: trap(place, secrets))
        return real(found)

    monkeypatch.setattr(Found, "open_file", swapped)
    assert look(out, tmp_path / "result") == b""


def test_a_folder_that_becomes_a_link_while_it_is_cleaned_leads_nowhere(out: Path, secrets: Path) -> None:
    (secrets / "kept").symlink_to("/etc")
    (secrets / NAME).chmod(0o600)
    with swapping(out / "trap", lambda place: place.symlink_to(secrets)):
        for _ in range(ROUNDS):
            with suppress(OSError):  # in a run it would end as the platform's fault
                sanitise(out)
    assert (secrets / "kept").is_symlink()
    assert (secrets / NAME).stat().st_mode & 0o777 == 0o600


SWAP = f"""
cd /codalab; : {MARK}
while [ ! -e shared/enough ]; do
  for place in run/output/detailed_results.html run/output/answer shared/answer; do
    ln -sfn HOST/secret $place; rm -f $place; ln -sfn /codalab/hidden_ref/answers.txt $place; rm -f $place
    mkfifo $place; rm -f $place; echo '<p>page' > $place
  done
done
ln -sfn HOST/secret run/output/detailed_results.html
"""
INGEST = "sleep 3; ls $1 > /dev/null; : > $1/enough"


@pytest.fixture(scope="module")
def racing(arena: Arena) -> Submission:
    """Code that changes all that it shares while an ingestion program runs, and while the page is shown live."""
    script = SWAP.replace("HOST", str(arena.host))
    code = {"metadata": b"command: sh $program/run.sh\n", "run.sh": script.encode()}
    ingestion = {"metadata": b"command: sh $program/run.sh $shared\n", "run.sh": INGEST.encode()}
    hidden = {"answers.txt": arena.canaries.reference.encode()}
    names = {"program": "code.zip", "input": "data.zip", "ingestion_program": "feed.zip", "hidden_ref": "hidden.zip"}
    bundles = {
        "code.zip": zipped(code),
        "feed.zip": zipped(ingestion),
        "hidden.zip": zipped(hidden),
        "data.zip": zipped({"x": b""}),
    }
    return arena.publish(
        arena.competition.submission(bundles=bundles, documents={"run.txt": names, "input.txt": {}}, predict=True)
    )


def test_two_programs_that_race_for_a_folder_harm_nobody(arena: Arena, racing: Submission) -> None:
    arena.here.finished(racing)
    assert racing.archive()["answer"] == b"<p>page\n"
    assert [note.rpartition(": ")[2] for note in arena.notes(racing)] == ["a symbolic link"]


def test_the_worker_is_none_the_worse(arena: Arena, client: docker.DockerClient) -> None:
    arena.is_none_the_worse(client)
