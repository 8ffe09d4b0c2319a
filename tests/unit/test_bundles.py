from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import pytest
import yaml

from protocol.faults import Fault, LastingFault, OrganiserFault, ParticipantFault, PassingFault
from protocol.urls import SignedUrl
from worker.archives.unpack import ArchiveLimits
from worker.bundles.fetch import fetch as fetch_bundles
from worker.storage.errors import StoreUnavailable, TooLarge, TransferError, UrlRefused
from worker.storage.transfer import Transfers

SIGNED = "sv=2021&sig=TOPSECRET"
LIMITS = ArchiveLimits(100_000, 100)
RUN = SignedUrl(f"http://store/run?{SIGNED}")


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def document(**links: str) -> bytes:
    return "".join(f"{key}: {value}\n" for key, value in links.items()).encode()


def link(name: str) -> str:
    return f"http://store/{name}?{SIGNED}"


PROGRAM = zipped({"metadata": b"command: python $program/score.py", "score.py": b""})


class FakeTransfers:
    """A store that holds bytes, or the error that asking for them gives."""

    def __init__(self, blobs: Mapping[str, bytes | type[TransferError] | Callable[[], bytes]]) -> None:
        self.blobs = blobs
        self.asked: list[str] = []

    def download(
        self,
        url: SignedUrl,
        target: Path,
        *,
        limit: int | None = None,
        deadline: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        assert deadline > 0
        name = str(url).removeprefix("http://store/").removesuffix("?…")
        self.asked.append(name)
        found = self.blobs.get(name, UrlRefused)
        data = found if isinstance(found, bytes) else self._ask(found, url)
        if limit is not None and len(data) > limit:
            raise TooLarge(url, limit)
        if progress:
            progress(len(data), len(data))
        target.write_bytes(data)
        return len(data)

    @staticmethod
    def _ask(found: type[TransferError] | Callable[[], bytes], url: SignedUrl) -> bytes:
        if found is UrlRefused:
            raise UrlRefused(url, "HTTP 404", status=404)
        if found is StoreUnavailable:
            raise StoreUnavailable(url, "HTTP 503, after 5 attempts")
        return cast("Callable[[], bytes]", found)()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "output").mkdir(parents=True)
    return folder


def fetch(
    folder: Path,
    transfers: FakeTransfers,
    optional: frozenset[str] = frozenset(),
    submission: str = "input/res",
) -> tuple[str, ...]:
    try:
        return fetch_bundles(
            RUN,
            folder,
            transfers=cast("Transfers", transfers),
            limits=LIMITS,
            deadline=10,
            optional=optional,
            submission=submission,
        )
    finally:
        assert [path.name for path in folder.parent.iterdir()] == ["run"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def scoring(**changed: bytes | type[TransferError] | Callable[[], bytes]) -> FakeTransfers:
    return FakeTransfers(
        {
            "run": document(program=link("program"), input=link("input"), stdout=link("stdout")),
            "input": document(ref=link("ref"), res=link("res"), **{"submitted-by": link("name")}),
            "program": PROGRAM,
            "ref": zipped({"truth.txt": b"1"}),
            "res": zipped({"answer.txt": b"2"}),
            **changed,
        }
    )


DOCKER = frozenset({"input/res"})


def test_a_scoring_run_as_a_site_sends_it(folder: Path) -> None:
    transfers = scoring()
    assert fetch(folder, transfers) == ()
    files = tree(folder)
    assert files.keys() == {
        "metadata",
        "program/metadata",
        "program/score.py",
        "input/metadata",
        "input/ref/truth.txt",
        "input/res/answer.txt",
    }
    assert sorted(transfers.asked) == ["input", "program", "ref", "res", "run"]


def test_no_signature_is_kept_where_a_program_could_print_it(folder: Path) -> None:
    fetch(folder, scoring())
    assert not any(b"TOPSECRET" in data for data in tree(folder).values())
    assert yaml.safe_load((folder / "metadata").read_bytes()) == {
        "program": "http://store/program",
        "input": "http://store/input",
        "stdout": "http://store/stdout",
    }


def test_the_run_bundle_may_be_an_archive_itself(folder: Path) -> None:
    run = zipped(
        {"program/metadata": b"command: x", "input/ref.zip": b"", "ref.zip": zipped({"a": b""}), "output/": b""}
    )
    fetch(folder, FakeTransfers({"run": run}))
    assert tree(folder).keys() == {"program/metadata", "input/ref.zip", "ref/a"}


def test_a_run_archive_may_not_fill_the_runs_own_folders(folder: Path) -> None:
    (folder / "output" / "there").touch()
    with pytest.raises(OrganiserFault, match="a name that the run itself needs"):
        fetch(folder, FakeTransfers({"run": zipped({"program/metadata": b"", "output/x": b""})}))


def test_links_in_archives_and_in_other_documents_are_never_followed(folder: Path) -> None:
    evil = document(program=link("evil"), more=link("evil"), ref=link("evil"))
    transfers = scoring(
        run=document(program=link("program"), input=link("input"), notes=link("notes")),
        notes=evil,
        res=zipped({"metadata": evil}),
        ref=evil,
    )
    fetch(folder, transfers)
    assert "evil" not in transfers.asked
    assert tree(folder)["notes/metadata"] == evil
    assert tree(folder)["input/ref/metadata"] == evil


def test_a_document_named_input_below_the_input_is_not_followed(folder: Path) -> None:
    transfers = scoring(input=document(input=link("deeper")), deeper=document(ref=link("evil")))
    fetch(folder, transfers)
    assert "evil" not in transfers.asked


def test_destinations_and_facts_are_not_fetched(folder: Path) -> None:
    keys = "stdout stderr output private_output description command exitCode elapsedTime submitted-by submitted-at"
    links = {key: link(key) for key in keys.split()}
    transfers = scoring(run=document(program=link("program"), **links))
    fetch(folder, transfers)
    assert sorted(transfers.asked) == ["program", "run"]


@pytest.mark.parametrize("value", ["file:///etc/passwd", "ftp://host/x", "/etc/passwd", "''", "null", "[a, b]", "5"])
def test_only_http_links_are_fetched(folder: Path, value: str) -> None:
    transfers = scoring(run=document(program=link("program"), other=value))
    fetch(folder, transfers)
    assert sorted(transfers.asked) == ["program", "run"]


@pytest.mark.parametrize("key", ["../evil", "a/b", "..", ".", ".hidden", "'a b'", "k" * 65, "'a\\0b'"])
def test_keys_that_are_no_plain_names_are_passed_over(folder: Path, key: str) -> None:
    transfers = scoring(run=document(program=link("program"), **{key: link("x")}))
    (note,) = fetch(folder, transfers)
    assert "was not fetched" in note
    assert "x" not in transfers.asked


@pytest.mark.parametrize("key", ["metadata", "temp"])
def test_a_key_does_not_replace_what_is_there(folder: Path, key: str) -> None:
    (folder / "temp").mkdir()
    assert fetch(folder, scoring(run=document(program=link("program"), **{key: link("x")}))) == (
        f"{key} was not fetched: there is something of that name already",
    )


def test_too_many_links_are_refused(folder: Path) -> None:
    with pytest.raises(OrganiserFault, match="names 40 bundles"):
        fetch(folder, FakeTransfers({"run": document(**{f"k{n}": link("x") for n in range(40)})}))


@pytest.mark.parametrize("run", [b"just text", document(input=link("input")), zipped({"readme": b""}), zipped({})])
def test_a_run_without_a_program(folder: Path, run: bytes) -> None:
    with pytest.raises(OrganiserFault, match="names no program"):
        fetch(folder, scoring(run=run))


def test_a_program_may_be_optional(folder: Path) -> None:
    fetch(folder, scoring(run=document(input=link("input"))), optional=frozenset({"program"}))
    assert list((folder / "program").iterdir()) == []


DAMAGED = zipped({"a": b"x" * 100})[:-10]


@pytest.mark.parametrize(
    ("name", "blob", "kind", "start"),
    [
        ("run", b"", OrganiserFault, "The organiser's run bundle cannot be unpacked: it is empty"),
        ("program", b"", OrganiserFault, "The organiser's scoring program cannot be unpacked: it is empty"),
        (
            "program",
            DAMAGED,
            OrganiserFault,
            "The organiser's scoring program cannot be unpacked: it is damag",
        ),
        ("ref", DAMAGED, OrganiserFault, "The organiser's reference data cannot be unpacked: it is damag"),
        ("res", DAMAGED, ParticipantFault, "Your submission cannot be unpacked: it is damag"),
        ("res", b"", ParticipantFault, "Your submission cannot be unpacked: it is empty"),
        ("res", bytes(200_000), ParticipantFault, "Your submission is too large: it has more than 97.7 KiB"),
        (
            "res",
            zipped({"../x": b""}),
            ParticipantFault,
            "Your submission cannot be unpacked: it holds a ",
        ),
        ("ref", bytes(200_000), OrganiserFault, "The organiser's reference data is too large"),
        (
            "program",
            UrlRefused,
            LastingFault,
            "The platform's store refused to hand out the scoring program (HTTP",
        ),
        ("res", UrlRefused, LastingFault, "The platform's store refused to hand out your submission (HTTP 404)"),
        ("res", StoreUnavailable, PassingFault, "The platform's store did not hand out your submission in time"),
        ("run", StoreUnavailable, PassingFault, "The platform's store did not hand out the run bundle in time"),
    ],
)
def test_whose_fault_it_was(
    folder: Path, name: str, blob: bytes | type[TransferError], kind: type[Fault], start: str
) -> None:
    with pytest.raises(kind) as caught:
        fetch(folder, scoring(**{name: blob}))
    assert caught.value.sentence.startswith(start)
    assert caught.value.sentence.endswith(".")
    assert "TOPSECRET" not in caught.value.sentence + caught.value.detail
    assert str(folder) not in caught.value.sentence


@pytest.mark.parametrize(("name", "kind"), [("program", ParticipantFault), ("res", OrganiserFault)])
def test_a_code_submission_answers_for_its_own_program(folder: Path, name: str, kind: type[Fault]) -> None:
    with pytest.raises(kind, match="cannot be unpacked"):
        fetch(folder, scoring(**{name: DAMAGED}), submission="program")


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (b"", "is empty"),
        (UrlRefused, "HTTP 404"),
        (b"no archive", "is no zip archive"),
        (DAMAGED, "is damaged"),
        (bytes(200_000), "larger than 100000 bytes"),
    ],
)
def test_a_docker_submissions_results_may_be_dead(folder: Path, blob: bytes | type[TransferError], words: str) -> None:
    (note,) = fetch(folder, scoring(res=blob), optional=DOCKER)
    assert note.startswith("input/res: your container's output takes its place")
    assert words in note
    assert "TOPSECRET" not in note
    assert list((folder / "input" / "res").iterdir()) == []
    assert (folder / "input" / "ref" / "truth.txt").exists()


@pytest.mark.parametrize("inputs", [document(ref=link("ref"), res="''"), document(ref=link("ref"))])
def test_a_docker_submission_needs_no_results_link(folder: Path, inputs: bytes) -> None:
    assert fetch(folder, scoring(input=inputs), optional=DOCKER) == ()
    assert list((folder / "input" / "res").iterdir()) == []


def test_optional_results_in_an_unreachable_store_are_no_reason_to_go_on(folder: Path) -> None:
    with pytest.raises(PassingFault):
        fetch(folder, scoring(res=StoreUnavailable), optional=DOCKER)


def test_a_full_disk_is_the_platforms_fault(folder: Path) -> None:
    def full() -> bytes:
        raise OSError(28, "No space left on device", "/secret/path")

    with pytest.raises(PassingFault, match="no room left on its disk") as caught:
        fetch(folder, scoring(ref=full))
    assert "/secret" not in caught.value.sentence


def test_other_errors_of_the_disk_are_not_explained_away(folder: Path) -> None:
    def broken() -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        fetch(folder, scoring(ref=broken))


def test_the_bundles_of_a_document_are_fetched_side_by_side(folder: Path) -> None:
    together = threading.Barrier(2, timeout=20)

    def both(data: bytes) -> Callable[[], bytes]:
        def ask() -> bytes:
            together.wait()
            return data

        return ask

    fetch(folder, scoring(ref=both(zipped({})), res=both(zipped({}))))


def test_a_failure_ends_the_other_downloads(folder: Path) -> None:
    class Slow(FakeTransfers):
        def download(self, url: SignedUrl, target: Path, **kept: object) -> int:
            if "res" not in str(url):
                return super().download(url, target, **kept)  # type: ignore[arg-type]
            for _ in range(6000):
                time.sleep(0.01)
                cast("Callable[[int, int], None]", kept["progress"])(1, 2)
            return 0

    started = time.monotonic()
    with pytest.raises(LastingFault, match="reference data"):
        fetch(folder, Slow(scoring(ref=UrlRefused).blobs))
    assert time.monotonic() - started < 20  # and not a minute


def test_progress_names_the_bundle(folder: Path) -> None:
    seen: set[str] = set()
    fetch_bundles(
        RUN,
        folder,
        transfers=cast("Transfers", scoring()),
        limits=LIMITS,
        deadline=10,
        progress=lambda name, _had, _total: seen.add(name),
    )
    assert seen == {f"download {name}" for name in ("run bundle", "program", "input", "input/ref", "input/res")}
