"""The fuzzing itself: targets hold over their seeds and a few inputs near them; a planted bug is found."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import attempt, fuzz
from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_over_its_seeds_and_what_lies_near(name: str) -> None:
    done = fuzz(TARGETS[name], seconds=0.5)
    assert done.find is None
    assert done.tried >= len(TARGETS[name].seeds())


def _buggy(data: bytes) -> None:
    if b"{" in data:
        raise RecursionError


def test_a_bug_is_found_and_made_small() -> None:
    done = fuzz(Target(_buggy, lambda: [b"harmless " * 20]), seconds=60)
    assert done.find is not None
    assert done.find.data == b"{"
    assert isinstance(done.find.error, RecursionError)


def test_a_reader_that_does_not_come_back_is_a_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "LONGEST", 0.2)
    found = attempt(Target(lambda _: time.sleep(30), list), b"x")
    assert found is not None
    assert "longer than 0.2 s" in str(found.error)


def test_one_input_can_be_tried_again_from_the_command_line() -> None:
    again = f"docker-command={base64.b64encode(b'team/image:1').decode()}"
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", again], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0
