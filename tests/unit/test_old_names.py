from pathlib import Path

import pytest

from config.example import example
from config.load import SettingsError, load
from config.old_names import NOT_TAKEN_OVER, OLD_NAMES
from config.settings import Settings

GIVEN_EXAMPLE = Path(__file__).parents[2] / "config" / "codalab-worker.env.example"


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("environ", "field", "value"),
    [
        ({"MAX_CACHE_DIR_SIZE_GB": "2.5"}, "submission_cache_dir_max_size_in_gb", 2.5),
        ({"CONTAINER_SOCKET": "unix:///run/x.sock"}, "docker_host", "unix:///run/x.sock"),
        ({"CONTAINER_ENGINE_EXECUTABLE": "docker"}, "docker_host", None),
        ({"CONTAINER_ENGINE_EXECUTABLE": "podman"}, "docker_host", "unix:///run/user/1000/podman/podman.sock"),
        (
            {"CONTAINER_ENGINE_EXECUTABLE": "podman", "CONTAINER_SOCKET": "unix:///run/x.sock"},
            "docker_host",
            "unix:///run/x.sock",
        ),
        ({"GPU_DEVICE": "nvidia.com/gpu=all"}, "worker_gpus", ("nvidia.com/gpu=all",)),
        ({"COMPETITION_CONTAINER_NETWORK_DISABLED": "True"}, "worker_organiser_network", "none"),
        ({"COMPETITION_CONTAINER_NETWORK_DISABLED": "False"}, "worker_organiser_network", "bridge"),
        ({"COMPETITION_CONTAINER_NETWORK_DISABLED": "False"}, "worker_participant_network", "none"),
        ({"CODALAB_IGNORE_CLEANUP_STEP": "True"}, "dont_finalize_submission", True),
        ({"CODALAB_IGNORE_CLEANUP_STEP": "False"}, "dont_finalize_submission", False),
        ({"BROKER_SSL_CA_CERTS": "/etc/ca.pem"}, "broker_ssl_ca", Path("/etc/ca.pem")),
        ({"SERIALIZED": "true"}, "log_format", "json"),
        ({"SERIALIZED": "false"}, "log_format", "auto"),
    ],
)
def test_an_old_name_keeps_its_meaning_and_is_named(environ: dict[str, str], field: str, value: object) -> None:
    loaded = load(None, environ)
    assert getattr(loaded.settings, field) == value
    for name in environ:
        assert [text for text in loaded.warnings if text.startswith(f"{name} is an old name")]


def test_the_nine_names_that_are_ours_too_are_no_old_ones() -> None:
    nine = {
        "BROKER_URL": "amqp://host/",
        "BROKER_USE_SSL": "True",
        "USE_GPU": "True",
        "SUBMISSION_TEMP_DIR": "/tmp/x",
        "SUBMISSION_CACHE_DIR": "/tmp/cache",
        "SUBMISSION_CACHE_DIR_MAX_SIZE_IN_GB": "3",
        "CODALAB_HOSTNAME": "gpu-1",
        "DONT_FINALIZE_SUBMISSION": "True",
    }
    assert not [text for text in load(None, nine).warnings if "old name" in text]


def test_where_old_and_new_contradict_each_other_the_new_one_holds_and_it_is_told() -> None:
    loaded = load(None, {"CONTAINER_SOCKET": "unix:///old", "DOCKER_HOST": "unix:///new"})
    assert loaded.settings.docker_host == "unix:///new"
    assert loaded.origins["DOCKER_HOST"] == "environment"
    (told,) = loaded.warnings
    assert told.startswith("CONTAINER_SOCKET and DOCKER_HOST contradict each other: DOCKER_HOST holds")


def test_where_both_say_the_same_one_is_too_many() -> None:
    (told,) = load(None, {"CONTAINER_SOCKET": "unix:///s", "DOCKER_HOST": "unix:///s"}).warnings
    assert told.endswith("take CONTAINER_SOCKET out")


def test_the_origin_names_the_old_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GPU_DEVICE=nvidia.com/gpu=0\n")
    assert load(None, {}).origins["WORKER_GPUS"] == ".env: GPU_DEVICE"


def test_a_value_that_cannot_be_is_told_under_the_new_name() -> None:
    with pytest.raises(SettingsError, match="SUBMISSION_CACHE_DIR_MAX_SIZE_IN_GB: "):
        load(None, {"MAX_CACHE_DIR_SIZE_GB": "much"})


@pytest.mark.parametrize("name", NOT_TAKEN_OVER)
def test_what_has_no_counterpart_is_named_with_what_to_do(name: str) -> None:
    (told,) = load(None, {name: "amqp://user:hush-hush@host/"}).warnings
    assert told == f"{name} has no meaning here: {NOT_TAKEN_OVER[name]}"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("BROKER_UR", "BROKER_URL"),
        ("USE_GPUS", "USE_GPU"),
        ("SUBMISSION_TEMPDIR", "SUBMISSION_TEMP_DIR"),
        ("CODALAB_HOST", "CODALAB_HOSTNAME"),
        ("LOGLEVEL", "LOG_LEVEL"),
    ],
)
def test_a_name_that_looks_like_ours_is_told(name: str, nearest: str) -> None:
    assert load(None, {name: "x"}).warnings == (
        f"{name} is no setting of this worker and has no effect; did you mean {nearest}?",
    )


@pytest.mark.parametrize("name", ["DOCKER_CONFIG", "DOCKER_CONTEXT", "HOSTNAME", "PATH", "COMPOSE_PROJECT_NAME"])
def test_names_of_others_are_left_alone(name: str) -> None:
    assert load(None, {name: "x"}).warnings == ()


def test_the_given_example_is_the_one_that_the_settings_make() -> None:
    assert GIVEN_EXAMPLE.read_text(encoding="utf-8") == example(), "codalab-worker config --example > " + str(
        GIVEN_EXAMPLE.relative_to(GIVEN_EXAMPLE.parents[1])
    )


def test_the_example_can_be_used_as_it_stands_and_with_every_default_uncommented(tmp_path: Path) -> None:
    file = tmp_path / "worker.env"
    file.write_text(example())
    as_it_stands = load(file, {}).settings
    names = {name.upper() for name in Settings.model_fields}
    uncommented = [
        line.removeprefix("#") if line.removeprefix("#").partition("=")[0] in names else line
        for line in example().splitlines()
    ]
    assert {line.partition("=")[0] for line in uncommented} >= names
    file.write_text("\n".join(uncommented))
    assert load(file, {}).settings == as_it_stands


def test_old_names_lead_to_settings() -> None:
    assert {old.new.lower() for old in OLD_NAMES} <= Settings.model_fields.keys()
