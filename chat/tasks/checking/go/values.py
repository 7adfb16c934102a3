"""Values for the types of Go, as code, and values near others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import tree_sitter

from chat.tasks.checking.go.assertions import text_of
from syntax.walk import nodes

Values = tuple[str, ...]

_INTEGERS: Values = ("3", "0", "-2", "1", "10")
_UNSIGNED: Values = ("3", "0", "1", "10")
_FLOATS: Values = ("2.5", "0", "-1.5", "10")
_TEXTS: Values = ('"Hello World"', '""', '"a1, b2"', '"x"', '"héé"')
_FLAGS: Values = ("true", "false")
BASIC: Mapping[str, Values] = {
    **dict.fromkeys(("int", "int8", "int16", "int32", "int64"), _INTEGERS),
    **dict.fromkeys(("uint", "uint8", "uint16", "uint32", "uint64", "byte"), _UNSIGNED),
    **dict.fromkeys(("float32", "float64"), _FLOATS),
    "string": _TEXTS,
    "bool": _FLAGS,
    "rune": ("'a'", "'Z'", "'7'", "' '"),
    "error": ("nil", 'errors.New("failed")'),
    **dict.fromkeys(("any", "interface{}"), ("3", '"x"', "nil")),
}
NUMBERS = (_INTEGERS, _FLOATS)
"""The values of the numbers that can be negative."""
LISTS: Sequence[Sequence[str]] = (("3", "1", "2"), (), ("5",), ("2", "2"), ("-1", "4", "-1", "0"))
LISTS_OF_TEXTS: Sequence[Sequence[str]] = (
    ('"b"', '"c"', '"b"', '"a"'),
    (),
    ('"x"',),
    ('""', '"C"'),
)
_MAX_STRING = 20


def constants_of(function: tree_sitter.Node) -> Iterator[str]:
    """Yield values at the borders that constants draw, and texts with short strings in them."""
    for node in nodes(function):
        text = text_of(node)
        if node.type == "int_literal" and re.fullmatch(r"0|[1-9]\d{0,9}", text):
            yield from (text, str(int(text) + 1), str(int(text) - 1))
        elif node.type == "interpreted_string_literal" and 2 < len(text) <= _MAX_STRING:
            yield text
            if len(text) <= 4 and "\\" not in text and "%" not in text:
                short = text[1:-1]
                yield from (f'"{short}1"', f'"1{short}2{short}3"', f'"{short}{short}"')


def fitting(kind: str, constants: Sequence[str]) -> Values:
    """Return the constants that have a type."""
    is_text = kind == "string"
    is_number = kind in BASIC and BASIC[kind] in (_INTEGERS, _UNSIGNED, _FLOATS)
    is_signed = BASIC.get(kind) != _UNSIGNED
    own = [
        each
        for each in dict.fromkeys(constants)
        if (is_text if each.startswith('"') else is_number and (is_signed or each[0] != "-"))
    ]
    limit = {"int8": 127, "byte": 255, "uint8": 255}.get(kind)
    usual = BASIC.get(kind, ())
    return tuple(
        each for each in own if each not in usual and (limit is None or int(each) <= limit)
    )


def variations(argument: str, kind: str) -> Iterator[str]:
    """Yield values near a literal."""
    if BASIC.get(kind) in (_INTEGERS, _UNSIGNED) and re.fullmatch(r"-?\d{1,9}", argument):
        value = int(argument)
        others = (value + 1, value - 1, -value, value * 10 + 7)
        yield from (str(each) for each in others if each >= 0 or BASIC[kind] is _INTEGERS)
    elif kind == "string" and re.fullmatch(r'"[^"\\]*"', argument):
        text = argument[1:-1]
        for each in (text.upper(), f" {text} ", text[:1], f"{text} {text}", text[::-1]):
            yield json.dumps(each, ensure_ascii=False)
