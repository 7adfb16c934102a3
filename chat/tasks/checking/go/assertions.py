"""Finds the assertions of a Go test, and the literals that they expect.

An assertion is a condition of an `if` that reports an error, such as `got != 3`, or a call of
testify such as `assert.Equal(t, 3, got)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import tree_sitter

from syntax.walk import nodes

_REPORTS = re.compile(rb"\bt\.(?:Error|Fatal|Fail)\w*\(")
_CONVERSION = re.compile(r"(?:u?int(?:8|16|32|64)?|float(?:32|64)|byte|rune|string)\([^(),]+\)")
_WANTED = re.compile(r"(?i)\b\w*(?:want|expect)\w*$|^exp$")
_LITERALS = frozenset(
    {
        "int_literal", "float_literal", "interpreted_string_literal", "raw_string_literal",
        "rune_literal", "true", "false", "nil", "composite_literal",
    }
)  # fmt: skip
_TESTIFY = {"Equal": "compare", "EqualValues": "compare", "True": "flag", "False": "flag"}
_TESTIFY |= {"NoError": "nil", "Error": "nil", "Nil": "nil", "NotNil": "nil"}

Kind = Literal["compare", "near", "nil", "flag", "other"]


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion. All nodes are of the tree of the test."""

    kind: Kind
    """What it says: values are equal or near, a value is nil, a condition holds, something else."""
    node: tree_sitter.Node
    """The condition that is true if the assertion fails, or the call of testify."""
    got: tree_sitter.Node
    want: tree_sitter.Node | None = None
    statement: tree_sitter.Node | None = None
    """The `if` whose whole condition this is, None for a part of one and for testify."""
    is_testify: bool = False


def text_of(node: tree_sitter.Node | None) -> str:
    """Return the text of a node, empty for None."""
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""


def assertions_of(root: tree_sitter.Node) -> Iterator[Assertion]:
    """Yield the assertions in a tree, in the order of the text."""
    for node in nodes(root):
        if node.type == "call_expression":
            yield from _of_testify(node)
        condition = node.child_by_field_name("condition")
        body = node.child_by_field_name("consequence")
        if node.type != "if_statement" or condition is None or body is None:
            continue
        if _REPORTS.search(body.text or b""):
            parts = list(_alternatives(condition))
            for part in parts:
                yield _of_condition(part, node if len(parts) == 1 else None)


def _alternatives(condition: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    left, right = (condition.child_by_field_name(side) for side in ("left", "right"))
    if _operator(condition) == "||" and left is not None and right is not None:
        yield from _alternatives(left)
        yield right
    else:
        yield condition


def _of_condition(node: tree_sitter.Node, statement: tree_sitter.Node | None) -> Assertion:
    operator = _operator(node)
    left, right = (node.child_by_field_name(side) for side in ("left", "right"))
    if operator in ("==", "!=") and left is not None and right is not None:
        if right.type == "nil":
            return Assertion("nil", node, left, None, statement)
        got, want = _ordered(left, right)
        return Assertion("compare" if operator == "!=" else "other", node, got, want, statement)
    if operator in (">", ">=") and left is not None and (near := _difference(left)):
        return Assertion("near", node, *near, statement)
    inner = node.child_by_field_name("operand") if operator == "!" else None
    if inner is not None and (arguments := _arguments(inner, b"reflect.DeepEqual")):
        return Assertion("compare", node, *_ordered(*arguments[:2]), statement)
    is_flag = (inner or node).type in ("identifier", "call_expression", "selector_expression")
    return Assertion("flag" if is_flag else "other", node, inner or node, None, statement)


def _of_testify(call: tree_sitter.Node) -> Iterator[Assertion]:
    function = call.child_by_field_name("function")
    owner, _, name = text_of(function).partition(".")
    if owner not in ("assert", "require") or name not in _TESTIFY:
        return
    arguments = _arguments(call, (function.text or b"") if function is not None else b"")
    kind: Kind = "compare" if _TESTIFY[name] == "compare" else "flag"
    if kind == "compare" and len(arguments) >= 3:
        yield Assertion(kind, call, arguments[2], arguments[1], None, is_testify=True)
    elif kind == "flag" and len(arguments) >= 2:
        kind = "flag" if _TESTIFY[name] == "flag" else "nil"
        yield Assertion(kind, call, arguments[1], None, None, is_testify=True)


def _ordered(
    left: tree_sitter.Node, right: tree_sitter.Node
) -> tuple[tree_sitter.Node, tree_sitter.Node]:
    """Return what was computed, and what is expected."""
    is_swapped = is_literal(left) or bool(_WANTED.search(text_of(left)))
    return (right, left) if is_swapped and not is_literal(right) else (left, right)


def _difference(node: tree_sitter.Node) -> tuple[tree_sitter.Node, tree_sitter.Node] | None:
    """Return both sides of a difference in `math.Abs`."""
    inner = next(iter(_arguments(node, b"math.Abs")), None)
    if inner is None or _operator(inner) != "-":
        return None
    left, right = (inner.child_by_field_name(side) for side in ("left", "right"))
    return _ordered(left, right) if left is not None and right is not None else None


def _arguments(call: tree_sitter.Node, name: bytes) -> list[tree_sitter.Node]:
    """Return the arguments of a call of a function with a name, empty for other nodes."""
    function = call.child_by_field_name("function") if call.type == "call_expression" else None
    arguments = call.child_by_field_name("arguments")
    if function is None or function.text != name or arguments is None:
        return []
    return [each for each in arguments.named_children if each.type != "comment"]


def _operator(node: tree_sitter.Node) -> str:
    return text_of(node.child_by_field_name("operator"))


def is_literal(node: tree_sitter.Node) -> bool:
    """Whether a node is a literal, or a negative one."""
    operand = node.child_by_field_name("operand")
    if node.type == "unary_expression" and operand is not None:
        return _operator(node) == "-" and is_literal(operand)
    return node.type in _LITERALS


def expected_literal(want: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the literal of an expected value: itself, or that with which its name is declared.

    Of a conversion such as `int64(3)` it is the argument.
    """
    value = _declared(want) if want.type == "identifier" else want
    if value is not None and is_conversion(value):
        value = _arguments(value, text_of(value.child_by_field_name("function")).encode())[0]
    return value if value is not None and is_literal(value) else None


def is_conversion(node: tree_sitter.Node) -> bool:
    """Whether a node converts to a basic type, such as `int64(3)`."""
    return node.type == "call_expression" and bool(_CONVERSION.fullmatch(text_of(node)))


def expected_rows(want: tree_sitter.Node) -> list[tuple[tree_sitter.Node, tree_sitter.Node | None]]:
    """Return the rows of the table whose field is expected, and their literals of this field.

    A row has None if it leaves the field out. The result is empty if there is no such table.
    """
    owner, field = (want.child_by_field_name(each) for each in ("operand", "field"))
    table = _table(owner) if owner is not None and want.type == "selector_expression" else None
    body = table.child_by_field_name("body") if table is not None else None
    if table is None or body is None:
        return []
    fields = _fields(table)
    rows = []
    for element in body.named_children:
        row = element.named_children[0] if element.type == "literal_element" else None
        if row is not None and row.type == "composite_literal":
            row = row.child_by_field_name("body")
        if row is None or row.type != "literal_value":
            return []
        rows.append((row, _value_in(row, text_of(field), fields)))
    return rows


def _table(row: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the slice over which a loop goes, by the variable of the loop."""
    loop = row.parent
    while loop is not None:
        clause = next((each for each in loop.children if each.type == "range_clause"), None)
        names = text_of(clause.child_by_field_name("left")) if clause is not None else ""
        if clause is not None and names.split(", ")[-1] == text_of(row):
            table = clause.child_by_field_name("right")
            if table is not None and table.type == "identifier":
                table = _declared(table)
            is_slice = table is not None and table.type == "composite_literal"
            kind = table.child_by_field_name("type") if table is not None and is_slice else None
            return table if kind is not None and kind.type in ("slice_type", "array_type") else None
        loop = loop.parent
    return None


def _fields(table: tree_sitter.Node) -> Sequence[str]:
    """Return the names of the fields of a table's rows, empty for a type with a name."""
    kind = table.child_by_field_name("type")
    names = []
    for node in nodes(kind) if kind is not None else ():
        if node.type == "field_declaration":
            names += [text_of(each) for each in node.children_by_field_name("name")]
    return names


def _value_in(row: tree_sitter.Node, field: str, fields: Sequence[str]) -> tree_sitter.Node | None:
    elements = [each for each in row.named_children if each.type != "comment"]
    for index, element in enumerate(elements):
        if element.type == "keyed_element":
            if text_of(element.child_by_field_name("key")) == field:
                value = element.child_by_field_name("value")
                return value.named_children[0] if value is not None else None
        elif index < len(fields) and fields[index] == field:
            return element.named_children[0]
    return None


def _declared(name: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the value with which the last declaration before a name initializes it."""
    root = name
    while root.parent is not None:
        root = root.parent
    value = None
    for node in nodes(root):
        if node.start_byte >= name.start_byte:
            break
        if node.type == "short_var_declaration":
            left, right = (node.child_by_field_name(side) for side in ("left", "right"))
            names = left.named_children if left is not None else []
            values = right.named_children if right is not None else []
        elif node.type in ("var_spec", "const_spec"):
            names = node.children_by_field_name("name")
            list_of_values = node.child_by_field_name("value")
            values = list_of_values.named_children if list_of_values is not None else []
        else:
            continue
        for each, own in zip(names, values, strict=False):
            value = own if each.text == name.text and len(names) == len(values) else value
    return value
