"""The model of the protocol sees what it is for: with one part broken, it finds a run that is lost, or told twice."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.model_mutations import MUTATIONS, broken
from tests.support.model_protocol import Protocol

# The same examples each time, and none is made small: that a violation is found is all that counts.
_SEARCH = settings(
    max_examples=300,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_model_finds_that(mutation: str) -> None:
    with pytest.raises(AssertionError), broken(mutation):
        run_state_machine_as_test(seed(1)(type("Mutant", (Protocol,), {})), settings=_SEARCH)
