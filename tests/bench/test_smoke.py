"""Every section of the bench, as small as can be, so that `make bench` works whenever somebody wants it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import SECTIONS, main
from tests.bench.plot import draw

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

# This worker, as if it were of another make: it is told where the queue is by its environment alone.
OTHER = shlex.join([sys.executable, "-m", "worker", "run"])


def run(results: Path, *arguments: str) -> dict[str, dict[str, object]]:
    main(["--tiny", "--results", str(results), *arguments])
    (file,) = results.glob("*.json")
    return {str(figure["name"]): figure for figure in json.loads(file.read_text())["figures"]}


def test_every_section_measures_another_worker_too_where_one_is_named_and_the_curves_are_drawn(tmp_path: Path) -> None:
    figures = run(tmp_path, "--other", f"the same={OTHER}")
    assert {figure["section"] for figure in figures.values()} == SECTIONS.keys()
    for measured in (
        "publish to terminal status",
        "overhead (worker - floor)",
        "share of the engine's own rate",
        "start-up to consuming",
        "idle memory (RSS) after start",
    ):
        assert figures[f"the same: {measured}"]["verdict"] is None  # the targets are this worker's
    (file,) = tmp_path.glob("*.json")
    draw(json.loads(file.read_text()), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "small,bgi"], "no such section: bgi"),
        (["--other", "celery -A worker"], 'write it as "NAME=command line"'),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_another_worker_that_consumes_nothing_is_told_with_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.bench.place.PATIENCE", 4.0)
    with pytest.raises(TimeoutError, match=r"nobody consumes compute-worker after 4 s; it wrote:\nno such broker"):
        run(tmp_path, "--only", "row", "--other", "broken=sh -c 'echo no such broker; sleep 60'")
