"""The command line. Each command imports what it needs when it runs: `--help` is quick, the daemon small."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO
from uuid import uuid4

import click

from config.load import Loaded, SettingsError, load, shown
from config.settings import Settings
from config.units import parse_duration
from protocol.codalab import MessageFile, json_schema, parse_message_file
from protocol.faults import Fault
from protocol.task_args import MAX_SECONDS
from worker.exit_codes import ExitCode

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="codalab-worker")
@click.option("--env-file", type=click.Path(path_type=Path), help="Settings file; default .env where there is one.")
@click.pass_context
def main(context: click.Context, env_file: Path | None) -> None:
    """Takes CodaLab run messages from RabbitMQ and runs them in locked-down, watched containers.

    Exit codes: 0 fine, 1 the run failed, 2 usage or settings, 3 broker, engine or storage unreachable,
    4 another worker holds the temp dir.
    """
    context.obj = env_file


@main.command()
@click.pass_obj
def run(env_file: Path | None) -> None:
    """The daemon, in the foreground."""
    from worker.lean import no_collecting

    with no_collecting():
        settings = _start(env_file)
        from worker.daemon import Daemon
    with _exit_codes():
        sys.exit(Daemon(settings, lambda: load(env_file).settings).run())


@main.command()
@_AS_JSON
@click.pass_obj
def check(env_file: Path | None, as_json: bool) -> None:
    """Looks whether a worker could work here, and tells the mend for what is wrong."""
    from worker.lean import load_structlog

    load_structlog()
    from worker import logs
    from worker.commands.check import check as look

    logs.configure("ERROR", "auto")
    sys.exit(look(env_file, as_json=as_json))


@main.command("exec")
@click.argument("message", type=click.File())
@_AS_JSON
@click.pass_obj
def execute(env_file: Path | None, message: TextIO, as_json: bool) -> None:
    """Works one run message, now, without a broker (MESSAGE.json, - for stdin)."""
    settings = _start(env_file, quiet=True)
    request = _read_message(message).request
    with _exit_codes():
        from worker.commands.execute import execute_one

        sys.exit(execute_one(settings, request, as_json=as_json))


@main.command()
@click.argument("message", type=click.File())
@click.option("--wait", is_flag=True, help="Print the run's updates until the last.")
@_AS_JSON
@click.pass_obj
def submit(env_file: Path | None, message: TextIO, wait: bool, as_json: bool) -> None:
    """Publishes a run message as the site does (MESSAGE.json, - for stdin)."""
    settings = _start(env_file, quiet=True)
    content = _read_message(message)
    with _exit_codes():
        from worker.commands.submit import submit_one

        sys.exit(submit_one(settings, content, wait=wait, as_json=as_json))


def _time_limit(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Seconds of `10s`, `5m` or a plain number."""
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value} {error}") from None
    if not isinstance(seconds, float) or not 0 < seconds <= MAX_SECONDS:
        raise click.BadParameter(f"must be more than 0 and at most {MAX_SECONDS} seconds")
    return seconds


@main.command("try", short_help="Dry run of an image, and of a scoring program over it, from local folders.")
@click.argument("image")
@click.option("--input", "input_dir", type=_FOLDER, required=True, help="What the image finds at /mnt/in.")
@click.option("--program", type=_FOLDER, help="The scoring program: a folder with its metadata file.")
@click.option("--ref", type=_FOLDER, help="The reference data that it scores against.")
@click.option("--program-image", help="Image of the scoring program; default: the participant's.")
@click.option("--time-limit", callback=_time_limit, help="Of each container; default: WORKER_DEFAULT_TIME_LIMIT.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="try-output", show_default=True, help="Where results go."
)
@_AS_JSON
@click.pass_obj
def try_image(  # noqa: PLR0913, PLR0917 -- each is an option
    env_file: Path | None,
    image: str,
    input_dir: Path,
    program: Path | None,
    ref: Path | None,
    program_image: str | None,
    time_limit: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Dry run of a participant's IMAGE, and of a scoring program over what it leaves, from local folders.

    The sandbox, the limits and the verdict are those of a site whose worker has these settings; nothing is sent
    anywhere. IMAGE is all that a submission may say: an image, or 'docker run … IMAGE …' in quotes. An image is
    pulled where this machine lacks it, unless WORKER_PULL_POLICY is set.
    """
    settings = _start(env_file, quiet=True)
    with _exit_codes():
        from worker.commands.trial import Trial
        from worker.commands.try_run import try_run

        sys.exit(
            try_run(
                settings,
                Trial(image, input_dir, program, ref, program_image, time_limit, out),
                as_json=as_json,
            )
        )


@main.command()
@_AS_JSON
@click.option("--example", "as_example", is_flag=True, help="Print an .env file with every setting instead.")
@click.pass_obj
def config(env_file: Path | None, as_json: bool, as_example: bool) -> None:
    """The effective settings and where each came from; secrets are masked."""
    if as_example:
        from config.example import example

        click.echo(example(), nl=False)
        return
    loaded = _load(env_file)
    values = shown(loaded.settings)
    if as_json:
        rows = {name: {"value": value, "from": loaded.origins[name]} for name, value in values.items()}
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(map(len, values))
    for name, value in values.items():
        click.echo(f"{name:{width}}  {value or '-'}  ({loaded.origins[name]})")


@main.command()
def schema() -> None:
    """JSON Schema of the run message."""
    click.echo(json.dumps(json_schema(), indent=2))


@main.command()
def demo() -> None:
    """The whole path on this machine: broker, store, a sample image, one run, its scores."""
    from worker.demo.show import main as show

    sys.exit(show())


def _load(env_file: Path | None) -> Loaded:
    try:
        return load(env_file)
    except SettingsError as error:
        _leave(ExitCode.USAGE, str(error))


def _start(env_file: Path | None, *, quiet: bool = False) -> Settings:
    """Settings and logging. Commands for people log warnings only, unless LOG_LEVEL asks for more."""
    from worker.lean import load_structlog

    load_structlog()
    import structlog

    from worker import logs

    loaded = _load(env_file)
    level = loaded.settings.log_level
    if quiet and loaded.origins["LOG_LEVEL"] == "default":
        level = "WARNING"
    logs.configure(level, loaded.settings.log_format)
    for warning in loaded.warnings:
        structlog.get_logger(__name__).warning("setting to mend", advice=warning)
    return loaded.settings


def _read_message(file: TextIO) -> MessageFile:
    try:
        return parse_message_file(file.read(), message_id=str(uuid4()))
    except Fault as fault:
        _leave(ExitCode.USAGE, fault.sentence)
    except UnicodeDecodeError:
        _leave(ExitCode.USAGE, "The message is not UTF-8 text.")


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turns what stops a command into one sentence on stderr and the exit code for it."""
    from worker.kept.folders import TempDirTakenError
    from worker.set_up import SetUpError, UnreachableError

    try:
        yield
    except SetUpError as error:
        _leave(ExitCode.USAGE, str(error))
    except UnreachableError as error:
        _leave(ExitCode.UNREACHABLE, str(error))
    except TempDirTakenError as error:
        _leave(ExitCode.TEMP_DIR_TAKEN, str(error))


def _leave(code: ExitCode, sentence: str) -> NoReturn:
    from worker.logs import redact

    click.echo(redact(sentence), err=True)
    sys.exit(code)
