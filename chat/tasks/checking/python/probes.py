"""Further tests of a Python function: its calls in given tests, with other arguments.

The tests expect `...`, which nothing returns; `python.observing` puts in what was observed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

from chat.tasks.checking.python.calls import Call, Literal, calls_in
from chat.tasks.checking.python.samples import constants_in, sample_calls
from chat.tasks.checking.python.templates import words_of, written_test
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject, free_name

_MAX_VARIATIONS = 24
_MAX_PROBES = 40
_MAX_CALLS = 3
_MAX_STATEMENTS = 3
_MAX_WORDS = 50
_IMPORTS = """import contextlib
import io
import pathlib
import pytest
import tempfile
from unittest.mock import Mock, call"""
"""What the tests may need. Those that they do not use are left out."""
_PRINTS = re.compile(r"\bprint\(")


def probe_tests(tests: Sequence[Snippet], subject: Subject, framework: str) -> GeneratedTests:
    """Return tests with other arguments: variations of those in `tests`, then samples."""
    calls = list(dict.fromkeys(call for test in tests for call in calls_in(test.text, subject)))
    probes = [*islice(_variations(calls[:_MAX_CALLS], subject), _MAX_VARIATIONS)]
    probes += [call for call in _samples(subject) if call not in {*calls, *probes}]
    prints = _PRINTS.search(subject.symbol.dedented) is not None
    written: list[Snippet] = []
    taken = {test.name for test in tests}
    for call in probes[:_MAX_PROBES]:
        words = words_of(call)[:_MAX_WORDS].strip("_")
        called = subject.snake_case
        if subject.symbol.kind == "class":
            called += "_" + call.before.rpartition(".")[2]
        name = free_name(f"test_{called}_of_{words}", taken)
        taken.add(name)
        written.append(Snippet(name, written_test(name, call, framework, prints=prints)))
    return GeneratedTests((_IMPORTS,), (), tuple(written))


def _samples(subject: Subject) -> Iterator[Call]:
    calls = [
        Call(each.before, tuple(("", Literal(value)) for value in each.values), each.fakes)
        for each in sample_calls(subject)
    ]
    for number, call in enumerate(calls):
        yield call
        if call.fakes and number < _MAX_STATEMENTS:
            yield replace(call, is_statement=True)


def _variations(calls: Sequence[Call], subject: Subject) -> Iterator[Call]:
    """Yield calls with one other argument; all arguments get their turn."""
    seen = set(calls)
    constants = constants_in(subject.symbol.dedented)
    pending = [
        (call, index, chain(_others(argument.value), _like(argument.value, constants)))
        for call in calls
        for index, (_, argument) in enumerate(call.arguments)
    ]
    while pending:
        call, index, others = pending.pop(0)
        for value in others:
            variation = call.with_argument(index, Literal(value))
            if variation not in seen:
                seen.add(variation)
                yield variation
                pending.append((call, index, others))
                break


def _like(value: object, constants: Sequence[object]) -> Iterator[object]:
    """Yield the constants of the same type as a value."""
    return (constant for constant in constants if type(constant) is type(value))


def _others(value: object) -> Iterator[object]:
    """Yield values of the same type that functions often treat differently."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (0, -value if value else -1, value + 1, value - 1, value * 10 + 7)
    elif isinstance(value, float):
        yield from (0.0, -value, value + 0.5)
    elif isinstance(value, str):
        yield from ("", value.upper(), f" {value} ", value[:1], f"{value} {value}")
    elif isinstance(value, list | tuple):
        yield from (value[:0], value[:1], value[::-1], value * 2)
    elif isinstance(value, dict):
        yield from ({}, dict(list(value.items())[:1]))
