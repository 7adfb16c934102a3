"""Small mutations of a function or class, with which tests are tested.

A test that detects no mutation of a function does not test what it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from syntax.grammars import count_errors, grammar_name, parse
from syntax.mutation.edits import KINDS, Edit, Kind
from syntax.mutation.rules import Rules
from syntax.offsets import ByteOffsets, with_line_feeds
from syntax.window import near

_GRAMMARS = frozenset({"python", "javascript", "typescript", "go", "rust", "java"})
_CLASS = ("class A {\n", "\n}\n")
_CLASS_OF_PYTHON = ("class A:\n", "\n")
_MAX_ROUNDS = 3
"""Maximum number of times that mutations are chosen again, after some had syntax errors."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A small change of a text that makes it wrong. Offsets are in code points."""

    start: int
    end: int
    replacement: str
    line: int
    """The line of `start`; the first line is 0."""
    description: str
    """What is different, for a person: `< became <=`."""

    def apply(self, text: str) -> str:
        """Return the text with this mutation."""
        return text[: self.start] + self.replacement + text[self.end :]


def find_mutations(text: str, language: str, start: int, end: int, count: int) -> list[Mutation]:
    """Return at most `count` mutations between two offsets, in the order of the text.

    They are spread over the branches, lines and kinds. The same text has always the same
    mutations. None has more syntax errors than the text. In Go, Rust and Java, those that a
    compiler would refuse are left out.
    """
    grammar = grammar_name(language)
    if grammar not in _GRAMMARS or count <= 0 or start >= end:
        return []
    window, shift = near(text, start, end)
    window = with_line_feeds(window)
    root = parse(window, language)
    if root is None:
        return []
    offsets = ByteOffsets(window)
    first, last = offsets.to_bytes(start - shift), offsets.to_bytes(end - shift)
    edits = Rules(root, grammar, offsets.source).edits(first, last)
    first_line = with_line_feeds(text[:shift]).count("\n")
    candidates = list(_candidates(edits, offsets, shift, first_line))
    checker = _Checker(text, language, start, end)
    for _ in range(_MAX_ROUNDS):
        chosen = _spread(candidates, count)
        wrong = {each.mutation for each in chosen if not checker.is_correct(each.mutation)}
        if not wrong:
            break
        candidates = [each for each in candidates if each.mutation not in wrong]
    return [each.mutation for each in chosen if each.mutation not in wrong]


@dataclass(frozen=True, slots=True)
class _Candidate:
    mutation: Mutation
    kind: Kind
    branch: int


def _candidates(
    edits: Iterable[Edit], offsets: ByteOffsets, shift: int, first_line: int
) -> Iterable[_Candidate]:
    """Yield the edits in code points of the whole text, in their order and without duplicates."""
    line, counted, seen = first_line, 0, set()
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if (edit.start, edit.end, edit.replacement) in seen:
            continue
        seen.add((edit.start, edit.end, edit.replacement))
        line += offsets.source.count(b"\n", counted, edit.start)
        counted = edit.start
        start = offsets.to_characters(edit.start) + shift
        end = offsets.to_characters(edit.end) + shift
        mutation = Mutation(start, end, edit.replacement, line, edit.description)
        yield _Candidate(mutation, edit.kind, edit.branch)


def _spread(candidates: list[_Candidate], count: int) -> list[_Candidate]:
    """Choose candidates from all branches, then again and again from all lines."""
    if len(candidates) <= count:
        return candidates
    chosen: set[int] = set()
    used = dict.fromkeys(KINDS, 0)
    groupings: list[Callable[[_Candidate], int]] = [
        lambda candidate: candidate.branch,
        lambda candidate: candidate.mutation.line,
    ]
    while len(chosen) < count:
        by = groupings.pop(0) if len(groupings) > 1 else groupings[0]
        groups: dict[int, list[int]] = defaultdict(list)
        for index, candidate in enumerate(candidates):
            if index not in chosen:
                groups[by(candidate)].append(index)
        room = count - len(chosen)
        for group in _evenly(list(groups.values()), room):
            index = min(group, key=lambda index: _rank(candidates[index], used))
            used[candidates[index].kind] += 1
            chosen.add(index)
    return [candidates[index] for index in sorted(chosen)]


def _rank(candidate: _Candidate, used: dict[Kind, int]) -> tuple[int, int]:
    return used[candidate.kind], KINDS.index(candidate.kind)


def _evenly(groups: list[list[int]], room: int) -> list[list[int]]:
    """Return all groups if there is room for one of each, else groups with even distances."""
    if len(groups) <= room:
        return groups
    return [groups[index * len(groups) // room] for index in range(room)]


class _Checker:
    """Compares the syntax errors in a part of a text, which is much faster than in all of it."""

    def __init__(self, text: str, language: str, start: int, end: int) -> None:
        self._language, self._start = language, start
        self._text = text[start:end]
        self._before = self._after = ""
        self._num_errors = self._count(self._text)
        if self._num_errors:  # a method may be correct only inside of a class
            indent = text[text.rfind("\n", 0, start) + 1 : start]
            is_python = grammar_name(language) == "python"
            self._before, self._after = _CLASS_OF_PYTHON if is_python else _CLASS
            self._before += indent if indent.isspace() else ""
            self._num_errors = self._count(self._text)

    def is_correct(self, mutation: Mutation) -> bool:
        """Whether a mutation adds no syntax errors."""
        first, last = mutation.start - self._start, mutation.end - self._start
        changed = self._text[:first] + mutation.replacement + self._text[last:]
        return self._count(changed) <= self._num_errors

    def _count(self, part: str) -> float:
        code = with_line_feeds(self._before + part + self._after)
        errors = count_errors(code, self._language)
        return float("inf") if errors is None else errors
