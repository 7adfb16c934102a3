"""Values of TypeScript's types: those that a file declares, unions, arrays, functions, dates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import tree_sitter

from chat.tasks.checking.javascript.calls import text_of
from chat.tasks.checking.javascript.literals import Code, literal
from syntax.walk import nodes

_Values = tuple[object, ...]

_MAX_DEPTH = 8
_MAX_VARIANTS = 3
_MAX_PROPERTIES = 8
_LITERALS = frozenset({"string", "number", "true", "false", "null"})
_DATES = (
    Code('new Date("2024-02-29T12:30:00Z")', "a date"),
    Code('new Date("2023-12-31T00:00:00Z")', "another date"),
)


class DeclaredTypes:
    """The types that one file declares."""

    def __init__(self, root: tree_sitter.Node, plain: Callable[[str], _Values]) -> None:
        """`plain` returns values of a type that needs no declaration, none if it is not one."""
        self._plain = plain
        self._declared = dict(_declarations(root))
        self._open: set[str] = set()
        """The names of the types whose values are being made. A type in itself has no value."""

    def values(self, node: tree_sitter.Node | None, depth: int = 0) -> _Values:
        """Return values of the type that a node of the syntax tree writes, none if unknown."""
        if node is None or depth > _MAX_DEPTH:
            return ()
        if node.type in ("type_annotation", "parenthesized_type", "readonly_type"):
            return self.values(_last(node), depth)
        if values := self._plain(" ".join(text_of(node).split())):
            return values
        if node.type == "union_type":
            return tuple(self._union(node, depth))
        if node.type == "literal_type":
            return tuple(_literals(node))
        if node.type in ("object_type", "interface_body"):
            return self._objects(node, depth)
        if node.type == "array_type":
            return _lists(self.values(node.named_children[0], depth + 1))
        if node.type == "tuple_type":
            places = [self.values(each, depth + 1) for each in node.named_children]
            return tuple(_variants(places))
        if node.type == "function_type":
            return self._functions(node, depth)
        if node.type in ("type_identifier", "generic_type"):
            return self._named(node, depth)
        return ()

    def _named(self, node: tree_sitter.Node, depth: int) -> _Values:
        name = text_of(node.child_by_field_name("name") or node)
        inner = next((each for each in node.named_children if each.type == "type_arguments"), None)
        arguments = inner.named_children if inner is not None else []
        if name in self._declared and name not in self._open:
            self._open.add(name)
            values = self.values(self._declared[name], depth + 1)
            self._open.discard(name)
            return values
        if name in ("Array", "ReadonlyArray", "Iterable") and arguments:
            return _lists(self.values(arguments[0], depth + 1))
        if name in ("Readonly", "Partial", "Required") and arguments:
            return self.values(arguments[0], depth)
        if name == "Date":
            return _DATES
        samples = [self.values(each, depth + 1) for each in arguments]
        if name == "Promise" and samples:
            texts = map(literal, samples[0])
            return tuple(Code(f"Promise.resolve({each})", "a promise") for each in texts)
        if name in ("Set", "ReadonlySet") and samples:
            return tuple(Code(f"new Set({literal(each)})", "a set") for each in _lists(samples[0]))
        if name in ("Map", "ReadonlyMap") and len(samples) == 2 and all(samples):
            pairs = [[key, samples[1][0]] for key in samples[0][:2]]
            return tuple(Code(f"new Map({literal(each)})", "a map") for each in (pairs, []))
        return ()

    def _union(self, node: tree_sitter.Node, depth: int) -> Iterator[object]:
        for each in node.named_children:
            yield from self.values(each, depth)[:_MAX_VARIANTS]

    def _objects(self, node: tree_sitter.Node, depth: int) -> _Values:
        """Return objects with all required properties; none if one has no values."""
        samples: dict[str, _Values] = {}
        for each in node.named_children:
            if each.type == "comment":
                continue
            name = text_of(each.child_by_field_name("name"))
            if each.type != "property_signature" or not re.fullmatch(r"[A-Za-z_$][\w$]*", name):
                return ()
            if any(child.type == "?" for child in each.children):
                continue
            samples[name] = self.values(each.child_by_field_name("type"), depth + 1)
        if len(samples) > _MAX_PROPERTIES:
            return ()
        rows = _variants(list(samples.values()))
        return tuple(dict(zip(samples, row, strict=True)) for row in rows)

    def _functions(self, node: tree_sitter.Node, depth: int) -> _Values:
        result = node.child_by_field_name("return_type")
        text = text_of(result)
        if match := re.fullmatch(r"Promise<(.*)>", text, re.S):
            values = self._plain(match[1]) or self._inner(result, depth)
            start = "async () => "
        else:
            values, start = self._plain(text) or self.values(result, depth + 1), "() => "
        if re.fullmatch(r"void|undefined|Promise<(?:void|undefined)>", text):
            return (Code(f"{start}{{}}"),)
        return tuple(Code(f"{start}{_expression(value)}") for value in values[:2])

    def _inner(self, node: tree_sitter.Node | None, depth: int) -> _Values:
        """Return values of the type argument of a generic type."""
        inner = [each for each in nodes(node) if each.type == "type_arguments"] if node else []
        return self.values(_last(inner[0]), depth + 1) if inner else ()


def _declarations(root: tree_sitter.Node) -> Iterator[tuple[str, tree_sitter.Node]]:
    """Yield the names of types and what they mean. Types with parameters are left out."""
    for node in nodes(root):
        if node.child_by_field_name("type_parameters") is not None:
            continue
        name = text_of(node.child_by_field_name("name"))
        if node.type == "type_alias_declaration" and (value := node.child_by_field_name("value")):
            yield name, value
        extends = any(each.type == "extends_type_clause" for each in node.children)
        body = node.child_by_field_name("body")
        if node.type == "interface_declaration" and body is not None and not extends:
            yield name, body


def _literals(node: tree_sitter.Node) -> Iterator[object]:
    for each in node.named_children:
        if each.type in _LITERALS:
            yield Code(text_of(each), re.sub(r"\W+", " ", text_of(each)).strip() or "nothing")


def _lists(values: _Values) -> _Values:
    """Return lists of values: several, none, and a single one; nothing if there are no values."""
    if not values:
        return ()
    indices = (1, 0) if isinstance(values[0], dict) else (1, 0, 2)  # objects are long
    return ([values[i % len(values)] for i in indices], [], [values[0]])


def _variants(samples: Sequence[_Values]) -> list[list[object]]:
    """Return rows with a value of each place; none if one place has no values."""
    if not all(samples):
        return []
    count = max((len(values) for values in samples), default=1)
    return [
        [values[i % len(values)] for values in samples] for i in range(min(count, _MAX_VARIANTS))
    ]


def _expression(value: object) -> str:
    """Return a value as the body of an arrow function."""
    return f"({literal(value)})" if isinstance(value, dict) else literal(value)


def _last(node: tree_sitter.Node) -> tree_sitter.Node | None:
    return node.named_children[-1] if node.named_children else None
