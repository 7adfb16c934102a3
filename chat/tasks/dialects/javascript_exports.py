"""How a JavaScript or TypeScript module exports a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import tree_sitter

from syntax.grammars import parse

Form = Literal["named", "default", "in default", "whole module", "in whole module"]
"""`in default` and `in whole module` are properties of an exported object. `whole module` is
`export =` of TypeScript."""


@dataclass(frozen=True, slots=True)
class Export:
    """An export of one name."""

    form: Form
    name: str
    """The name by which other modules import it; empty without a name."""
    is_commonjs: bool = False
    """Whether it is an assignment to `exports` or `module.exports`."""


def find_export(text: str, language: str, name: str) -> Export | None:
    """Return how a module exports a name that it defines, None if it does not.

    A named export comes before others, because most importers use it.
    """
    root = parse(text, language)
    if root is None:
        return None
    exports = [export for node in root.named_children for export in _exports(node, name)]
    return min(exports, key=lambda export: export.form != "named", default=None)


def has_module_syntax(text: str, language: str) -> bool:
    """Whether a module has a top-level `import` or `export` statement."""
    root = parse(text, language)
    nodes = root.named_children if root is not None else []
    return any(node.type in ("import_statement", "export_statement") for node in nodes)


def _exports(node: tree_sitter.Node, name: str) -> Iterator[Export]:
    if node.type == "export_statement":
        yield from _exports_of_statement(node, name)
    elif node.type == "expression_statement" and node.named_children:
        yield from _exports_of_expression(node.named_children[0], name)


def _exports_of_statement(node: tree_sitter.Node, name: str) -> Iterator[Export]:
    if node.child_by_field_name("source") is not None:
        return  # it exports names of another module
    kinds = {child.type for child in node.children}
    value = node.child_by_field_name("value")
    declaration = node.child_by_field_name("declaration")
    if "default" in kinds:
        yield from _exports_of_value(value or declaration, name, "default", "in default")
        if value is not None and _is_wrapper(value, name):
            yield Export("default", "")
    elif "=" in kinds:
        value = node.named_children[-1]
        yield from _exports_of_value(value, name, "whole module", "in whole module")
    elif declaration is not None and name in _declared_names(declaration):
        yield Export("named", name)
    for clause in node.named_children:
        if clause.type == "export_clause":
            yield from _exports_of_clause(clause, name)


def _exports_of_clause(clause: tree_sitter.Node, name: str) -> Iterator[Export]:
    for specifier in clause.named_children:
        alias = _text(specifier.child_by_field_name("alias"))
        if _text(specifier.child_by_field_name("name")) == name:
            exported = alias or name
            is_default = exported == "default"
            yield Export("default" if is_default else "named", "" if is_default else exported)


def _exports_of_expression(node: tree_sitter.Node, name: str) -> Iterator[Export]:
    """Yield the exports of an assignment to `module.exports` or to one of its properties."""
    targets: list[str] = []
    value: tree_sitter.Node | None = node
    while value is not None and value.type == "assignment_expression":
        targets.append("".join(_text(value.child_by_field_name("left")).split()))
        value = value.child_by_field_name("right")
    for target in targets:
        outer, _, inner = target.rpartition(".")
        if target == "module.exports":
            for export in _exports_of_value(value, name, "whole module", "in whole module"):
                is_property = export.form == "in whole module"
                yield Export("named" if is_property else "whole module", export.name, True)
        elif outer in ("exports", "module.exports") and _defines(value, name):
            yield Export("named", inner, True)


def _exports_of_value(
    value: tree_sitter.Node | None, name: str, form: Form, form_of_property: Form
) -> Iterator[Export]:
    if value is not None and _defines(value, name):
        yield Export(form, "")
    elif value is not None and value.type == "object":
        for member in value.named_children:
            key = member.child_by_field_name("key") or member.child_by_field_name("name")
            is_short = member.type == "shorthand_property_identifier" and _text(member) == name
            if is_short or (member.type == "method_definition" and _text(key) == name):
                yield Export(form_of_property, name)
            elif member.type == "pair" and _defines(member.child_by_field_name("value"), name):
                yield Export(form_of_property, _text(key).strip("\"'"))


def _defines(value: tree_sitter.Node | None, name: str) -> bool:
    """Whether an expression is a name, or a function or class of this name."""
    if value is None:
        return False
    return name == _text(value if value.type == "identifier" else value.child_by_field_name("name"))


def _is_wrapper(value: tree_sitter.Node, name: str) -> bool:
    """Whether an expression is a call with the name as an argument, such as React's `memo(A)`."""
    arguments = value.child_by_field_name("arguments")
    return arguments is not None and any(_text(each) == name for each in arguments.named_children)


def _declared_names(declaration: tree_sitter.Node) -> set[str]:
    names = {_text(declaration.child_by_field_name("name"))}
    for child in declaration.named_children:
        if child.type == "variable_declarator":
            names.add(_text(child.child_by_field_name("name")))
    return names - {""}


def _text(node: tree_sitter.Node | None) -> str:
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""
