import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.canary_program import canary_program
from sandbox.engine import ContainerEngine, Mount, Stream
from sandbox.errors import (
    EngineRefused,
    EngineUnreachable,
    GpuUnavailable,
    ImageInvalid,
    ImageNotFound,
    NoSuchUser,
    RegistryUnreachable,
    StartRefused,
)
from sandbox.folder_check import check_folder
from sandbox.gpu import GpuRequest
from sandbox.gpu_check import check_gpu
from sandbox.sweep import remove_leftovers
from sandbox.testing import Program

ENDLESS = Program(duration=None)
SAYING = Program(output=((Stream.STDOUT, b"ready"),), duration=None)
STUBBORN = Program(output=((Stream.STDOUT, b"ready"),), duration=None, ignores_term=True)


def started(subject: Any, program: Program, **changes: Any) -> str:
    container = subject.engine.create(subject.spec(program, **changes))
    subject.engine.start(container)
    return str(container)


def collected(engine: ContainerEngine, container: str) -> dict[Stream, bytes]:
    """Everything that the container prints from its start to its end."""
    attachment = engine.attach(container)
    engine.start(container)
    output = dict.fromkeys(Stream, b"")
    for stream, data in attachment.chunks():
        output[stream] += data
    attachment.close()
    return output


def test_both_outputs_arrive_whole_and_apart(subject: Any) -> None:
    long = bytes(range(256)) * 50
    program = Program(output=((Stream.STDOUT, long), (Stream.STDERR, b"oh\n"), (Stream.STDOUT, b"end")))
    output = collected(subject.engine, subject.engine.create(subject.spec(program)))
    assert output == {Stream.STDOUT: long + b"end", Stream.STDERR: b"oh\n"}


def test_after_its_end_the_state_holds_code_and_times(subject: Any) -> None:
    before = time.time()
    container = started(subject, Program(exit_code=3, duration=0.2))
    subject.engine.wait(container, timeout=60)
    state = subject.engine.inspect(container)
    assert (state.running, state.exit_code, state.oom_killed) == (False, 3, False)
    assert before - 1 < state.started_at < state.finished_at < time.time() + 1
    assert 0.19 <= state.finished_at - state.started_at < 30


def test_memory_is_that_of_a_container_that_runs(subject: Any) -> None:
    container = started(subject, ENDLESS)
    assert 0 < subject.engine.memory(container) < 128 << 20
    subject.engine.signal(container, "SIGKILL")
    subject.engine.wait(container, timeout=60)
    assert subject.engine.memory(container) == 0
    subject.engine.remove(container)
    assert subject.engine.memory(container) == 0


def test_one_that_had_more_processes_than_it_may_have_is_known_also_after_its_end(subject: Any) -> None:
    crowd, other = Program(crowded=True, duration=0.5), Program()
    assert not subject.engine.was_crowded(subject.engine.create(subject.spec(crowd)))
    crowded, calm = started(subject, crowd), started(subject, other)
    for container in (crowded, calm):
        subject.engine.wait(container, timeout=60)
    assert subject.engine.was_crowded(crowded)
    assert not subject.engine.was_crowded(calm)
    assert subject.engine.was_crowded(crowded)


def test_an_engine_that_is_there_can_be_pinged(subject: Any) -> None:
    subject.engine.ping()


def test_before_its_start_it_has_no_times(subject: Any) -> None:
    state = subject.engine.inspect(subject.engine.create(subject.spec(Program())))
    assert (state.running, state.started_at, state.finished_at) == (False, None, None)


def test_a_wait_that_runs_out_raises_while_it_runs_on(subject: Any) -> None:
    container = started(subject, ENDLESS)
    began = time.monotonic()
    with pytest.raises(EngineUnreachable):
        subject.engine.wait(container, timeout=0.3)
    assert 0.25 < time.monotonic() - began < 15
    assert subject.engine.inspect(container).running


def test_an_attachment_can_be_closed_while_another_thread_reads_it(subject: Any) -> None:
    container = subject.engine.create(subject.spec(ENDLESS))
    attachment = subject.engine.attach(container)
    subject.engine.start(container)
    reader = threading.Thread(target=lambda: list(attachment.chunks()))
    reader.start()
    attachment.close()
    reader.join(60)
    assert not reader.is_alive()
    attachment.close()


def test_sigterm_ends_a_program_that_does_not_ignore_it(subject: Any) -> None:
    container = subject.engine.create(subject.spec(SAYING))
    attachment = subject.engine.attach(container)
    subject.engine.start(container)
    assert next(attachment.chunks()) == (Stream.STDOUT, b"ready")
    subject.engine.signal(container, "SIGTERM")
    subject.engine.wait(container, timeout=60)
    attachment.close()
    assert subject.engine.inspect(container).exit_code == 143


def test_sigkill_ends_one_that_ignores_sigterm(subject: Any) -> None:
    container = subject.engine.create(subject.spec(STUBBORN))
    attachment = subject.engine.attach(container)
    subject.engine.start(container)
    assert next(attachment.chunks()) == (Stream.STDOUT, b"ready")
    subject.engine.signal(container, "SIGTERM")
    with pytest.raises(EngineUnreachable):
        subject.engine.wait(container, timeout=0.5)
    subject.engine.signal(container, "SIGKILL")
    subject.engine.wait(container, timeout=60)
    attachment.close()
    assert subject.engine.inspect(container).exit_code == 137


@pytest.mark.parametrize("removed", [False, True])
def test_a_signal_to_what_has_ended_is_no_error(subject: Any, removed: bool) -> None:
    container = started(subject, Program())
    subject.engine.wait(container, timeout=60)
    if removed:
        subject.engine.remove(container)
    subject.engine.signal(container, "SIGTERM")
    subject.engine.signal(container, "SIGKILL")


def test_a_running_container_is_removed_by_force_and_twice_is_no_error(subject: Any) -> None:
    container = started(subject, STUBBORN)
    subject.engine.remove(container)
    subject.engine.remove(container)
    assert subject.engine.find_containers(subject.labels) == ()


def test_containers_are_found_by_all_of_their_labels(subject: Any) -> None:
    created = subject.engine.create(subject.spec(Program()))
    running = started(subject, ENDLESS)
    assert set(subject.engine.find_containers(subject.labels)) == {created, running}
    assert subject.engine.find_containers({**subject.labels, "role": "none"}) == ()


def test_leftovers_are_removed_and_others_stay(subject: Any) -> None:
    started(subject, ENDLESS)
    other = subject.engine.create(subject.spec(Program(), labels={**subject.labels, "role": "other"}))
    assert remove_leftovers(subject.engine, {**subject.labels, "role": "other"}) == 1
    left = subject.engine.find_containers(subject.labels)
    assert len(left) == 1
    assert other not in left


def test_an_image_that_is_not_there_is_not_found(subject: Any) -> None:
    with pytest.raises(ImageNotFound):
        subject.engine.create(subject.spec(Program(), image="no-such-image:1"))


def test_a_name_in_use_is_refused(subject: Any) -> None:
    spec = subject.spec(Program())
    subject.engine.create(spec)
    with pytest.raises(EngineRefused, match="in use"):
        subject.engine.create(spec)


def test_a_user_that_the_image_lacks_is_told_apart(subject: Any) -> None:
    with pytest.raises(NoSuchUser, match="nobody-knows"):
        started(subject, Program(), user="nobody-knows")


def test_a_numeric_user_needs_no_entry(subject: Any) -> None:
    container = started(subject, Program(), user="4321:4321")
    subject.engine.wait(container, timeout=60)
    assert subject.engine.inspect(container).exit_code == 0


def test_what_the_image_gets_wrong_is_a_refused_start(subject: Any) -> None:
    with pytest.raises(StartRefused) as caught:
        started(subject, Program(refusal=StartRefused("Cannot mkdir: not a directory")))
    assert "not a directory" in caught.value.reason
    assert caught.value.exit_code == 127


def test_a_gpu_on_an_engine_without_is_unavailable(subject: Any) -> None:
    spec = subject.spec(Program())
    profile = replace(spec.profile, gpus=GpuRequest())
    with pytest.raises(GpuUnavailable, match="could not select device driver"):
        started(subject, Program(), profile=profile)


def test_the_gpu_check_says_what_to_mend_and_leaves_nothing(subject: Any) -> None:
    with pytest.raises(GpuUnavailable, match=r"cannot give 0, 1: .* NVIDIA Container Toolkit.*could not select"):
        check_gpu(subject.engine, GpuRequest(("0", "1")))


def test_memory_that_ran_out_is_flagged_by_the_engine(subject: Any) -> None:
    container = started(subject, Program(oom_killed=True, exit_code=137))
    subject.engine.wait(container, timeout=60)
    state = subject.engine.inspect(container)
    assert (state.oom_killed, state.exit_code) == (True, 137)


def test_a_pull_brings_an_image_that_was_not_there(subject: Any) -> None:
    assert subject.engine.find_image(subject.pullable) is None
    image = subject.engine.pull(subject.pullable, deadline=60)
    assert image.reference == subject.pullable
    assert subject.engine.find_image(subject.pullable) == image
    found_by_id = subject.engine.find_image(image.id)
    assert found_by_id is not None
    assert found_by_id.id == image.id


def test_an_image_that_nobody_else_wants_can_be_removed(subject: Any) -> None:
    image = subject.engine.pull(subject.pullable, deadline=60)
    assert not subject.engine.remove_image(image.id, [])
    container = subject.engine.create(subject.spec(Program(), image=image.id))
    assert not subject.engine.remove_image(image.id, [subject.pullable])
    assert subject.engine.find_image(subject.pullable)
    subject.engine.remove(container)


def test_a_pull_of_what_is_there_fetches_nothing(subject: Any) -> None:
    """On the real engine not even the first: it has the image under another name."""
    subject.engine.pull(subject.pullable, deadline=60)
    assert not subject.engine.pull(subject.pullable, deadline=60).fetched


def test_a_pull_of_what_the_registry_lacks_is_not_found(subject: Any) -> None:
    missing = subject.pullable.rpartition(":")[0] + ":missing"
    with pytest.raises(ImageNotFound) as caught:
        subject.engine.pull(missing, deadline=60)
    assert caught.value.reference == missing


def test_a_registry_that_is_away_is_told_apart(subject: Any) -> None:
    with pytest.raises(RegistryUnreachable):
        subject.engine.pull(subject.away, deadline=60)


def test_an_empty_image_can_be_run_from_and_is_gone_afterwards(subject: Any) -> None:
    with subject.engine.empty_image() as image:
        container = subject.engine.create(subject.spec(Program(), image=image.id))
        subject.engine.remove(container)
    assert subject.engine.find_image(image.id) is None


def test_an_empty_image_may_hold_one_program(subject: Any) -> None:
    with subject.engine.empty_image(program=canary_program()) as image:
        spec = subject.spec(Program(), image=image.id, command=("/program",), working_dir=None)
        container = subject.engine.create(spec)
        subject.engine.start(container)
        subject.engine.wait(container, timeout=60)
        assert not subject.engine.inspect(container).running
        subject.engine.remove(container)


def test_an_engine_tells_an_operator_of_itself(subject: Any) -> None:
    report = subject.engine.report()
    assert report.version == subject.engine.host_facts().engine_version
    assert report.architecture == "x86_64"
    assert report.storage_driver
    assert abs(report.clock - time.time()) < 30


def test_the_host_says_what_it_has(subject: Any) -> None:
    facts = subject.engine.host_facts()
    assert facts.os_type == "linux"
    assert facts.cpus >= 1
    assert facts.memory > 128 << 20
    assert "runc" in facts.runtimes
    assert facts.engine_version


@pytest.mark.parametrize("call", ["find_image", "inspect", "start", "remove", "attach", "find_containers"])
def test_an_engine_that_does_not_answer_is_unreachable(fake: Any, call: str) -> None:
    container = fake.engine.create(fake.spec(Program()))
    fake.engine.unreachable = True
    with pytest.raises(EngineUnreachable):
        getattr(fake.engine, call)({} if call == "find_containers" else container)


def test_a_reference_that_is_none_is_invalid(real: Any) -> None:
    for reference in ("UPPER/case", "with blank", "", "https://example.org/image", "a@sha256:12"):
        with pytest.raises(ImageInvalid):
            real.engine.pull(reference, deadline=10)


def test_a_folder_that_the_engine_sees_is_passed_and_left_as_it_was(subject: Any, tmp_path: Path) -> None:
    check_folder(subject.engine, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_mount_whose_source_is_missing_is_refused(subject: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="bind source path does not exist"):
        subject.engine.create(subject.spec(Program(), mounts=(Mount(tmp_path / "none", "/in", read_only=True),)))
