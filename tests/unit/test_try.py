"""What `try` refuses, what it makes of folders and options, and what it shows."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from config.settings import Settings
from protocol.docker_command import DockerSubmission
from protocol.run import UploadSlot
from worker.cli import main
from worker.commands import try_run
from worker.commands.local_store import LocalStore, local_url
from worker.commands.trial import Trial, check, stock
from worker.commands.try_results import NAMES, TryResults
from worker.set_up import SetUpError
from worker.storage.errors import TooLarge


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    for name in ("in", "program", "ref"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text(name)
    folders = {name: tmp_path / name for name in ("program", "ref", "out")}
    return Trial("image", tmp_path / "in", program_image=None, time_limit=None, **folders)


def without_scoring(trial: Trial) -> Trial:
    return replace(trial, program=None, ref=None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ref": None}, "--program and --ref belong together"),
        ({"program": None}, "--program and --ref belong together"),
        ({"program": None, "ref": None, "program_image": "x"}, "--program-image is the image of a scoring program"),
        ({"program_image": "Team/Image"}, "--program-image must be an image reference"),
    ],
)
def test_options_that_do_not_go_together(trial: Trial, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    check(trial, tmp_path / "temp")
    with pytest.raises(SetUpError, match=sentence):
        check(replace(trial, **changes), tmp_path / "temp")


def test_no_folder_is_copied_into_itself(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(trial.input)
    with pytest.raises(SetUpError, match="--out must not lie in the folder of --input"):
        check(replace(trial, out=tmp_path / "link" / "out"), tmp_path / "temp")
    with pytest.raises(SetUpError, match="SUBMISSION_TEMP_DIR must not lie in the folder of --ref"):
        check(trial, tmp_path / "ref" / "temp")


def stocked(trial: Trial, folder: Path) -> tuple[Path, Path]:
    bundles, offered = folder / "bundles", folder / "offered"
    bundles.mkdir()
    offered.mkdir()
    stock(trial, bundles, offered)
    return bundles, offered


def test_folders_become_the_bundles_of_a_site(trial: Trial, tmp_path: Path) -> None:
    bundles, offered = stocked(trial, tmp_path)
    assert (offered / "file.txt").read_text() == "in"
    run, data = (yaml.safe_load((bundles / name).read_text()) for name in ("run.txt", "input.txt"))
    links = {**run, **{f"input/{key}": value for key, value in data.items()}}
    named = {key: Path(link).name for key, link in links.items()}
    assert named == {"program": "program.zip", "input": "input.txt", "input/ref": "ref.zip"}
    with zipfile.ZipFile(bundles / "ref.zip") as archive:
        assert archive.read("file.txt") == b"ref"


def test_without_a_scoring_program_there_are_no_bundles_but_the_first(trial: Trial, tmp_path: Path) -> None:
    bundles, _ = stocked(without_scoring(trial), tmp_path)
    assert [path.name for path in bundles.iterdir()] == ["run.txt"]
    assert yaml.safe_load((bundles / "run.txt").read_text()) == {}


def test_of_many_things_that_no_bundle_can_hold_a_few_are_named(trial: Trial, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "ref" / f"link{number}").symlink_to("x")
    held = r"link0 \(a symbolic link\), link1 \(a symbolic link\), link2 \(a symbolic link\), …\. Put"
    with pytest.raises(SetUpError, match=f"--ref .*/ref holds what a bundle cannot: {held}"):
        stocked(trial, tmp_path)


def test_the_local_store_gives_what_is_asked_for_within_the_limit(tmp_path: Path) -> None:
    (tmp_path / "ref.zip").write_bytes(b"12345")
    store = LocalStore(tmp_path, tmp_path)
    with pytest.raises(TooLarge):
        store.download(local_url("ref.zip"), tmp_path / "target", limit=4, deadline=1)
    assert store.download(local_url("ref.zip"), tmp_path / "target", limit=5, deadline=1) == 5
    assert (tmp_path / "target").read_bytes() == b"12345"


def test_a_live_upload_that_is_called_off_leaves_what_was_there(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (tmp_path / "log").write_text("later")
    (results / "stdout.txt").write_text("before")

    def too_late(_sent: int, _size: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        LocalStore(tmp_path, results).upload_once(local_url("stdout.txt"), tmp_path / "log", progress=too_late)
    assert [path.read_text() for path in results.iterdir()] == ["before"]


def test_a_link_in_the_place_of_a_result_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("log")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "stdout.txt").symlink_to(tmp_path / "mine")
    LocalStore(tmp_path, tmp_path).upload(local_url("stdout.txt"), tmp_path / "log")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "stdout.txt").read_text() == "log"


def archive_with(results: TryResults, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(results.folder / NAMES[UploadSlot.OUTPUT], "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def test_scores_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    results = TryResults.prepare(tmp_path / "out")
    assert results.scores() is None
    archive_with(results, {"scores.txt": b"a: 1\n\x1b]0;owned\x07b: \xff\n"})
    assert results.scores() == "a: 1\n\ufffd]0;owned\ufffdb: \ufffd"
    archive_with(results, {"other.txt": b""})
    assert results.scores() is None


def test_of_endless_scores_the_beginning_is_shown(tmp_path: Path) -> None:
    results = TryResults.prepare(tmp_path / "out")
    archive_with(results, {"scores.txt": b"x" * 10_000_000})
    assert len(results.scores() or "") == 16 * 1024


def test_where_results_may_go(tmp_path: Path) -> None:
    TryResults.prepare(tmp_path / "new" / "deep")
    (tmp_path / "empty").mkdir()
    TryResults.prepare(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(SetUpError, match=r"--out .*/file cannot be written to: File exists"):
        TryResults.prepare(tmp_path / "file")


def test_a_pull_policy_that_is_set_is_kept(tmp_path: Path) -> None:
    assert try_run._mine(Settings(), tmp_path).worker_pull_policy == "if-not-present"
    assert try_run._mine(Settings(worker_pull_policy="always"), tmp_path).worker_pull_policy == "always"


@pytest.mark.parametrize(("asked", "mounted"), [("in", "copy"), ("operators", "copy"), ("other", "other")])
def test_the_input_folder_goes_by_two_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, mounted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    submission = DockerSubmission("image", input_folder_asked=(str(tmp_path / asked), "/data"))
    known: set[Path | None] = {Path("in"), tmp_path / "operators"}
    found = try_run._with_folder(submission, known, tmp_path / "copy")
    assert found.input_folder_asked == (str(tmp_path / mounted), "/data")
    assert try_run._with_folder(DockerSubmission("image"), {None}, tmp_path) == DockerSubmission("image")


@pytest.mark.parametrize("written", ["0", "-1", "soon", "99999d"])
def test_a_time_limit_that_is_none_is_refused(tmp_path: Path, written: str) -> None:
    result = CliRunner().invoke(main, ["try", "image", "--input", str(tmp_path), "--time-limit", written])
    assert result.exit_code == 2
    assert "'--time-limit'" in result.output


@pytest.mark.parametrize("image", ["", "this is not a docker submission"])
def test_no_image_is_no_submission(trial: Trial, tmp_path: Path, image: str) -> None:
    settings = Settings(submission_temp_dir=tmp_path / "temp")
    with pytest.raises(SetUpError, match="IMAGE says that there is no docker submission: name an image"):
        try_run.try_run(settings, replace(trial, image=image), as_json=False)
    assert list(settings.submission_temp_dir.iterdir()) == []


def test_a_temp_dir_that_cannot_be(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetUpError, match=r"SUBMISSION_TEMP_DIR: .*/file cannot be written to: File exists"):
        try_run.try_run(Settings(submission_temp_dir=tmp_path / "file"), trial, as_json=False)
