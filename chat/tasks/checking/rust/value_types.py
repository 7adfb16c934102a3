"""Types in Rust code, and which of them tests can print and compare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import tree_sitter

from chat.tasks.checking.rust.definitions import (
    UNKNOWN,
    Definition,
    Type,
    definition_of,
    text_of,
)
from syntax.walk import nodes

SIGNED = ("i32", "i8", "i16", "i64", "i128", "isize")
UNSIGNED = ("usize", "u8", "u16", "u32", "u64", "u128")
INTEGERS = frozenset(SIGNED + UNSIGNED)
FLOATS = frozenset({"f32", "f64"})
TEXTS = frozenset({"str", "String"})
LISTS = frozenset({"Vec", "[]", "VecDeque"})
SETS = frozenset({"HashSet", "BTreeSet"})
MAPS = frozenset({"HashMap", "BTreeMap"})
COLLECTIONS = LISTS | SETS | MAPS
WRAPPERS = frozenset({"Option", "Result"})
TEXT = Type("str")
_SIMPLE = INTEGERS | FLOATS | TEXTS | {"bool", "char", "()", "Ordering"}
"""Types without arguments that can be printed and compared."""
_OUTER = COLLECTIONS | WRAPPERS | {"Box", "&", "&mut", "(,)"}
"""Types that can be printed and compared if their arguments can."""
_ERRORS = frozenset({"ParseIntError", "ParseFloatError", "ParseBoolError", "Utf8Error"})
"""Errors of the standard library that can be compared, but not written."""
_TEXT_TRAITS = re.compile(r"(?:AsRef<str>|Into<String>|ToString|(?:\w+::)*Display)$")
_MAX_BYTES = 200
"""Maximum length of a type, which limits how deep it is."""
_NAMES = ("primitive_type", "type_identifier", "scoped_type_identifier")


class Scope:
    """The types of one file."""

    def __init__(self, root: tree_sitter.Node) -> None:
        items = list(nodes(root, lambda node: node.type != "function_item"))
        self._aliases = dict(_aliases(items))
        definitions = (
            definition_of(node, self.type_of)
            for node in items
            if node.type in ("struct_item", "enum_item")
        )
        self.definitions: dict[str, Definition] = {each.name: each for each in definitions}
        self._implemented = frozenset(_implemented(items))

    def type_of(
        self, node: tree_sitter.Node | None, chosen: Mapping[str, Type], own: str = ""
    ) -> Type:
        """Return the type that a node names.

        `chosen` are types for type parameters, and `own` is what `Self` means.
        """
        if node is None or node.end_byte - node.start_byte > _MAX_BYTES:
            return UNKNOWN
        if node.type == "unit_type":
            return Type("()")
        if node.type == "reference_type":
            is_mutable = any(each.type == "mutable_specifier" for each in node.children)
            inner = self.type_of(node.child_by_field_name("type"), chosen, own)
            return Type("&mut" if is_mutable else "&", (inner,))
        if node.type == "array_type":
            length = text_of(node.child_by_field_name("length"))
            element = self.type_of(node.child_by_field_name("element"), chosen, own)
            if length and not length.isdecimal():
                return UNKNOWN
            return Type("[]", (element,), int(length) if length else None)
        if node.type == "tuple_type":
            return Type("(,)", tuple(self.type_of(e, chosen, own) for e in node.named_children))
        if node.type in ("abstract_type", "dynamic_type", "function_type"):
            return self._of_trait(node, chosen, own)
        return self._named(node, chosen, own)

    def is_comparable(self, type_: Type) -> bool:
        """Whether values of a type can be printed and compared; types of other files are not."""
        if type_.name in _SIMPLE or type_.name in _ERRORS:
            return True
        definition = self.definitions.get(type_.name)
        is_outer = type_.name in _OUTER if definition is None else definition.is_comparable
        return is_outer and all(map(self.is_comparable, type_.arguments))

    def is_printable(self, type_: Type) -> bool:
        """Whether values of a type can be printed: this is assumed for types of other files."""
        definition = self.definitions.get(type_.name)
        if definition is not None and not self.implements(definition, "Debug"):
            return False
        return all(map(self.is_printable, type_.arguments))

    def implements(self, definition: Definition, trait: str) -> bool:
        """Whether a type derives or implements a trait."""
        return trait in definition.derived or (trait, definition.name) in self._implemented

    def _of_trait(self, node: tree_sitter.Node, chosen: Mapping[str, Type], own: str) -> Type:
        trait = node if node.type == "function_type" else node.child_by_field_name("trait")
        if trait is None or trait.type != "function_type":
            return TEXT if _TEXT_TRAITS.search(text_of(node)) else UNKNOWN
        inner = trait.child_by_field_name("parameters")
        parts = [*(inner.named_children if inner is not None else ())]
        parts += [each] if (each := trait.child_by_field_name("return_type")) is not None else []
        return Type("Fn", tuple(self.type_of(each, chosen, own) for each in parts))

    def _named(self, node: tree_sitter.Node, chosen: Mapping[str, Type], own: str) -> Type:
        arguments: tuple[Type, ...] = ()
        outer: tree_sitter.Node | None = node
        if node.type == "generic_type":
            own_arguments = node.child_by_field_name("type_arguments")
            inner = own_arguments.named_children if own_arguments is not None else ()
            arguments = tuple(
                self.type_of(each, chosen, own) for each in inner if each.type != "lifetime"
            )
            outer = node.child_by_field_name("type")
        if outer is None or outer.type not in _NAMES:
            return UNKNOWN
        name = text_of(outer).rpartition("::")[2]
        if name == "Self" and own:
            parameters = self.definitions[own].parameters if own in self.definitions else ()
            return Type(own, tuple(chosen.get(each, UNKNOWN) for each in parameters))
        if name in chosen:
            return chosen[name]
        if name in self._aliases and not arguments:
            target = self._aliases.pop(name)  # it may refer to itself
            type_ = self.type_of(target, {}, own)
            self._aliases[name] = target
            return type_
        if name == "Cow":
            return arguments[0] if arguments else UNKNOWN
        if name == "Result" and len(arguments) == 1:
            arguments = (*arguments, UNKNOWN)  # an alias such as `io::Result`
        return Type(name, arguments)


def _aliases(items: list[tree_sitter.Node]) -> Iterator[tuple[str, tree_sitter.Node]]:
    for node in items:
        target = node.child_by_field_name("type") if node.type == "type_item" else None
        if target is not None and node.child_by_field_name("type_parameters") is None:
            yield text_of(node.child_by_field_name("name")), target


def _implemented(items: list[tree_sitter.Node]) -> Iterator[tuple[str, str]]:
    """Yield the implemented traits, each with its type."""
    for node in items:
        trait = node.child_by_field_name("trait") if node.type == "impl_item" else None
        if trait is not None:
            type_ = text_of(node.child_by_field_name("type"))
            yield text_of(trait).rpartition("::")[2], type_.partition("<")[0]
