import pytest

from tests.support import gpu_engine, nvidia_hook


def test_the_hook_and_the_tests_know_the_same_gpus() -> None:
    assert nvidia_hook.INVENTORY == gpu_engine.GPUS


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ("", []),
        ("void", []),
        ("all", ["0", "1"]),
        ("1", ["1"]),
        ("0,1", ["0", "1"]),
        (gpu_engine.GPUS["1"], ["1"]),
    ],
)
def test_gpus_are_named_by_index_or_uuid(wanted: str, indices: list[str]) -> None:
    assert nvidia_hook.visible(wanted) == indices


def test_an_unknown_gpu_fails_the_start() -> None:
    with pytest.raises(SystemExit, match="7: unknown device"):
        nvidia_hook.visible("7")
