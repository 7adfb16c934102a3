"""The calls that assert something: those of Node's module `assert`, and those of `expect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tree_sitter

_WITH_TWO = frozenset(
    {
        "equal", "strictEqual", "deepEqual", "deepStrictEqual", "notEqual", "notStrictEqual",
        "notDeepEqual", "notDeepStrictEqual", "match", "doesNotMatch",
    }
)  # fmt: skip
_WITH_ONE = frozenset({"ok", "assert"})
_THROWING = frozenset({"toThrow", "toThrowError", "throws"})
_LITERALS = frozenset({"string", "number", "true", "false", "null", "undefined", "array", "object"})

Kind = Literal["value", "raises", "rejects"]


@dataclass(frozen=True, slots=True)
class AssertingCall:
    """The parts of an assertion's call."""

    kind: Kind
    method: str
    module: str
    actual: tree_sitter.Node
    resolves: bool = False


def find_call(node: tree_sitter.Node) -> AssertingCall | None:
    """Return the parts of a call that asserts something, None for another expression."""
    function, arguments = _parts(node)
    name = text_of(function)
    if not arguments:
        return _matcher(node)
    module, _, method = name.rpartition(".")
    if module in ("assert", "t.assert") or name == "assert":
        return _of_module(module or "assert", method, arguments)
    return _matcher(node)


def _of_module(module: str, method: str, arguments: list[tree_sitter.Node]) -> AssertingCall | None:
    actual = arguments[0]
    if method in _WITH_TWO and len(arguments) >= 2:
        is_swapped = actual.type in _LITERALS and arguments[1].type not in _LITERALS
        return AssertingCall("value", method, module, arguments[1] if is_swapped else actual)
    if method in _WITH_ONE:
        return AssertingCall("value", method, module, actual)
    if method in ("throws", "rejects"):
        kind: Kind = "raises" if method == "throws" else "rejects"
        return AssertingCall(kind, method, module, actual)
    return None


def _matcher(node: tree_sitter.Node) -> AssertingCall | None:
    """Return the parts of `expect(actual).not.toBe(expected)`."""
    function, _ = _parts(node)
    if function is None or function.type != "member_expression":
        return None
    names = []
    current: tree_sitter.Node | None = function
    while current is not None and current.type == "member_expression":
        names.append(text_of(current.child_by_field_name("property")))
        current = current.child_by_field_name("object")
    inner, values = _parts(current)
    if inner is None or not values or text_of(inner) not in ("expect", "expect.soft"):
        return None
    kind: Kind = "value"
    if "rejects" in names:
        kind = "rejects"
    elif names[0] in _THROWING and "not" not in names:
        kind = "raises"
    return AssertingCall(kind, "expect", "", values[0], "resolves" in names)


def _parts(node: tree_sitter.Node | None) -> tuple[tree_sitter.Node | None, list[tree_sitter.Node]]:
    """Return the function and the arguments of a call."""
    if node is None or node.type != "call_expression":
        return None, []
    arguments = node.child_by_field_name("arguments")
    if arguments is None or arguments.type != "arguments":
        return None, []
    values = [each for each in arguments.named_children if each.type != "comment"]
    if any(each.type == "spread_element" for each in values):
        return None, []
    return node.child_by_field_name("function"), values


def text_of(node: tree_sitter.Node | None) -> str:
    """Return the text of a node, empty without a node."""
    return "" if node is None else (node.text or b"").decode("utf-8", "replace")
