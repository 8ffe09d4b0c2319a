"""`codalab-worker try`: a dry run of a participant's image, and of a scoring program over what it leaves.

It is a site of its own. Local folders are packed as that site's bundles, a `LocalStore` stands where a run has
signed URLs, and the pipeline does with them what it does with every run: nobody hears another verdict here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import click

from config.settings import Settings
from protocol import docker_command
from protocol.addressee import Addressee
from protocol.docker_command import DockerSubmission
from protocol.faults import ParticipantFault
from protocol.run import RunRequest
from worker.commands.foreground import own_folder, printing_sink, working
from worker.commands.local_store import LocalStore, local_url
from worker.commands.trial import Trial, check, stock
from worker.commands.try_results import NAMES, TryResults
from worker.exit_codes import ExitCode
from worker.run_control import RunControl
from worker.runs.reporting import Reporter
from worker.set_up import SetUpError

_TASK_ID = "try"


def try_run(settings: Settings, trial: Trial, *, as_json: bool) -> ExitCode:
    """Runs it, prints what a site would be told, and leaves logs and archives in `trial.out`.

    Raises `SetUpError` for what cannot be tried, and as `compose.tools` does.
    """
    with own_folder(settings, "try-") as folder:
        check(trial, folder)
        results = TryResults.prepare(trial.out)
        try:
            submission = docker_command.parse(trial.image)
        except ParticipantFault as refusal:  # which a site is told before anything is fetched
            whom, sink = Addressee(_TASK_ID, ""), printing_sink(as_json=as_json)
            Reporter(whom, sink, settings.codalab_hostname, RunControl()).failed(refusal)
            return ExitCode.RUN_FAILED
        if submission is None:
            raise SetUpError("IMAGE says that there is no docker submission: name an image.")
        code = _run(settings, trial, submission, folder, as_json=as_json)
    if not as_json:
        _show(results)
    return code


def _run(settings: Settings, trial: Trial, submission: DockerSubmission, folder: Path, *, as_json: bool) -> ExitCode:
    bundles, offered = folder / "bundles", folder / "input"
    for made in (bundles, offered):
        made.mkdir()
    mine = _mine(settings, offered)
    request = _request(trial, _with_folder(submission, {settings.worker_participant_input_dir, trial.input}, offered))
    with working(mine, folder, as_json=as_json, store=LocalStore(bundles, trial.out)) as work_now:
        stock(trial, bundles, offered)
        return work_now(request)


def _mine(settings: Settings, offered: Path) -> Settings:
    """The settings as they are, but that an image may be on this machine only, where nothing is said of pulls."""
    changed: dict[str, object] = {"worker_participant_input_dir": offered}
    if "worker_pull_policy" not in settings.model_fields_set:
        changed["worker_pull_policy"] = "if-not-present"
    return settings.model_copy(update=changed)


def _with_folder(submission: DockerSubmission, known: set[Path | None], offered: Path) -> DockerSubmission:
    """A docker command may name the operator's folder: here that is the one set for a worker, or --input itself."""
    asked = submission.input_folder_asked
    if not asked or Path(asked[0]) not in {path.absolute() for path in known if path}:
        return submission
    return replace(submission, input_folder_asked=(str(offered), asked[1]))


def _request(trial: Trial, submission: DockerSubmission) -> RunRequest:
    """The run that a site would ask for: scoring where there is a scoring program, else prediction."""
    return RunRequest(
        task_id=_TASK_ID,
        message_id=f"try-{uuid4()}",
        submission_id=None,
        secret="",
        bundle_url=local_url(trial.RUN_DOCUMENT),
        uploads={slot: local_url(name) for slot, name in NAMES.items()},
        docker_image=trial.program_image or submission.image,
        ingestion_docker_image="",
        submission=submission,
        predict=trial.program is None,
        time_limit=trial.time_limit,
    )


def _show(results: TryResults) -> None:
    if (scores := results.scores()) is not None:
        click.echo(f"\nscores.txt\n{scores}\n")
    if files := results.files():
        click.echo(f"{results.folder}: {', '.join(files)}")
