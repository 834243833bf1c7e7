"""Mutations fit the code: each finds its place, and leaves Python where Python was."""

from __future__ import annotations

import ast

import pytest

from tests.mutations import MUTATIONS, PROJECT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.protection)
def test_a_mutation_finds_what_it_takes_away_exactly_once(mutation: Mutation) -> None:
    places = mutation.change.places(PROJECT)
    assert len(places) == 1, [str(file) for file, _ in places]
    ((file, text),) = places
    assert text != file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        ast.parse(text)


def test_each_mutation_names_a_test_that_is_there() -> None:
    for mutation in MUTATIONS:
        file, _, name = mutation.test.partition("::")
        assert f"def {name}" in (PROJECT / file).read_text(encoding="utf-8")
