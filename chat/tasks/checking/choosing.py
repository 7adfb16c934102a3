"""Chooses among tests that pass: each must detect a mutation that no other chosen test detects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chat.tasks.dialects.base import Snippet

MAX_TESTS = 8


def choose_tests(
    tests: Sequence[Snippet],
    detected: Mapping[str, frozenset[int]],
    mark: str,
    count: int = MAX_TESTS,
) -> tuple[Snippet, ...]:
    """Return at most `count` tests, in their order, without redundant ones.

    `detected` are the indices of the mutations that each test detects. Of tests that detect equally
    many further ones, a test without `mark` is preferred, then one that detects more, then the
    first. If no test detects any, the best one is returned alone.
    """
    chosen: list[Snippet] = []
    remaining = frozenset[int]().union(*detected.values())
    while remaining and len(chosen) < count:
        best = max(
            tests,
            key=lambda test: (
                len(detected.get(test.name, frozenset()) & remaining),
                mark not in test.text,
                len(detected.get(test.name, frozenset())),
            ),
        )
        chosen.append(best)
        remaining -= detected[best.name]
    if not chosen:
        chosen = sorted(tests, key=lambda test: mark in test.text)[:1]
    return tuple(test for test in tests if test in chosen)
