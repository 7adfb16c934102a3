"""Expected values of Rust tests: have a test report what it sees, and correct it.

`assert_eq!(add(1, 2), 4)` becomes a `match` that prints the left side as `{:?}` shows it. For
numbers, strings and collections of them, that is also a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import tree_sitter

from chat.tasks.checking.runner import MARK
from syntax.grammars import count_errors, parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

_SEEN = "starcoder-seen"
_REPORT = re.compile(rf"^{_SEEN} (\d+) (\d+) (true|false) (.*)$", re.M)
_NUMBER = re.compile(r"(-?\d[\d_]*(?:\.\d+)?)((?:_?[iuf](?:8|16|32|64|128|size))?)")
_STRING = r'"(?:[^"\\]|\\.)*"'
_TEXT = re.compile(rf"(&?(?:String::from\()?)({_STRING})(\)?(?:\.\w+\(\))?)", re.S)
_PLAIN = re.compile(rf"-?\d+(?:\.\d+)?|true|false|{_STRING}", re.S)
_LIST = re.compile(rf"\[((?:{_PLAIN.pattern})(?:, (?:{_PLAIN.pattern}))*)\]", re.S)
_WRAPPED = re.compile(r"(Some|Ok|Err)\((.*)\)", re.S)
_LISTS = ("vec![", "&[", "[")
_MAX_VALUE_CHARACTERS = 200
_MAX_EXACT_FLOAT_CHARACTERS = 8

Seen = tuple[bool, str]
"""Whether an assertion held, and the value that it saw."""


@dataclass(frozen=True, slots=True)
class _Assertion:
    start: int
    end: int
    actual: str
    expected: str
    """Empty for `assert!`."""


def observed_test(number: int, text: str) -> str:
    """Return a test that reports what its assertions see."""
    for index, each in reversed(list(enumerate(_assertions(text)))):
        report = f'eprintln!("\\n{_SEEN} {number} {index} {{}} {{:?}}"'
        if each.expected:
            values = f"(&({each.actual}), &({each.expected}))"
            seen = f"match {values} {{ (left, right) => {report}, *left == *right, left) }}"
        else:
            seen = f"match {each.actual} {{ seen => {report}, seen, seen) }}"
        text = text[: each.start] + seen + text[each.end :]
    return text


def observations_in(output: str) -> dict[int, dict[int, list[Seen]]]:
    """Return what the assertions saw, by the numbers of tests and the indices of assertions."""
    seen: dict[int, dict[int, list[Seen]]] = {}
    for test, index, is_right, value in _REPORT.findall(output):
        own = seen.setdefault(int(test), {}).setdefault(int(index), [])
        own.append((is_right == "true", value))
    return seen


def corrected_test(text: str, observations: Mapping[int, Sequence[Seen]]) -> str | None:
    """Return a test whose assertions hold, with marks at those that were changed.

    An assertion that cannot be corrected is removed. Returns None if none is left.
    """
    assertions = list(_assertions(text))
    is_kept = bool(re.search(r"should_panic|assert_ne!", text))
    for index, each in reversed(list(enumerate(assertions))):
        seen = observations.get(index, ())
        if all(is_right for is_right, _ in seen):
            is_kept = True
            continue
        is_same = all(each_seen == seen[0] for each_seen in seen)
        statement = _corrected(each, seen[0][1]) if is_same else None
        is_kept = is_kept or statement is not None
        text = _replaced(text, each, statement)
    return text if is_kept and not count_errors(text, "rust") else None


def _corrected(assertion: _Assertion, value: str) -> str | None:
    """Return an assertion that holds for a value, None if there is none."""
    actual = assertion.actual
    if not assertion.expected:
        return f"assert!(!({actual}))"
    if len(value) > _MAX_VALUE_CHARACTERS:
        return None
    if re.fullmatch(r"-?\d+\.\d+", value) and len(value) > _MAX_EXACT_FLOAT_CHARACTERS:
        rounded = f"{float(value):.6g}"
        places = max(0, len(rounded.partition(".")[2]) - 1)
        if "e" in rounded or "." not in rounded:
            return None
        return f"assert!(({actual} - ({rounded})).abs() < 1e-{places})"
    expected = _literal_like(assertion.expected, value)
    return None if expected is None else f"assert_eq!({actual}, {expected})"


def _literal_like(expected: str, value: str) -> str | None:
    """Return a literal of a value in the form of another one, None if that is not possible."""
    if (number := _NUMBER.fullmatch(expected)) and _NUMBER.fullmatch(value):
        return value + number[2]
    if expected in ("true", "false") and value in ("true", "false"):
        return value
    if (text := _TEXT.fullmatch(expected)) and re.fullmatch(_STRING, value, re.S):
        return text[1] + value + text[3]
    wrapped = _WRAPPED.fullmatch(value)
    if value == "None" and (expected == "None" or expected.startswith("Some(")):
        return value
    if wrapped and (outer := _WRAPPED.fullmatch(expected)) and outer[1] == wrapped[1]:
        inner = _literal_like(outer[2], wrapped[2])
        return None if inner is None else f"{wrapped[1]}({inner})"
    if wrapped and expected == "None" and _PLAIN.fullmatch(wrapped[2]):
        return value
    prefix = next((each for each in _LISTS if expected.startswith(each)), None)
    if prefix and _LIST.fullmatch(value):
        return f"{prefix[:-1]}{value}"
    return None


def _replaced(text: str, assertion: _Assertion, statement: str | None) -> str:
    """Return a text with another statement at an assertion, or without it."""
    start, end = assertion.start, assertion.end
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    is_alone = not text[line_start:start].strip() and text[end:line_end].strip() in ("", ";")
    if not is_alone or line_end == -1:
        new = "()" if statement is None else f"{statement} /* {MARK} */"
        return text[:start] + new + text[end:]
    if statement is None:
        return text[:line_start] + text[line_end + 1 :]
    return f"{text[:start]}{statement}{text[end:line_end].rstrip()} // {MARK}{text[line_end:]}"


def _assertions(text: str) -> Iterator[_Assertion]:
    """Yield the calls of `assert_eq!` and `assert!` in their order."""
    root = parse(text, "rust")
    if root is None:
        return
    offsets = ByteOffsets(text)
    for node in nodes(root):
        macro = node.child_by_field_name("macro") if node.type == "macro_invocation" else None
        tree = next((each for each in node.named_children if each.type == "token_tree"), None)
        if macro is None or tree is None or macro.text not in (b"assert_eq", b"assert"):
            continue
        arguments = _arguments(tree, offsets)
        start, end = (offsets.to_characters(each) for each in (node.start_byte, node.end_byte))
        if macro.text == b"assert_eq" and len(arguments) >= 2:
            actual, expected = arguments[:2]
            if _PLAIN.fullmatch(actual) and not _PLAIN.fullmatch(expected):
                actual, expected = expected, actual
            yield _Assertion(start, end, actual, expected)
        elif macro.text == b"assert" and arguments:
            yield _Assertion(start, end, arguments[0], "")


def _arguments(tree: tree_sitter.Node, offsets: ByteOffsets) -> list[str]:
    """Return the texts between the commas of a macro's arguments."""
    starts = [tree.start_byte + 1]
    ends = []
    for child in tree.children:
        if child.type == ",":
            ends.append(child.start_byte)
            starts.append(child.end_byte)
    ends.append(tree.end_byte - 1)
    spans = zip(starts, ends, strict=True)
    texts = (offsets.source[start:end].decode("utf-8", "replace").strip() for start, end in spans)
    return [text for text in texts if text]
