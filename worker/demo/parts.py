"""All four parts together: brought up side by side, reused where they run, stopped without a trace.

    python -m worker.demo.parts up | down | run -- COMMAND...

`run` hands the parts to the command as DEMO_PARTS (JSON), gives its exit code back, and stops what it
started.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Self

from worker.demo import azurite, engine, packages, rabbitmq, registry
from worker.demo.places import run_folder, say
from worker.demo.processes import PartsError, alive, interrupted
from worker.demo.program import run_program
from worker.demo.service import Part, Service
from worker.demo.signals import polite_child, terminable, undisturbed
from worker.demo.state import State, locked_state

PARTS: dict[str, Part] = {"rabbitmq": rabbitmq, "engine": engine, "azurite": azurite, "registry": registry}
ENVIRONMENT_NAME = "DEMO_PARTS"
_PATIENCE = 30.0  # seconds


@dataclass(frozen=True)
class Parts:
    """Where the parts answer."""

    broker_url: str
    """AMQP, as an administrator of the vhost "/"."""
    broker_api: str
    """The management HTTP API, with credentials."""
    docker_host: str
    blob_endpoint: str
    registry: str
    """As in image names: 127.0.0.1:PORT."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the parts that `run` handed to this process, or those that `make services` left running."""
        if text := os.environ.get(ENVIRONMENT_NAME):
            return cls(**json.loads(text))
        services = State.read().services
        if services.keys() != PARTS.keys():
            raise PartsError("the real parts are not running: run `make services` first")
        return cls(**_addresses(services))

    def to_json(self) -> str:
        """Give the text that `from_environment` reads."""
        return json.dumps(asdict(self))


def up() -> Parts:
    """Bring up what does not run already, and leave it running."""
    parts, _ = _up()
    return parts


def down() -> None:
    """Stop all that was left running."""
    with undisturbed(), locked_state() as state:
        _stop(state, list(state.services))


@contextmanager
def running() -> Iterator[Parts]:
    """Have the parts for a while; stop exactly those that this call started, whatever happens.

    Whom `run` has given the parts has those, and neither starts nor stops any.
    """
    if ENVIRONMENT_NAME in os.environ:
        yield Parts.from_environment()
        return
    with terminable():
        parts, started = _up()
        try:
            yield parts
        finally:
            with undisturbed(), locked_state() as state:
                _stop(state, started)


def _up() -> tuple[Parts, list[str]]:
    with locked_state() as state:
        _forget_the_dead(state)
        absent = [name for name in PARTS if name not in state.services]
        try:
            _start_side_by_side(state, absent)
        except BaseException:
            with undisturbed():
                _stop(state, absent)
            raise
        return Parts(**_addresses(state.services)), absent


def _addresses(services: dict[str, Service]) -> dict[str, str]:
    return {name: value for service in services.values() for name, value in service.address.items()}


def _forget_the_dead(state: State) -> None:
    """Clear away what the state file names but does not answer (any more)."""
    dead = [name for name, service in state.services.items() if _is_dead(name, service)]
    if dead:
        say("services", f"{', '.join(dead)} no longer answers: cleared away")
    _stop(state, dead)


def _is_dead(name: str, service: Service) -> bool:
    """One whose processes run is given time to answer: a busy machine is slow, and others may be using it."""
    deadline = time.monotonic() + _PATIENCE
    while not PARTS[name].answers(service):
        runs = service.children and all(map(alive, service.children))
        if not runs or time.monotonic() > deadline:
            return True
        time.sleep(0.1)
    return False


def _start_side_by_side(state: State, names: Sequence[str]) -> None:
    """Start parts in threads of their own; those lacking system packages wait for one installation."""
    needs = {name: PARTS[name].system_packages() for name in names}
    interrupted.clear()
    pool = ThreadPoolExecutor()
    installed = pool.submit(packages.install, sorted({one for many in needs.values() for one in many}))
    begun = {name: pool.submit(_start_one, name, installed if needs[name] else None) for name in names}
    try:
        wait(begun.values())
    except BaseException:
        interrupted.set()
        raise
    finally:
        with undisturbed():
            pool.shutdown()
            _note(state, begun)
    if failures := [f"{name}: {error}" for name, future in begun.items() if (error := future.exception())]:
        raise PartsError("\n".join(failures))


def _note(state: State, begun: dict[str, Future[Service]]) -> None:
    """Note those that came up: they are to be stopped one day, also when others failed."""
    came_up = {name: future.result() for name, future in begun.items() if future.exception() is None}
    state.services.update(came_up)
    state.save()


def _start_one(name: str, installed: Future[None] | None) -> Service:
    if installed is not None:
        installed.result()
    began = time.monotonic()
    service = PARTS[name].start(run_folder() / name)
    if service.children:
        say(name, f"ready in {time.monotonic() - began:.1f} s")
    return service


def _stop(state: State, names: Sequence[str]) -> None:
    """Stop parts side by side, and forget them."""
    known = {name: state.services[name] for name in names if name in state.services}
    with ThreadPoolExecutor() as pool:
        ends = {name: pool.submit(PARTS[name].stop, service) for name, service in known.items()}
    for name, service in known.items():
        if service.children and ends[name].exception() is None:
            state.remove_folder(name)
            say(name, "stopped")
        del state.services[name]
    state.save()
    for end in ends.values():
        end.result()


def _run(command: Sequence[str]) -> int:
    """Run a command with the parts; signals to us reach it, and the parts go only after it has gone."""
    with running() as parts:
        env = {**os.environ, ENVIRONMENT_NAME: parts.to_json()}
        with polite_child(subprocess.Popen(command, env=env)) as child:
            return child.wait()


def _show(parts: Parts) -> None:
    for name, value in asdict(parts).items():
        print(f"{name:14} {value}")


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    match arguments:
        case ["up"]:
            with terminable():
                _show(up())
            return 0
        case ["down"]:
            down()
            return 0
        case ["run", "--", *command] if command:
            return _run(command)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    run_program("services", main)
