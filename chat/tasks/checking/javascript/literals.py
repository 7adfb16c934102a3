"""Literals of JavaScript as values: null is None, arrays are lists, plain objects dictionaries."""

from __future__ import annotations

import json
import math
import re

import tree_sitter

from chat.tasks.checking.javascript.calls import text_of

_WORDS = {"true": True, "false": False, "null": None}
_INTEGER = re.compile(r"0|[1-9]\d{0,14}")
_FLOAT = re.compile(r"\d{1,15}\.\d{1,15}")
_NAME = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_MAX_DEPTH = 4


class NotLiteralError(ValueError):
    """A node is no literal, or one that is not supported."""


class Code:
    """An argument that is not a literal, such as a function."""

    def __init__(self, text: str, words: str = "a function") -> None:
        self.text, self.words = text, words


def value_of(node: tree_sitter.Node, depth: int = 0) -> object:
    """Return the value of a literal. Raises NotLiteralError for other expressions."""
    text = text_of(node)
    if depth > _MAX_DEPTH:
        raise NotLiteralError
    if node.type in _WORDS:
        return _WORDS[node.type]
    if node.type == "number":
        return _number(text)
    if node.type == "unary_expression" and re.match(r"-\d", text):
        value = _number(text[1:])
        return -value
    if node.type in ("string", "template_string"):
        return _string(node)
    children = [each for each in node.named_children if each.type != "comment"]
    if node.type == "array":
        return [value_of(each, depth + 1) for each in children]
    if node.type == "object":
        return {_key(each): value_of(_value(each), depth + 1) for each in children}
    raise NotLiteralError


def literal(value: object) -> str:
    """Return the code of a value."""
    if isinstance(value, Code):
        return value.text
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_written(key)}: {literal(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, float) and not math.isfinite(value):
        raise NotLiteralError
    return json.dumps(value, ensure_ascii=False)


def _number(text: str) -> int | float:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    raise NotLiteralError


def _string(node: tree_sitter.Node) -> str:
    if any(each.type != "string_fragment" for each in node.named_children):
        raise NotLiteralError  # it has an escape sequence, or an expression
    return text_of(node)[1:-1]


def _key(node: tree_sitter.Node) -> str:
    key = node.child_by_field_name("key") if node.type == "pair" else None
    if key is None or key.type not in ("property_identifier", "string"):
        raise NotLiteralError
    name = text_of(key) if key.type == "property_identifier" else _string(key)
    if name == "__proto__":
        raise NotLiteralError  # it is no property
    return name


def _value(node: tree_sitter.Node) -> tree_sitter.Node:
    value = node.child_by_field_name("value")
    if value is None:
        raise NotLiteralError
    return value


def _written(key: object) -> str:
    name = str(key)
    return name if _NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
