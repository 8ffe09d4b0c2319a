"""`codalab-worker submit`: publishes one run, and may wait for its end."""

from __future__ import annotations

import click

from config.settings import Settings
from protocol.codalab import MessageFile
from protocol.status import State
from worker import compose
from worker.broker.submit import BrokerUnreachableError, UpdateListener, connected, publish
from worker.commands.show import show_update
from worker.exit_codes import ExitCode
from worker.set_up import UnreachableError


def submit_one(settings: Settings, message: MessageFile, *, wait: bool, as_json: bool) -> ExitCode:
    """Publishes the run; with `wait`, prints its updates and tells its end by the exit code."""
    connections = compose.broker(settings)
    try:
        with connected(connections.updates) as updates, connected(connections.runs) as runs:
            listener = UpdateListener(updates, settings.worker_updates_queue) if wait else None
            publish(runs, settings.worker_queue, message)
            runs.close()
            click.echo(f"submitted {message.task_id} to {settings.worker_queue}", err=True)
            return _follow(listener, message.task_id, as_json=as_json) if listener else ExitCode.OK
    except BrokerUnreachableError as error:
        raise UnreachableError(str(error)) from error


def _follow(listener: UpdateListener, task_id: int | str, *, as_json: bool) -> ExitCode:
    last = None
    for update in listener.updates(task_id):
        show_update(update, as_json=as_json)
        last = update
    return ExitCode.OK if last and last.status == State.FINISHED else ExitCode.RUN_FAILED
