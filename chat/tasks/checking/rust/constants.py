"""Constants of a Rust function, at which its behaviour may change."""

from __future__ import annotations

import re
from collections.abc import Iterator

import tree_sitter

from chat.tasks.checking.rust.definitions import text_of
from chat.tasks.checking.rust.values import Documented
from syntax.walk import nodes

_MAX_CHARACTERS = 40
_NAME = re.compile(r"\w+(?:::\w+)*(?:\(.*\))?")
_QUOTED = re.compile(r"`([^`\n]+)`")
_NUMBER = re.compile(r"(\d[\d_]*)(\.[\d_]+)?(?:_?[iuf](?:\d+|size))?")
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\", '\\"': '"', "\\'": "'", "\\r": "\r"}


def constants_of(root: tree_sitter.Node, function: tree_sitter.Node) -> Iterator[object]:
    """Yield texts in the documentation of a function, then its numbers and short texts."""
    seen: set[tuple[type, object]] = set()
    for value in (*_documented(function), *_literals(root, function)):
        if (type(value), value) not in seen:
            seen.add((type(value), value))
            yield value


def _documented(function: tree_sitter.Node) -> Iterator[object]:
    """Yield texts in back quotes in the comments above a function."""
    previous = function.prev_named_sibling
    while previous is not None and previous.type in ("line_comment", "attribute_item"):
        for each in _QUOTED.findall(text_of(previous)):
            if len(each) <= _MAX_CHARACTERS and not _NAME.fullmatch(each):
                yield Documented(each.strip('"'))
        previous = previous.prev_named_sibling


def _literals(root: tree_sitter.Node, function: tree_sitter.Node) -> Iterator[object]:
    names = {text_of(node) for node in nodes(function) if node.type == "identifier"}
    places = [function]
    for node in root.named_children:
        if node.type == "const_item" and text_of(node.child_by_field_name("name")) in names:
            places.append(node)
    for node in (each for place in places for each in nodes(place)):
        code = text_of(node)
        if node.type in ("integer_literal", "float_literal") and (match := _NUMBER.fullmatch(code)):
            digits = match[1].replace("_", "")
            yield float(digits + match[2].replace("_", "")) if match[2] else int(digits)
        elif node.type in ("char_literal", "string_literal") and len(code) <= _MAX_CHARACTERS:
            yield re.sub(r"\\.", lambda match: _ESCAPES.get(match[0], ""), code[1:-1])
