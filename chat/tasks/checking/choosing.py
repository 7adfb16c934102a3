"""Chooses among tests that pass: each must detect a mutation that no other chosen test detects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chat.tasks.dialects.base import Snippet

MAX_TESTS = 8


def choose_tests(
    tests: Sequence[Snippet],
    detected: Mapping[str, frozenset[int]],
    covered: Mapping[str, frozenset[int]],
    mark: str,
    count: int = MAX_TESTS,
    preferred: Collection[str] = (),
) -> tuple[Snippet, ...]:
    """Return at most `count` tests, in their order, without redundant ones.

    `detected` are the indices of the mutations that each test detects, `covered` the lines that it
    executes. The tests whose names are in `preferred` are chosen first. Each other chosen test
    detects a mutation, and adds mutations or lines to the others. Of these, tests without `mark`
    are preferred, then those that add more, those that detect more, and the first. If nothing is
    chosen so, the best test is returned alone.
    """
    useful = [test for test in tests if detected.get(test.name)]
    remaining = {test.name: _gains(test, detected, covered) for test in useful}
    chosen = [test for test in tests if test.name in preferred][:count]
    for test in chosen:
        gains = _gains(test, detected, covered)
        remaining = {name: others - gains for name, others in remaining.items()}
    while any(remaining.values()) and len(chosen) < count:
        best = max(
            useful,
            key=lambda test: (
                bool(remaining[test.name]) and mark not in test.text,
                len(remaining[test.name]),
                len(detected[test.name]),
            ),
        )
        chosen.append(best)
        gains = remaining[best.name]
        remaining = {name: others - gains for name, others in remaining.items()}
    if not chosen:
        chosen = sorted(tests, key=lambda test: mark in test.text)[:1]
    return tuple(test for test in tests if test in chosen)


def _gains(
    test: Snippet, detected: Mapping[str, frozenset[int]], covered: Mapping[str, frozenset[int]]
) -> frozenset[tuple[str, int]]:
    """Return the mutations and lines that a test alone adds."""
    mutations = {("mutation", number) for number in detected[test.name]}
    lines = {("line", number) for number in covered.get(test.name, frozenset())}
    return frozenset(mutations | lines)
