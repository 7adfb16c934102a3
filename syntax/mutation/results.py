"""Mutations of returned values, which a compiler must accept."""

from __future__ import annotations

import re
from collections.abc import Iterator

import tree_sitter

from syntax.definitions import is_comment
from syntax.mutation.numbers import is_number_type, text_of
from syntax.mutation.tables import BOOLEANS, CALLS, EQUALITIES, NOTHING, NUMBERS, TEXTS
from syntax.walk import nodes

_ADDED = frozenset({"int", "long", "float", "double"})
"""Types of numbers in Java to which 1 can be added without a cast."""
_OPTION = re.compile(r"Option\s*<.*>", re.DOTALL)
_VECTOR = re.compile(r"Vec\s*<.*>", re.DOTALL)
_REFERENCE_TO_TEXT = re.compile(r"&\s*(?:'\w+\s+)?str")
_SLICES = CALLS | {"identifier", "slice_expression"}
"""Expressions of Go of which a part can be taken without parentheses."""
_STOPS = frozenset({"panic", "todo", "unimplemented", "unreachable"})

Change = tuple[str, str]
"""The new text of an expression, and what happened to it."""


def is_equality(node: tree_sitter.Node) -> bool:
    """Whether a node is one comparison whose mutation is the same as its negation."""
    if node.type == "comparison_operator":
        operators = [child.type for child in node.children if not child.is_named]
        return len(operators) == 1 and operators[0] in EQUALITIES
    operator = node.child_by_field_name("operator")
    return operator is not None and operator.type in EQUALITIES and not operator.type.isalpha()


def result_types(function: tree_sitter.Node) -> tuple[str, ...]:
    """Return the types of the results of a function in Go, Rust or Java; nothing if unknown."""
    result = function.child_by_field_name("result")
    if result is not None and result.type == "parameter_list":
        types: list[str] = []
        for parameter in result.named_children:
            names = parameter.children_by_field_name("name")
            types += [text_of(parameter.child_by_field_name("type"))] * max(1, len(names))
        return tuple(types)
    result = result or function.child_by_field_name("return_type")
    if result is None and function.type == "method_declaration":
        result = function.child_by_field_name("type")
    return () if result is None else (text_of(result),)


def returned(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Yield the expressions that a statement returns."""
    for child in node.named_children:
        if child.type == "expression_list":
            yield from (each for each in child.named_children if not is_comment(each))
        elif not is_comment(child):
            yield child


def compiled_result(
    node: tree_sitter.Node, kind: str, grammar: str, *, checked: str, is_in_try: bool
) -> Change | None:
    """Return a mutation of a result of a type that is not Boolean, None if there is none.

    `checked` is the condition under which it is returned.
    """
    if grammar == "go":
        return _go_result(node, kind, checked)
    if grammar == "java":
        return _java_result(node, kind, is_in_try)
    return _rust_result(node, kind)


def _go_result(node: tree_sitter.Node, kind: str, checked: str) -> Change | None:
    """Return a mutation of a result in Go, in which all variables stay in use."""
    text = text_of(node)
    if kind == "error" and node.type == "identifier" and re.search(rf"\b{text}\b", checked):
        return "nil", "returned error became nil"
    if node.type in NUMBERS | TEXTS | BOOLEANS | NOTHING or text.startswith("math."):
        return None
    if is_number_type(kind) and not _is_signed_number(node):
        return f"({text}) + 1", "return value became larger by 1"
    if kind == "string":
        return f'({text}) + "x"', "return value became longer by x"
    if kind.startswith("[]") and node.type in _SLICES:
        return f"{text}[:0]", "return value became empty"
    return None


def _java_result(node: tree_sitter.Node, kind: str, is_in_try: bool) -> Change | None:
    """Return a mutation of a result in Java.

    In a `try`, calls stay, since a compiler refuses to catch what nothing throws.
    """
    if node.type in NUMBERS | BOOLEANS | NOTHING or kind == "boolean" or _is_signed_number(node):
        return None
    if kind in _ADDED:
        return f"({text_of(node)}) + 1", "return value became larger by 1"
    if kind in {"", "void", "byte", "short", "char"} or (is_in_try and _has_call(node)):
        return None
    return "null", "return value became null"


def _rust_result(node: tree_sitter.Node, kind: str) -> Change | None:
    """Return a mutation of a result in Rust.

    The old value stays in the code, because types are inferred from it.
    """
    macro = text_of(node.child_by_field_name("macro"))
    if node.type in NUMBERS | BOOLEANS or macro in _STOPS or _is_signed_number(node):
        return None
    text = text_of(node)
    if is_number_type(kind) and not kind.startswith("&"):
        step = "1.0" if kind in {"f32", "f64"} else "1"
        changed = f"{{ let value: {kind} = {text}; value + {step} }}"
        return changed, "return value became larger by 1"
    new = ""
    if kind == "String":
        new = "String::new()"
    elif _REFERENCE_TO_TEXT.fullmatch(kind) and node.type not in TEXTS:
        new = '""'
    elif _OPTION.fullmatch(kind):
        new = "None"
    elif _VECTOR.fullmatch(kind):
        new = "Vec::new()"
    if not new or text == new:
        return None
    return f"{{ let _: {kind} = {text}; {new} }}", f"return value became {new}"


def _is_signed_number(node: tree_sitter.Node) -> bool:
    is_unary = node.type == "unary_expression" and node.named_child_count == 1
    return is_unary and node.named_children[0].type in NUMBERS


def _has_call(node: tree_sitter.Node) -> bool:
    return any(each.type in CALLS | {"object_creation_expression"} for each in nodes(node))
