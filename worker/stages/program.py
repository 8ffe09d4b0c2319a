"""A program of a run: the command of its metadata, and where it finds things in its container."""

from __future__ import annotations

import re
import shlex

from worker.bundles.metadata import MetadataError

RUN_DIR = "/codalab/run"
SHARED_DIR = "/codalab/shared"
HIDDEN_DIR = "/codalab/hidden_ref"
_PLACES = {
    "$ingestion_program": f"{RUN_DIR}/ingestion_program",
    "$submission_program": f"{RUN_DIR}/program",
    "$predictions": f"{RUN_DIR}/input/res",
    "$program": f"{RUN_DIR}/program",
    "$input": f"{RUN_DIR}/input",
    "$output": f"{RUN_DIR}/output",
    "$tmp": f"{RUN_DIR}/temp",
    "$shared": SHARED_DIR,
    "$hidden": HIDDEN_DIR,
}
# Longest name first, and no word boundary: `$program/score.py` and `$input,` are both in use.
_NAME = re.compile("|".join(re.escape(name) for name in sorted(_PLACES, key=len, reverse=True)))


def arguments(command: str, *, own_folder: str = "program") -> tuple[str, ...]:
    """The words of `command` with its `$` names replaced; no shell ever sees it.

    `$program` is `own_folder` of the run: an ingestion program means itself by it. Raises
    `MetadataError` where the quotes do not match or nothing is left.
    """
    places = {**_PLACES, "$program": f"{RUN_DIR}/{own_folder}"}
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise MetadataError(f"the command cannot be read: {str(error).lower()}") from None
    if not words:
        raise MetadataError("the command is empty")
    return tuple(_NAME.sub(lambda match: places[match[0]], word) for word in words)
