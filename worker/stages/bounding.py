"""What the containers of a run may leave in the folders that they write to.

Of an organiser's container, which sees the whole run's folder and may rename and remove in it what it likes, all
that it adds anywhere is counted, and apart from that all that lies where results and temporary files belong.
"""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from protocol.run import RunRequest
from sandbox.engine import Bound
from sandbox.usage import Usage
from worker.kept.folders import RunFolder
from worker.kept.records import Programs, StagedRun


def most(settings: Settings) -> Usage:
    """WORKER_OUTPUT_LIMIT and WORKER_OUTPUT_FILES_LIMIT."""
    return Usage(settings.worker_output_limit, settings.worker_output_files_limit)


def participants_folders(request: RunRequest, folder: RunFolder, programs: Programs) -> tuple[Path, ...]:
    """The folders that the participant's container may write to; none where none is run."""
    if programs.docker_submission:
        return (folder.output if request.predict else folder.results,)
    return folder.written if programs.code_submission else ()


def participants_bounds(staged: StagedRun, settings: Settings) -> tuple[Bound, ...]:
    """All that a participant's container may write to, together."""
    return (Bound(participants_folders(staged.request, staged.folder, staged.programs), most(settings)),)


def organisers_bounds(staged: StagedRun, settings: Settings) -> tuple[Bound, ...]:
    """What may lie where results belong, and what may be added anywhere."""
    folder, limit = staged.folder, most(settings)
    return Bound(folder.written, limit), Bound((folder.run, folder.shared), limit, growth=True)
