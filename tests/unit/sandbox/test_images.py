import threading
from collections.abc import Callable

import pytest

from sandbox.cancellation import Cancellation
from sandbox.engine import Image, PullProgress
from sandbox.errors import Cancelled, EngineUnreachable, ImageInvalid, ImageNotFound, RegistryUnreachable
from sandbox.images import ImageName, PullPolicy, allowed, obtain
from sandbox.testing import FakeEngine, Program

OLD, NEW = Program(exit_code=1), Program(exit_code=2)
AWAY = RegistryUnreachable("x:1", "connection refused")


class Pauses(Cancellation):
    """One that nobody cancels, and that does not really pause."""

    def __init__(self, pauses: list[float]) -> None:
        super().__init__()
        self._pauses = pauses

    def sleep(self, seconds: float) -> None:
        self._pauses.append(seconds)


class Registry(FakeEngine):
    """Its pulls do what `steps` say, one after another."""

    def __init__(self, *steps: Callable[[FakeEngine], None], held: bool = False) -> None:
        super().__init__({"x:1": OLD} if held else {}, {"x:1": NEW})
        self.deadlines: list[float] = []
        self._steps = list(steps)

    def pull(
        self,
        reference: str,
        *,
        deadline: float,
        progress: PullProgress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Image:
        self.deadlines.append(deadline)
        if self._steps:
            self._steps.pop(0)(self)
        return super().pull(reference, deadline=deadline, progress=progress, cancellation=cancellation)


def away(_: FakeEngine) -> None:
    raise AWAY


def brought_by_another_run(engine: FakeEngine) -> None:
    engine.programs["x:1"] = OLD
    raise ImageNotFound("x:1", "denied")


def got(engine: FakeEngine, policy: PullPolicy, deadline: float = 60) -> Program:
    pauses: list[float] = []
    image = obtain(engine, "x:1", policy, deadline=deadline, cancellation=Pauses(pauses))
    assert image.reference == "x:1"
    return engine.programs["x:1"]


def test_always_fetches_though_the_image_is_there() -> None:
    assert got(Registry(held=True), PullPolicy.ALWAYS) is NEW


def test_always_never_falls_back_on_the_older_image() -> None:
    engine = Registry(held=True)
    engine.registry["x:1"] = ImageNotFound("x:1", "denied")
    with pytest.raises(ImageNotFound):
        got(engine, PullPolicy.ALWAYS)


def test_if_not_present_asks_no_registry_for_what_is_there() -> None:
    engine = Registry(held=True)
    assert got(engine, PullPolicy.IF_NOT_PRESENT) is OLD
    assert engine.deadlines == []


def test_if_not_present_fetches_what_is_missing() -> None:
    assert got(Registry(), PullPolicy.IF_NOT_PRESENT) is NEW


def test_if_not_present_goes_on_with_a_warning_where_the_image_came_meanwhile() -> None:
    said: list[str] = []
    engine = Registry(brought_by_another_run)
    obtain(engine, "x:1", PullPolicy.IF_NOT_PRESENT, deadline=60, warn=said.append)
    assert len(said) == 1
    assert "denied" in said[0]


def test_never_asks_no_registry() -> None:
    assert got(Registry(held=True), PullPolicy.NEVER) is OLD
    engine = Registry()
    with pytest.raises(ImageNotFound, match="pull policy is never"):
        got(engine, PullPolicy.NEVER)
    assert engine.deadlines == []


def test_a_registry_that_is_away_is_tried_again_with_growing_pauses_and_less_time() -> None:
    pauses: list[float] = []
    engine = Registry(away, away)
    obtain(engine, "x:1", PullPolicy.ALWAYS, deadline=60, cancellation=Pauses(pauses))
    assert len(engine.deadlines) == 3
    assert 0 < pauses[0] < pauses[1]
    assert 60 >= engine.deadlines[0] > engine.deadlines[1] > engine.deadlines[2]


def test_a_registry_that_stays_away_is_given_up() -> None:
    engine = Registry(*[away] * 99)
    with pytest.raises(RegistryUnreachable):
        got(engine, PullPolicy.ALWAYS)
    assert len(engine.deadlines) == 5


def test_no_pause_goes_past_the_deadline() -> None:
    engine = Registry(*[away] * 99)
    with pytest.raises(RegistryUnreachable):
        got(engine, PullPolicy.ALWAYS, deadline=0.5)
    assert len(engine.deadlines) == 1


def test_an_engine_that_restarts_is_tried_again() -> None:
    def restarting(_: FakeEngine) -> None:
        raise EngineUnreachable("connection refused")

    engine = Registry(restarting, restarting)
    got(engine, PullPolicy.ALWAYS)
    assert len(engine.deadlines) == 3


@pytest.mark.parametrize("error", [ImageNotFound("x:1", "no"), ImageInvalid("x:1", "no")])
def test_what_will_not_pass_is_tried_once(error: Exception) -> None:
    def fail(_: FakeEngine) -> None:
        raise error

    engine = Registry(fail)
    with pytest.raises(type(error)):
        got(engine, PullPolicy.ALWAYS)
    assert len(engine.deadlines) == 1


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("team/x:2", "docker.io/team/x:2"),
        ("docker.io/ubuntu:1", "docker.io/library/ubuntu:1"),
        ("index.docker.io/team/x", "docker.io/team/x:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("r.example:5000/a/b", "r.example:5000/a/b:latest"),
        ("r.example/a@sha256:ab", "r.example/a@sha256:ab"),
        ("r.example/a:1@sha256:ab", "r.example/a@sha256:ab"),
    ],
)
def test_what_docker_puts_in_where_parts_are_left_out(reference: str, full: str) -> None:
    assert ImageName.parse(reference).forms()[-1] == full


@pytest.mark.parametrize(
    ("reference", "pattern"),
    [
        ("r.example/team-a/x:1", "r.example/team-*"),
        ("r.example/team-a/x:1", "r.example/team-a/x"),
        ("r.example:5000/x", "r.example:5000/*"),
        ("localhost/x", "localhost/*"),
        ("anything.example/at/all:1", "*"),
        ("ubuntu", "*"),
        ("ubuntu", "ubuntu"),
        ("ubuntu:22.04", "ubuntu"),
        ("ubuntu:22.04", "ubuntu:22.*"),
        ("docker.io/library/ubuntu", "ubuntu"),
        ("ubuntu", "docker.io/library/*"),
        ("team-a/x", "team-*"),
        ("team-a/x:1", "team-a/x"),
        ("registry/team-a", "registry/team-*"),
        ("x@sha256:ab", "x@sha256:ab"),
    ],
)
def test_images_that_a_pattern_lets_in(reference: str, pattern: str) -> None:
    assert allowed(reference, ["none.example/*", pattern])


@pytest.mark.parametrize(
    ("reference", "pattern"),
    [
        ("team-evil.example.org/x", "team-*"),
        ("r.example.evil.org/team-a/x", "r.example/team-*"),
        ("evil.org/r.example/team-a", "r.example/*"),
        ("evil/ubuntu", "ubuntu"),
        ("evil.org/ubuntu", "ubuntu"),
        ("evil.org/library/ubuntu", "library/ubuntu"),
        ("ubuntu:23.04", "ubuntu:22.*"),
        ("ubuntu@sha256:ab", "ubuntu:22.*"),
        ("ubuntu:22.04@sha256:ab", "ubuntu:22.*"),
        ("TEAM-a/x", "team-*"),
    ],
)
def test_images_that_a_pattern_keeps_out(reference: str, pattern: str) -> None:
    assert not allowed(reference, [pattern])


def test_without_patterns_everything_is_allowed() -> None:
    assert allowed("anything.example/x", [])


def test_a_pause_between_tries_is_cut_short_where_nobody_wants_the_image_any_more() -> None:
    cancellation = Cancellation()
    cancelling = threading.Timer(0.01, cancellation.cancel)

    def away_and_soon_unwanted(_: FakeEngine) -> None:
        cancelling.start()
        raise AWAY

    engine = Registry(away_and_soon_unwanted)
    with pytest.raises(Cancelled):
        obtain(engine, "x:1", PullPolicy.ALWAYS, deadline=60, cancellation=cancellation)
    cancelling.join()
    assert len(engine.deadlines) == 1
