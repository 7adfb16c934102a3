"""Which tests are chosen, and the sentence about them."""

import pytest

from chat.tasks.checking.choosing import choose_tests
from chat.tasks.dialects.base import Snippet
from chat.tasks.summary import Summary

MARK = "current behaviour"


def chosen(
    detected: dict[str, set[int]],
    covered: dict[str, set[int]] | None = None,
    marked: str = "",
    count: int = 8,
    preferred: str = "",
) -> str:
    """Return the names of the chosen tests; those in `marked` have an observed value."""
    tests = [Snippet(name, f"{name} {MARK if name in marked else ''}") for name in detected]
    frozen = {name: frozenset(numbers) for name, numbers in detected.items()}
    lines = {name: frozenset(numbers) for name, numbers in (covered or {}).items()}
    names = choose_tests(tests, frozen, lines, MARK, count, preferred)
    return "".join(test.name for test in names)


def test_redundant_tests_are_left_out() -> None:
    assert chosen({"a": {1}, "b": {1, 2}, "c": {3}, "d": {2, 3}}) == "bd"
    assert chosen({"a": {1, 2, 3}, "b": {1}, "c": {2}}) == "a"
    assert chosen({"a": {1}, "b": {1}}) == "a"


def test_tests_with_the_models_own_values_come_first() -> None:
    assert chosen({"a": {1, 2}, "b": {1, 2}}, marked="a") == "b"
    assert chosen({"a": {1, 2, 3}, "b": {1}}, marked="a") == "ab"
    assert chosen({"a": {1, 2}, "b": set()}, marked="a") == "a"


def test_a_test_that_detects_nothing_is_not_chosen_for_its_lines() -> None:
    assert chosen({"a": {1}, "b": set()}, {"a": {5}, "b": {5, 6, 7}}) == "a"
    assert chosen({"a": {1}, "b": {1}}, {"a": {5}, "b": {6}}) == "ab"
    assert chosen({"a": {1}, "b": {1}}, {"a": {5}, "b": {5}}) == "a"


def test_there_is_always_a_test_and_never_too_many() -> None:
    assert chosen({"a": set(), "b": set()}) == "a"
    assert chosen({"a": set(), "b": set()}, marked="a") == "b"
    assert chosen({}) == ""
    assert chosen({"a": {1}, "b": {2}, "c": {3, 4}}, count=1) == "c"
    assert chosen({"a": {1}, "b": {2}, "c": {3, 4}}, count=2) == "ac"


def test_tests_whose_names_were_asked_for_come_first() -> None:
    assert chosen({"a": {1, 2}, "b": {1}}, preferred="b") == "ab"
    assert chosen({"a": {1, 2}, "b": {1, 2}}, preferred="b") == "b"
    assert chosen({"a": {1, 2}, "b": set()}, preferred="b", count=1) == "b"
    assert chosen({"a": {1}, "b": {2}, "c": {3}}, preferred="bc", count=1) == "b"
    assert chosen({"a": {1}, "b": {1}}, {"a": {5}, "b": {5}}, preferred="b") == "b"
    assert chosen({"a": {1}}, preferred="b") == "a"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((4, 8, 7, 9, 9, 0), "4 tests, all pass, detect 7 of 8 mutations, cover 9 of 9 lines."),
        ((1, 1, 1, 1, 0, 0), "1 test, passes, detects 1 of 1 mutation, covers 0 of 1 line."),
        ((2, 0, 0, 0, 0, 0), "2 tests, all pass."),
        (
            (1, 3, 2, 0, 0, 1),
            "1 test, passes, detects 2 of 3 mutations. 1 expected value is the current behaviour: "
            "check that it is right.",
        ),
        (
            (2, 3, 2, 0, 0, 2),
            "2 tests, all pass, detect 2 of 3 mutations. 2 expected values are the current "
            "behaviour: check that they are right.",
        ),
    ],
)
def test_the_sentence(numbers: tuple[int, int, int, int, int, int], expected: str) -> None:
    assert Summary(*numbers).sentence == expected
