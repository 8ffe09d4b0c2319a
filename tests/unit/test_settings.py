from pathlib import Path

import pytest

from config.load import SettingsError, load, reread, shown
from config.settings import Settings


def settings(**environ: str) -> Settings:
    return load(None, environ).settings


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "NO"])
def test_false_is_false_in_any_spelling(text: str) -> None:
    assert settings(USE_GPU=text).use_gpu is False


@pytest.mark.parametrize("text", ["true", "True", "1", "yes"])
def test_true_is_true_in_any_spelling(text: str) -> None:
    assert settings(USE_GPU=text).use_gpu is True


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("512m", 512 << 20), ("10GiB", 10 << 30), ("1.5 kB", 1536), ("2T", 2 << 40)]
)
def test_sizes_are_bytes_or_powers_of_1024(text: str, size: int) -> None:
    assert settings(WORKER_BUNDLE_LIMIT=text).worker_bundle_limit == size


@pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("10s", 10), ("5m", 300), ("1h", 3600), ("250ms", 0.25)])
def test_durations_are_seconds_or_have_a_unit(text: str, seconds: float) -> None:
    assert settings(WORKER_DRAIN_TIMEOUT=text).worker_drain_timeout == seconds


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"WORKER_CONCURENCY": "2"},
            "WORKER_CONCURENCY is no setting of this worker; did you mean WORKER_CONCURRENCY?",
        ),
        ({"WORKER_XYZZY": "2"}, "WORKER_XYZZY is no setting of this worker"),
        ({"WORKER_CONCURRENCY": "none"}, "WORKER_CONCURRENCY: "),
        ({"WORKER_CONCURRENCY": "0"}, "WORKER_CONCURRENCY: "),
        ({"WORKER_SHM_SIZE": "lots"}, "WORKER_SHM_SIZE: is no size"),
        ({"WORKER_STOP_GRACE": "soon"}, "WORKER_STOP_GRACE: is no duration"),
        ({"WORKER_STOP_GRACE": "-1"}, "WORKER_STOP_GRACE: is no duration"),
        ({"WORKER_PULL_POLICY": "sometimes"}, "WORKER_PULL_POLICY: "),
        ({"WORKER_PARTICIPANT_USER": "--privileged"}, "WORKER_PARTICIPANT_USER: "),
        ({"SUBMISSION_TEMP_DIR": "relative"}, "SUBMISSION_TEMP_DIR: must be an absolute path"),
        ({"USE_GPU": "1", "WORKER_GPUS": "0,1", "WORKER_GPUS_PER_RUN": "3"}, "WORKER_GPUS_PER_RUN is more than"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, environ)
    assert line in str(caught.value)


def test_every_fault_is_told_at_once_and_no_value_is_echoed() -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, {"WORKER_PIDS_LIMIT": "hunter2", "LOG_LEVEL": "hunter3"})
    assert len(str(caught.value).splitlines()) == 2
    assert "hunter" not in str(caught.value)


def test_empty_means_default() -> None:
    assert settings(WORKER_RUNTIME="", WORKER_CONCURRENCY=" ").worker_concurrency == 1


def test_all_and_any_mean_no_restriction() -> None:
    made = settings(WORKER_GPUS="all", WORKER_GPUS_PER_RUN="all", WORKER_ALLOWED_IMAGES="any")
    assert (made.worker_gpus, made.worker_gpus_per_run, made.worker_allowed_images) == ((), None, ())


def test_names_are_split_at_commas() -> None:
    assert settings(WORKER_GPUS="0, GPU-1,").worker_gpus == ("0", "GPU-1")


def test_the_environment_wins_over_the_file_and_each_origin_is_told(tmp_path: Path) -> None:
    file = tmp_path / "worker.env"
    file.write_text("WORKER_QUEUE=from-file\nWORKER_CONCURRENCY=4\n")
    loaded = load(file, {"WORKER_QUEUE": "from-environment"})
    assert loaded.settings.worker_queue == "from-environment"
    assert loaded.settings.worker_concurrency == 4
    assert loaded.origins["WORKER_QUEUE"] == "environment"
    assert loaded.origins["WORKER_CONCURRENCY"] == str(file)
    assert loaded.origins["WORKER_RUNTIME"] == "default"


def test_dot_env_is_read_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('CODALAB_HOSTNAME="gpu-7"\n')
    assert settings().codalab_hostname == "gpu-7"


def test_a_missing_env_file_is_an_error_where_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--env-file"):
        load(tmp_path / "none.env", {})


def test_secrets_are_masked_when_shown() -> None:
    made = settings(BROKER_URL="amqp://user:hunter2@host//")
    assert "hunter2" not in str(shown(made)) + repr(made)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().worker_concurrency = 2  # type: ignore[misc]


def test_only_what_can_change_while_runs_are_in_work_is_read_again() -> None:
    running = load(environ={}).settings
    fresh = load(environ={"LOG_LEVEL": "DEBUG", "WORKER_ALLOWED_IMAGES": "team/*", "WORKER_CONCURRENCY": "3"}).settings
    settings, others = reread(running, fresh)
    assert (settings.log_level, settings.worker_allowed_images) == ("DEBUG", ("team/*",))
    assert settings.worker_concurrency == 1
    assert others == ("WORKER_CONCURRENCY",)
