import pytest

from config.settings import Settings
from sandbox.testing import FakeEngine
from worker.compose import SetUpError, check_runtime

HOST = FakeEngine().host_facts()


@pytest.mark.parametrize("runtime", [None, "runc", "io.containerd.kata.v2"])
def test_a_runtime_that_the_engine_may_have_is_taken(runtime: str | None) -> None:
    check_runtime(Settings(worker_runtime=runtime), HOST)


def test_one_that_it_lacks_is_named_at_the_start_with_those_that_it_has() -> None:
    with pytest.raises(SetUpError, match="WORKER_RUNTIME: the engine has no runtime kata; it has runc"):
        check_runtime(Settings(worker_runtime="kata"), HOST)
