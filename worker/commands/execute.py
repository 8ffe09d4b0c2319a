"""`codalab-worker exec`: one run message, here and now, without a broker."""

from __future__ import annotations

from config.settings import Settings
from protocol.run import RunRequest
from worker.commands.foreground import own_folder, working
from worker.exit_codes import ExitCode


def execute_one(settings: Settings, request: RunRequest, *, as_json: bool) -> ExitCode:
    """Works the run; its bundles and results are where the message says. Raises as `compose.tools` does."""
    with own_folder(settings, "exec-") as folder, working(settings, folder, as_json=as_json) as work_now:
        return work_now(request)
