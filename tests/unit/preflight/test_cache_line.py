from pathlib import Path

from config.settings import Settings
from worker.preflight.lines import State
from worker.preflight.temp_dir import look_at_cache


def lines(folder: Path | None, inputs: Path) -> list[tuple[State, str]]:
    settings = Settings(submission_cache_dir=folder, worker_participant_input_dir=inputs)
    return [(line.state, line.found) for line in look_at_cache(settings)]


def test_a_cache_where_submissions_would_read_it_is_refused(tmp_path: Path) -> None:
    inputs = tmp_path / "input"
    inputs.mkdir()
    (tmp_path / "link").symlink_to(inputs)
    for folder in (inputs, inputs / "cache", tmp_path / "link" / "cache"):
        ((state, found),) = lines(folder, inputs)
        assert state is State.FAILED
        assert "WORKER_PARTICIPANT_INPUT_DIR" in found
    assert list(inputs.iterdir()) == []


def test_a_cache_beside_it_is_fine_and_left_to_the_worker_to_make(tmp_path: Path) -> None:
    (state, found), *_ = lines(tmp_path / "cache", tmp_path / "input")
    assert (state, found.partition(",")[0]) == (State.OK, f"{tmp_path / 'cache'} is writable")
    assert not (tmp_path / "cache").exists()
    assert lines(None, tmp_path) == [(State.OK, "off (SUBMISSION_CACHE_DIR)")]
