"""The list of benchmarks/mutations.py keeps up with the code: a mutation that no longer applies tests nothing."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.mutations import ROOT, Mutation, read_mutations

MUTATIONS = read_mutations()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_place_of_a_file_that_still_compiles(mutation: Mutation):
    text = (ROOT / mutation.file).read_text()
    mutated = mutation.applied(text)
    assert mutated != text
    compile(mutated, mutation.file, "exec")


def test_every_mutation_has_a_name_of_its_own_and_tests_that_exist():
    assert [name for name, count in Counter(mutation.name for mutation in MUTATIONS).items() if count > 1] == []
    files = {test.partition("::")[0] for mutation in MUTATIONS for test in mutation.tests}
    assert [file for file in sorted(files) if not (ROOT / Path(file)).is_file()] == []
    assert all(mutation.tests for mutation in MUTATIONS)


def test_text_that_occurs_twice_or_never_is_no_place_for_a_mutation():
    mutation = Mutation("twice", "a.py", "x", "y", ())
    for text in ("x = x", "z"):
        with pytest.raises(ValueError, match="occurs"):
            mutation.applied(text)
