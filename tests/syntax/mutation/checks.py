"""Checks of mutations that are true for all of them."""

from syntax.grammars import count_errors
from syntax.mutations import Mutation, find_mutations

ALL = 1000


def of_all(text: str, language: str) -> list[Mutation]:
    """Return all mutations of a text, after checks of what is true for all of them."""
    mutations = find_mutations(text, language, 0, len(text), ALL)
    for mutation in mutations:
        assert mutation.apply(text) != text
        assert mutation.line == text.count("\n", 0, mutation.start)
        assert count_errors(mutation.apply(text), language) == count_errors(text, language)
    assert mutations == sorted(mutations, key=lambda each: (each.start, each.end))
    return mutations


def changes(text: str, language: str) -> list[tuple[str, str]]:
    """Return the old and the new text of all mutations, in their order."""
    mutations = of_all(text, language)
    return [(text[each.start : each.end], each.replacement) for each in mutations]


def descriptions(text: str, language: str) -> list[str]:
    return [mutation.description for mutation in of_all(text, language)]
