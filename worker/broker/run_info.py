"""What monitors of Celery may know of a run: nothing of the message but what is public."""

from __future__ import annotations

from protocol.celery_inspect import TaskInfo
from protocol.codalab import RUN_TASK
from worker.observers import RunInWork


def public_args(run: RunInWork) -> tuple[object, ...]:
    """In place of the message's arguments, which hold the secret and signed URLs: the submission and what it asks."""
    return (
        run.submission_id,
        {"docker_submission": run.docker_submission, "predict": run.predict, "attempt": run.attempt},
    )


def task_info(run: RunInWork) -> TaskInfo:
    """The run as `inspect active` shows it."""
    return TaskInfo(
        id=run.message_id,
        name=RUN_TASK,
        args=public_args(run),
        time_start=run.taken_at,
        exchange=run.exchange,
        routing_key=run.routing_key,
        priority=run.priority,
        redelivered=run.redelivered,
    )
