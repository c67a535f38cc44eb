"""Damaged and forged inputs of every kind are read rightly or refused in one line; see docs/reliability.md."""

import pytest

from egodepth.errors import UserError
from tests.trust.harness import tried
from tests.trust.inputs import KINDS

MUTATIONS = 8
"""Of each kind; benchmarks/fuzzing.py makes as many as one has time for."""


@pytest.mark.parametrize("name", KINDS)
def test_what_was_changed_is_refused_in_one_line_or_read_as_what_it_is(name, tmp_path):
    tally = tried(name, MUTATIONS, seed=1, folder=tmp_path / "work")
    assert tally.faults == []
    assert sum(tally.outcomes.values()) == MUTATIONS


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("config.json", b"8,\n      16\n", b"8,\n      1\n"),
        ("pack.json", b'"val": 2', b'"vql": 2'),
        ("samples.json", b'"digest"', b'"digast"'),
        ("ddad scene.json", b'"calibration_key": "', b'"calibration_key": [1], "_": "'),
    ],
    ids=["channels that do not divide", "another stage", "a digest by another name", "a key that is a list"],
)
def test_what_a_hundred_thousand_changes_found_is_refused(name, before, after, tmp_path):
    kind = KINDS[name]
    file = kind.make(tmp_path)
    content = file.read_bytes()
    assert before in content
    file.write_bytes(content.replace(before, after, 1))
    with pytest.raises(UserError) as refused:
        kind.read(tmp_path)
    assert str(file.parent) in str(refused.value)
