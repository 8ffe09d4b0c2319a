"""Checks side by side, and what single rooms make of what they see."""

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import Loaded
from config.settings import Settings
from worker.preflight import given_settings, registry, temp_dir
from worker.preflight.clock import clock_line
from worker.preflight.lines import Check, CheckLine, State, failed, ok
from worker.preflight.side_by_side import run_checks

SETTINGS = Settings()


def found(lines: Iterable[CheckLine], state: State) -> list[str]:
    return [line.found for line in lines if line.state is state]


def test_checks_run_side_by_side_and_keep_their_order() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(_: Settings) -> list[CheckLine]:
        both.wait()  # neither comes past this alone
        return [ok("met", "")]

    lines = run_checks([Check("a", meet), Check("b", meet)], SETTINGS, patience=20)
    assert [line.state for line in lines] == [State.OK, State.OK]


def test_one_that_hangs_keeps_what_it_found_and_stops_no_other() -> None:
    never = threading.Event()

    def hang(_: Settings) -> Iterable[CheckLine]:
        yield ok("slow", "so far")
        never.wait(30)
        yield ok("slow", "too late")

    lines = run_checks([Check("slow", hang), Check("quick", lambda _: [ok("quick", "here")])], SETTINGS, patience=0.5)
    never.set()
    assert [(line.name, line.state) for line in lines] == [
        ("slow", State.OK),
        ("slow", State.FAILED),
        ("quick", State.OK),
    ]
    assert lines[1].found == "no answer within 0.5 s"


def test_one_that_breaks_is_a_failed_line_and_stops_no_other() -> None:
    def broken(_: Settings) -> list[CheckLine]:
        raise KeyError("hush-hush")

    lines = run_checks([Check("odd", broken), Check("good", lambda _: [ok("good", "")])], SETTINGS, patience=10)
    assert [line.state for line in lines] == [State.FAILED, State.OK]
    assert lines[0].found == "the check itself broke: KeyError"


@pytest.mark.parametrize(
    ("skew", "state"),
    [(0, State.OK), (9, State.OK), (-9, State.OK), (60, State.WARNING), (-60, State.WARNING), (-301, State.FAILED)],
)
def test_a_clock_that_is_wrong_is_told_by_how_much(skew: float, state: State) -> None:
    line = clock_line("the broker", 1_000_000.0, 1_000_000.0 + skew)
    assert line.state is state
    if state is not State.OK:
        assert line.found.startswith(f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'}")
        assert line.mend


@given(st.builds(CheckLine, st.text(), st.sampled_from(State), st.text(), st.text()))
def test_a_line_is_plain_json(line: CheckLine) -> None:
    assert json.loads(json.dumps(line.as_dict())) == line.as_dict()


def credentials(tmp_path: Path, text: str, mode: int = 0o600) -> list[CheckLine]:
    path = tmp_path / "config.json"
    path.write_text(text)
    path.chmod(mode)
    return registry.file_lines(path, wanted=True)


LOGIN = {"auths": {"registry.example.org": {"auth": "dXNlcjpodXNoLWh1c2g="}}}  # user:hush-hush


def test_sound_credentials_are_named_by_their_registry_only(tmp_path: Path) -> None:
    (line,) = credentials(tmp_path, json.dumps(LOGIN))
    assert line.state is State.OK
    assert line.found.endswith("config.json: registry.example.org")


def test_credentials_that_others_may_read_are_told(tmp_path: Path) -> None:
    lines = credentials(tmp_path, json.dumps(LOGIN), 0o644)
    assert [line.state for line in lines] == [State.WARNING, State.OK]
    assert lines[0].mend == f"chmod 600 {tmp_path}/config.json"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hush-hush", "is no JSON"),
        ('["hush-hush"]', "holds no JSON object"),
        ('{"auths": {"r": {"auth": "hush-hush"}}}', "cannot be used"),
        ('{"credsStore": "no-such-helper"}', "credential helper no-such-helper, which is not on the PATH"),
    ],
)
def test_broken_credentials_fail_and_are_not_quoted(tmp_path: Path, text: str, sentence: str) -> None:
    (line,) = credentials(tmp_path, text)
    assert line.state is State.FAILED
    assert sentence in line.found
    assert line.mend
    assert "hush-hush" not in str(line)


def test_credentials_that_are_named_but_missing_fail(tmp_path: Path) -> None:
    (line,) = registry.file_lines(tmp_path / "none.json", wanted=True)
    assert (line.state, line.found) == (State.FAILED, f"there is no file {tmp_path}/none.json")


def test_a_folder_that_is_made_for_now_goes_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with temp_dir.made_for_now(folder):
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with temp_dir.made_for_now(tmp_path):
        pass
    assert tmp_path.is_dir()


def test_too_little_room_names_the_setting_and_the_mount(tmp_path: Path) -> None:
    (line, *_) = temp_dir.room_lines("free disk", tmp_path, 1 << 60, "WORKER_MIN_FREE_DISK")
    assert line.state is State.FAILED
    assert "1073741824.0 GiB wanted (WORKER_MIN_FREE_DISK)" in line.found
    assert str(temp_dir.mount_point(tmp_path)) in line.mend


def test_the_file_system_is_the_kernels_word() -> None:
    assert temp_dir.file_system(Path("/proc/self")) == "proc"


def loaded(origin: str, *warnings: str, url: str | None = "amqp://user:hush-hush@host/") -> Loaded:
    settings = Settings.model_validate({"broker_url": url})
    return Loaded(settings, {"BROKER_URL": origin, "WORKER_QUEUE": "default"}, warnings)


def test_a_settings_file_that_others_may_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.touch()
    file.chmod(0o640)
    lines = given_settings.settings_lines(loaded(str(file)))
    assert found(lines, State.WARNING) == [f"{file} holds a password, and others on this host may read it"]
    os.chmod(file, 0o600)  # noqa: PTH101 -- as an operator does it
    assert found(given_settings.settings_lines(loaded(str(file))), State.WARNING) == []


def test_no_broker_is_a_matter_of_settings() -> None:
    lines = given_settings.settings_lines(loaded("default", url=None))
    assert found(lines, State.FAILED) == [
        "BROKER_URL is not set: put the URL that the site shows for this queue into it."
    ]


def test_what_loading_warned_of_is_a_line_each() -> None:
    lines = given_settings.settings_lines(loaded("environment", "one", "two"))
    assert found(lines, State.WARNING) == ["one", "two"]
    assert found(lines, State.FAILED) == []


def test_a_fault_is_a_line_each() -> None:
    lines = given_settings.fault_lines(ValueError("A: wrong\nB: wrong"))
    assert [line.found for line in lines] == ["A: wrong", "B: wrong"]
    assert failed("settings", "A: wrong", lines[0].mend) == lines[0]
