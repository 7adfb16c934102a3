"""Modules in Rust code: where they are, which ones are for tests, and in which files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter

from syntax.grammars import parse

_CFG_TEST = re.compile(r"#\[\s*cfg\s*\(\s*(?:test|all\s*\(.*\btest\b.*\))\s*\)\s*\]", re.S)
_TEST = re.compile(r"#\[\s*(?:\w+\s*::\s*)*test\b")
_PATH = re.compile(r"#\[\s*path\s*=\s*\"([^\"]+)\"")


@dataclass(frozen=True, slots=True)
class Module:
    """A module in a file. Offsets are in code points."""

    name: str
    attributes: str
    """The attributes above the module."""
    start: int
    body_start: int | None
    """Offset after the opening brace and inner attributes; None if the module is another file."""
    body_end: int | None
    """Offset of the closing brace; None if the module is another file."""
    uses: str
    """The `use` declarations at the top level of the module."""

    @property
    def is_for_tests(self) -> bool:
        """Whether the module is compiled only for tests."""
        return _CFG_TEST.search(self.attributes) is not None

    @property
    def path(self) -> str:
        """The file that the attribute `path` names, empty without this attribute."""
        match = _PATH.search(self.attributes)
        return match[1] if match else ""


class RustFile:
    """The modules of one file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._encoded = text.encode("utf-8", "surrogatepass")
        self._root = parse(text, "rust")

    def module_around(self, offset: int) -> list[Module]:
        """Return the modules in this file around an offset, the outermost first."""
        chain: list[Module] = []
        node = self._root
        while node is not None:
            inner = next(
                (
                    (module, child)
                    for module, child in self._modules_in(node)
                    if module.body_start is not None
                    and module.body_end is not None
                    and module.start <= offset <= module.body_end
                ),
                None,
            )
            if inner is None:
                break
            chain.append(inner[0])
            node = inner[1].child_by_field_name("body")
        return chain

    def modules_of(self, scope: tuple[str, ...]) -> list[Module]:
        """Return the modules at the top level of a module, given by the names around it."""
        node = self._node_of(scope)
        return [module for module, _ in self._modules_in(node)] if node is not None else []

    def module(self, path: tuple[str, ...]) -> Module | None:
        """Return the module with a body that these names lead to, None if there is none."""
        modules = self.modules_of(path[:-1])
        named = (each for each in modules if each.name == path[-1] and each.body_end is not None)
        return next(named, None)

    def is_test_function(self, offset: int) -> bool:
        """Whether the function around an offset is a test."""
        position = len(self.text[:offset].encode("utf-8", "surrogatepass"))
        node = self._root.descendant_for_byte_range(position, position) if self._root else None
        while node is not None and node.type != "function_item":
            node = node.parent
        return node is not None and _TEST.search(_attributes(node)) is not None

    def end_of_head(self) -> int:
        """Return the offset after inner attributes and inner comments at the top of the file."""
        return self._end_of_head(self._root) if self._root is not None else 0

    def uses(self) -> str:
        """Return the `use` declarations at the top level of the file."""
        return _uses(self._root) if self._root is not None else ""

    def _node_of(self, scope: tuple[str, ...]) -> tree_sitter.Node | None:
        node = self._root
        for name in scope:
            bodies = (
                child.child_by_field_name("body")
                for module, child in (self._modules_in(node) if node is not None else ())
                if module.name == name
            )
            node = next((body for body in bodies if body is not None), None)
        return node

    def _modules_in(self, node: tree_sitter.Node) -> Iterator[tuple[Module, tree_sitter.Node]]:
        for child in node.named_children:
            if child.type != "mod_item":
                continue
            body = child.child_by_field_name("body")
            module = Module(
                name=_text(child.child_by_field_name("name")),
                attributes=_attributes(child),
                start=self._offset(child.start_byte),
                body_start=self._end_of_head(body) if body is not None else None,
                body_end=self._offset(body.end_byte - 1) if body is not None else None,
                uses=_uses(body) if body is not None else "",
            )
            yield module, child

    def _end_of_head(self, node: tree_sitter.Node) -> int:
        end = node.start_byte + 1 if node.type == "declaration_list" else 0
        for child in node.named_children:
            is_comment = child.type.endswith("comment") and _text(child)[:3] in ("//!", "/*!")
            if child.type != "inner_attribute_item" and not is_comment:
                break
            end = child.end_byte
        return self._offset(end)

    def _offset(self, position: int) -> int:
        return len(self._encoded[:position].decode("utf-8", "surrogatepass"))


def _attributes(node: tree_sitter.Node) -> str:
    lines: list[str] = []
    previous = node.prev_named_sibling
    while previous is not None and (
        previous.type == "attribute_item" or previous.type.endswith("comment")
    ):
        if previous.type == "attribute_item":
            lines.append(_text(previous))
        previous = previous.prev_named_sibling
    return "\n".join(reversed(lines))


def _uses(node: tree_sitter.Node) -> str:
    uses = (_text(child) for child in node.named_children if child.type == "use_declaration")
    return "\n".join(uses)


def _text(node: tree_sitter.Node | None) -> str:
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""
