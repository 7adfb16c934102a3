"""Which expressions are numbers, for languages whose compilers refuse to subtract anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import tree_sitter

from syntax.mutation.tables import BINARY, CALLS, NUMBERS
from syntax.walk import nodes

_NUMBER_TYPE = re.compile(
    r"&?\s*(?:u?int(?:8|16|32|64)?|float(?:32|64)|[iu](?:8|16|32|64|128|size)|f32|f64"
    r"|byte|short|long|float|double|rune)"
)
_NUMBER_CALL = re.compile(
    r"(?:.*\.)?(?:len|cap|count|length|size|abs|pow|int(?:32|64)?|uint(?:32|64)?|float(?:32|64)"
    r"|Math\.\w+)",
    re.DOTALL,
)
_SCOPES = frozenset(
    {
        "struct_item",
        "field_declaration_list",
        "field_declaration",
        "type_declaration",
        "type_spec",
        "struct_type",
    }
)
"""Nodes outside of the mutated range whose declarations count."""
_FIELDS_WITH_NAMES = ("name", "pattern", "declarator")
_MAX_BYTES = 200
"""Maximum bytes of a text that is compared with others."""
_MAX_DEPTH = 20
"""Maximum depth of an expression that is looked at."""


def is_number_type(text: str) -> bool:
    """Whether a type of Go, Rust or Java is one of numbers."""
    return _NUMBER_TYPE.fullmatch(text) is not None


def text_of(node: tree_sitter.Node | None) -> str:
    """Return the text of a node."""
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def short_text_of(node: tree_sitter.Node | None) -> str:
    """Return the text of a node, nothing if it is long."""
    is_long = node is not None and node.end_byte - node.start_byte > _MAX_BYTES
    return "" if is_long else text_of(node)


class Numbers:
    """The names that are always declared as numbers in a part of a file."""

    def __init__(self) -> None:
        self._numbers: set[str] = set()
        self._others: set[str] = set()
        self._declared_others: set[str] = set()
        """Those of the others whose type is in the text."""

    def read(self, root: tree_sitter.Node, start: int, end: int) -> None:
        """Read the declarations between two offsets in bytes, and the fields of all types."""

        def enters(node: tree_sitter.Node) -> bool:
            is_inside = node.start_byte < end and start < node.end_byte
            return is_inside or node.type in _SCOPES

        for node in nodes(root, enters):
            for name, is_number in self._declared(node):
                (self._numbers if is_number else self._others).add(name)
                if not is_number and node.child_by_field_name("type") is not None:
                    self._declared_others.add(name)

    def excludes(self, node: tree_sitter.Node) -> bool:
        """Whether an expression is a name that is declared as something that is no number."""
        return short_text_of(node.child_by_field_name("field") or node) in self._declared_others

    def has(self, node: tree_sitter.Node | None, depth: int = 0) -> bool:
        """Whether an expression is a number; False if it is not known."""
        if node is None or depth > _MAX_DEPTH:
            return False
        if node.type in NUMBERS:
            return True
        if node.type in BINARY:
            operator = text_of(node.child_by_field_name("operator"))
            return operator in {"-", "*", "/", "%"} or (
                operator == "+" and self.has(node.child_by_field_name("left"), depth + 1)
            )
        if node.type in CALLS:
            function = node.child_by_field_name("function") or node.child_by_field_name("name")
            return _NUMBER_CALL.fullmatch(short_text_of(function)) is not None
        if node.type == "type_cast_expression":
            return is_number_type(text_of(node.child_by_field_name("type")))
        if node.type in {"parenthesized_expression", "unary_expression", "expression_list"}:
            return node.named_child_count == 1 and self.has(node.named_children[0], depth + 1)
        name = node.child_by_field_name("field") or node
        return short_text_of(name) in self._numbers - self._others

    def _declared(self, node: tree_sitter.Node) -> Iterator[tuple[str, bool]]:
        """Yield the names that a node declares, and whether they are numbers."""
        kind = text_of(node.child_by_field_name("type"))
        value = node.child_by_field_name("value")
        if node.type == "short_var_declaration":
            yield from self._assigned(node)
        elif kind or node.type in {"let_declaration", "var_spec", "const_spec"}:
            is_number = is_number_type(kind) if kind else self.has(value)
            for field in _FIELDS_WITH_NAMES:
                for name in node.children_by_field_name(field):
                    inner = name.child_by_field_name("name") or name
                    yield text_of(inner), is_number

    def _assigned(self, node: tree_sitter.Node) -> Iterator[tuple[str, bool]]:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        names = left.named_children if left is not None else []
        values = right.named_children if right is not None else []
        for index, name in enumerate(names):
            yield text_of(name), len(names) == len(values) and self.has(values[index])
