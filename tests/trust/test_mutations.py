"""Damaged and forged inputs of every kind are read rightly or refused in one line; see docs/reliability.md."""

import pytest

from tests.trust.harness import tried
from tests.trust.inputs import KINDS

MUTATIONS = 8
"""Of each kind; benchmarks/fuzzing.py makes as many as one has time for."""


@pytest.mark.parametrize("name", KINDS)
def test_what_was_changed_is_refused_in_one_line_or_read_as_what_it_is(name, tmp_path):
    tally = tried(name, MUTATIONS, seed=1, folder=tmp_path / "work")
    assert tally.faults == []
    assert sum(tally.outcomes.values()) == MUTATIONS
