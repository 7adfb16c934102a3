"""The structs and enums that a Rust file defines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import tree_sitter

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Type:
    """A type. `name` is its last part, `&` or `&mut`, `[]`, `(,)`, or `()`; empty if not known."""

    name: str
    arguments: tuple[Type, ...] = ()
    length: int | None = None
    """The length of an array."""
    is_inferred: bool = False
    """Whether it was chosen for a type parameter of a function."""

    @property
    def plain(self) -> Type:
        """The type without references."""
        return self.arguments[0].plain if self.name in ("&", "&mut") else self


UNKNOWN = Type("")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct or of a variant of an enum."""

    name: str
    """Empty in a tuple."""
    type: Type
    is_public: bool


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of an enum, or the fields of a struct."""

    name: str
    kind: Literal["unit", "tuple", "struct"]
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """A struct or an enum."""

    name: str
    derived: frozenset[str]
    variants: tuple[Variant, ...]
    is_enum: bool
    parameters: tuple[str, ...]
    """The names of its type parameters."""

    @property
    def is_comparable(self) -> bool:
        """Whether its values can be printed and compared."""
        return {"Debug", "PartialEq"} <= self.derived

    def chosen(self, type_: Type) -> dict[str, Type]:
        """Return the arguments of a type of this definition by the names of the parameters."""
        return dict(zip(self.parameters, type_.arguments, strict=False))


ReadType = Callable[[tree_sitter.Node, Mapping[str, Type], str], Type]
"""Function that returns the type of a node, with types of parameters, and the type `Self`."""


def definition_of(node: tree_sitter.Node, read: ReadType) -> Definition:
    """Return the definition in a node of a struct or enum."""
    name, body = text_of(node.child_by_field_name("name")), node.child_by_field_name("body")
    type_parameters = node.child_by_field_name("type_parameters")
    parameters = tuple(
        text_of(each.child_by_field_name("name"))
        for each in (type_parameters.named_children if type_parameters is not None else ())
        if each.type == "type_parameter"
    )
    chosen = {each: Type(each) for each in parameters}

    def read_own(each: tree_sitter.Node) -> Type:
        return read(each, chosen, name)

    is_enum = node.type == "enum_item"
    if is_enum:
        inner = body.named_children if body is not None else ()
        variants = tuple(
            _variant(each, read_own, is_public=True)
            for each in inner
            if each.type == "enum_variant"
        )
    else:
        variants = (_variant(node, read_own, is_public=False),)
    return Definition(name, frozenset(_derived(node)), variants, is_enum, parameters)


def with_arguments(type_: Type, chosen: Mapping[str, Type]) -> Type:
    """Return the type of a field of a generic struct whose parameters have these types."""
    if type_.name in chosen:
        return chosen[type_.name]
    return replace(type_, arguments=tuple(with_arguments(e, chosen) for e in type_.arguments))


def text_of(node: tree_sitter.Node | None) -> str:
    """Return the text of a node, empty if there is none."""
    if node is None or node.text is None:
        return ""
    return node.text.decode("utf-8", "replace")


def is_public(node: tree_sitter.Node) -> bool:
    """Whether an item has `pub`, perhaps only for its crate."""
    return any(each.type == "visibility_modifier" for each in node.children)


def _variant(
    node: tree_sitter.Node, read: Callable[[tree_sitter.Node], Type], *, is_public: bool
) -> Variant:
    name, body = text_of(node.child_by_field_name("name")), node.child_by_field_name("body")
    if body is None:
        return Variant(name, "unit")
    if body.type == "field_declaration_list":
        fields = list(_named_fields(body.named_children, read))
    else:
        fields = list(_fields_of_tuple(body.named_children, read))
    kind: Literal["tuple", "struct"] = (
        "struct" if body.type == "field_declaration_list" else "tuple"
    )
    return Variant(
        name, kind, tuple(replace(each, is_public=is_public or each.is_public) for each in fields)
    )


def _named_fields(
    inner: Sequence[tree_sitter.Node], read: Callable[[tree_sitter.Node], Type]
) -> Iterator[Field]:
    for node in inner:
        type_ = node.child_by_field_name("type")
        if node.type == "field_declaration" and type_ is not None:
            name = text_of(node.child_by_field_name("name"))
            yield Field(name, read(type_), is_public(node))


def _fields_of_tuple(
    inner: Sequence[tree_sitter.Node], read: Callable[[tree_sitter.Node], Type]
) -> Iterator[Field]:
    is_visible = False
    for node in inner:
        if node.type == "visibility_modifier":
            is_visible = True
        elif node.type != "attribute_item" and not node.type.endswith("comment"):
            yield Field("", read(node), is_visible)
            is_visible = False


def _derived(node: tree_sitter.Node) -> Iterator[str]:
    """Yield the traits that are derived for an item."""
    previous = node.prev_named_sibling
    while previous is not None and (
        previous.type == "attribute_item" or previous.type.endswith("comment")
    ):
        if text_of(previous).startswith("#[derive"):
            yield from _WORD.findall(text_of(previous))
        previous = previous.prev_named_sibling
