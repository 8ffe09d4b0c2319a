"""What each request of real Celery clients does, and that its answer is that of a real worker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import celery_control
from protocol.celery_control import ControlRequest
from protocol.celery_events import LamportClock
from protocol.celery_inspect import BrokerInfo
from tests.support import captured
from worker.broker.control_commands import NO_REPLY, Commands
from worker.broker.events import WorkerEvents
from worker.broker.node_facts import NodeFacts
from worker.observers import RunInWork

NODE = "codalab-worker@host"
RUN = "11111111-2222-4333-8444-555555555555"
BROKER = BrokerInfo(host="broker", port=5672, user="guest", vhost="wire", tls=False, heartbeat=15.0)
CALLS = [name.removeprefix("control-request-") for name in captured.names("control-request-*")]
DECLINED = ("pool-grow", "pool-shrink", "rate-limit", "time-limit", "add-consumer")
OTHERWISE = ("shutdown", "reserved", "dump-reserved", "hello")  # unanswered, or of a test of their own
# What other pools and versions of Celery leave out too, or what only Celery has settings for.
LEFT_OUT = {
    *("writes", "credential_provider", "deprecated_settings", "worker_disable_prefetch"),
    *("include", "CELERY_INCLUDE", "CELERYD_FORCE_EXECV", "CELERYD_MAX_TASKS_PER_CHILD"),
}
VARIES = {"args", "queue_arguments", "delivery_mode", "max-tasks-per-child"}


class Runs:
    def __init__(self, *active: str) -> None:
        self.cancelled: list[str] = []
        self._active = active

    def active(self) -> tuple[RunInWork, ...]:
        return tuple(RunInWork(one, 4242, 1, 1795289668.5, 600.0, routing_key="compute-worker") for one in self._active)

    def cancel(self, message_id: str) -> bool:
        self.cancelled.append(message_id)
        return message_id in self._active

    def revoked(self) -> tuple[str, ...]:
        return tuple(self.cancelled)


class Node:
    """The commands with everything around them in sight."""

    def __init__(self, *active: str) -> None:
        self.runs = Runs(*active)
        self.events = WorkerEvents()
        self.events.start(lambda: None)
        self.clock = LamportClock()
        self.shutdowns = 0
        facts = NodeFacts("compute-worker", 2, BROKER)
        self._commands = Commands(facts, self.runs, self.events, self.clock, self._shut_down)

    def ask(self, method: str, **arguments: Any) -> Any:
        return self._commands.answer(ControlRequest(method, arguments), NODE)

    def take(self, body: bytes) -> Any:
        return self._commands.answer(celery_control.decode(body), NODE)

    def _shut_down(self) -> None:
        self.shutdowns += 1


@pytest.fixture
def node() -> Node:
    return Node(RUN)


def reply(call: str) -> Any:
    ((result,),) = [captured.load(f"control-reply-{call}").document.values()]
    return result


@pytest.mark.parametrize("version", ["3.1.25", "4.4.6", "5.6.2", "5.7.0"])
def test_the_answer_has_the_shape_of_a_real_workers(version: str) -> None:
    calls = [call for call in CALLS if call.endswith(version) and not call.startswith((*DECLINED, *OTHERWISE))]
    assert len(calls) > 15
    for call in calls:
        sample, theirs = captured.load(f"control-request-{call}"), reply(call)
        ids = sample.document["arguments"].get("ids", [RUN])
        node = Node(*([ids] if isinstance(ids, str) else ids))
        node.events.run_taken(node.runs.active()[0])
        if call.startswith("conf-celery4"):  # of a worker that was set up with the old names
            theirs = {"broker_url": theirs["BROKER_URL"]}
        _covers(json.loads(json.dumps(node.take(sample.body))), theirs, call)


def _covers(ours: Any, theirs: Any, where: str) -> None:
    """Everything that is in theirs is in ours, and of the same kind."""
    match theirs:
        case dict():
            assert theirs.keys() - LEFT_OUT <= ours.keys(), where
            for key in theirs.keys() - LEFT_OUT - VARIES:
                _covers(ours[key], theirs[key], f"{where}.{key}")
            assert type(ours.get("args")) is type(theirs.get("args")), where  # a summary with us
        case [dict() as first, *_]:
            _covers(ours[0], first, f"{where}[0]")
        case bool() | str() | list():
            assert type(ours) is type(theirs), where
        case int() | float():
            assert isinstance(ours, int | float), where
            assert not isinstance(ours, bool), where


@pytest.mark.parametrize("method", DECLINED)
def test_what_settings_and_messages_decide_is_declined_in_a_sentence(node: Node, method: str) -> None:
    for name in captured.names(f"control-request-{method}-*"):
        answer = node.take(captured.load(name).body)
        assert list(answer) == ["error"], name
        assert answer["error"].endswith("."), name


def test_a_limit_of_an_unknown_task_is_answered_as_celery_does(node: Node) -> None:
    assert node.ask("rate_limit", task_name="nope", rate_limit="1/m") == {"error": "unknown task"}
    assert node.ask("time_limit", task_name="nope") == {"error": "unknown task"}


@pytest.mark.parametrize(
    ("method", "arguments", "call"),
    [
        ("ping", {}, "ping-celery5.7.0"),
        ("heartbeat", {}, "heartbeat-celery5.7.0"),
        ("registered", {}, "registered-celery5.7.0"),
        ("dump_tasks", {}, "dump-tasks-celery3.1.25"),
        ("revoke", {"task_id": "5d7a5150-75b9-43c5-8b97-ba84c4823ad8"}, "revoke-celery4.4.6"),
        ("revoke", {"task_id": "another", "terminate": True}, "revoke-terminate-celery5.7.0"),
        ("revoke", {"task_id": ["one", "two"], "terminate": True}, "revoke-list-terminate-celery5.7.0"),
        ("cancel_consumer", {"queue": "extra-q"}, "cancel-consumer-celery5.7.0"),
        ("no_such_command", {}, "unknown-method-celery5.7.0"),
        ("enable_events", {}, "enable-events-again-celery5.7.0"),
        ("disable_events", {}, "disable-events-celery5.7.0"),
    ],
)
def test_the_answer_is_a_real_workers_to_the_letter(node: Node, method: str, arguments: Any, call: str) -> None:
    assert node.ask(method, **arguments) == reply(call)


@pytest.mark.parametrize("version", ["3.1.25", "4.4.6", "5.6.2", "5.7.0"])
def test_terminating_a_run_in_work_is_answered_as_celery_does(version: str) -> None:
    theirs = reply(f"revoke-terminate-running-celery{version}")
    run = theirs["ok"].removeprefix("terminate: ")
    assert Node(run).ask("revoke", task_id=run, terminate=True) == theirs


@pytest.mark.parametrize("version", ["4.4.6", "5.6.2", "5.7.0"])
def test_a_list_of_runs_is_cancelled_one_by_one(node: Node, version: str) -> None:
    listed = captured.load(f"control-request-revoke-list-terminate-celery{version}")
    node.take(listed.body)
    assert node.runs.cancelled == listed.document["arguments"]["task_id"]


def test_without_terminate_what_has_begun_goes_on(node: Node) -> None:
    node.ask("revoke", task_id=[RUN, "waiting"], terminate=False, signal="SIGTERM")
    assert node.runs.cancelled == ["waiting"]


def test_flowers_revoke_terminates(node: Node) -> None:
    sample = captured.load("flower-request-revoke")
    node.take(sample.body)
    assert node.runs.cancelled == [sample.document["arguments"]["task_id"]]


@pytest.mark.parametrize("task_id", [5, {"a": 1}, [5], "a b", ["ok", "../../etc"], "", ["x"] * 1001])
def test_ids_that_are_none_do_nothing(node: Node, task_id: object) -> None:
    assert list(node.ask("revoke", task_id=task_id, terminate=True)) == ["error"]
    assert node.runs.cancelled == []


@pytest.mark.parametrize("name", ["control-request-shutdown-celery4.4.6", "flower-request-shutdown"])
def test_shutdown_is_not_answered(node: Node, name: str) -> None:
    assert node.take(captured.load(name).body) is NO_REPLY
    assert node.shutdowns == 1


def test_both_sets_of_names_tell_the_same(node: Node) -> None:
    (new,), (old,) = node.ask("active"), node.ask("dump_active")
    assert old["args"] == repr(new["args"])
    assert new.keys() - old.keys() == {"type"}
    assert node.ask("query_task", ids=[RUN, "unknown"]) == {RUN: ["active", new]}
    for kind in ("reserved", "dump_reserved", "scheduled", "dump_schedule"):
        assert node.ask(kind) == []


@pytest.mark.parametrize("version", ["3.1.25", "4.4.6", "5.7.0"])
def test_a_worker_that_starts_is_told_what_is_revoked_and_tells_it(node: Node, version: str) -> None:
    node.ask("revoke", task_id="ours")
    answer = node.take(captured.load(f"control-request-hello-celery{version}").body)
    assert list(answer["revoked"]) == ["ours"]
    node.ask("hello", from_node="you@host", revoked={"theirs": 1.0} if version != "5.7.0" else ["theirs", RUN])
    assert node.runs.cancelled == ["ours", "theirs"]
    assert node.ask("hello", from_node=NODE, revoked=["self"]) is None


def test_a_heartbeat_is_told_on_request(node: Node) -> None:
    node.ask("heartbeat")
    assert [event.kind for event in node.events.take()] == ["worker-heartbeat"]


def test_the_password_is_nowhere(node: Node) -> None:
    told = json.dumps([node.ask(method) for method in ("conf", "dump_conf", "stats", "report")])
    assert "amqp://guest:********@broker:5672/wire" in told


def test_a_bug_is_answered_and_logged(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runs, "active", lambda _self: 1 / 0)
    assert list(node.ask("active")) == ["error"]


@given(
    st.sampled_from([*Node(RUN)._commands._commands, "autoscale", "nonsense"]),
    st.dictionaries(
        st.sampled_from(["task_id", "ids", "terminate", "revoked", "from_node", "queue", "task_name", "signal"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=5), max_size=3),
    ),
)
def test_whatever_the_arguments_the_answer_is_json(method: str, arguments: dict[str, object]) -> None:
    answer = Node(RUN).ask(method, **arguments)
    assert answer is NO_REPLY or json.dumps(answer, allow_nan=False)
    assert "unexpected error" not in str(answer)
