"""The functions of a Rust file: their parameters, and those that create and change objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import tree_sitter

from chat.tasks.checking.rust.definitions import Type, is_public, text_of
from chat.tasks.checking.rust.samples import Samples
from chat.tasks.checking.rust.value_types import TEXT, WRAPPERS, Scope
from chat.tasks.checking.rust.values import Sample, diagonal, joined, path_of, snake_case
from syntax.walk import nodes

_MAX_CONSTRUCTED = 2
_MAX_CHANGES = 3
_REFUSED = re.compile(r"\b(?:async|unsafe|extern)\b")
_TEXT_BOUND = re.compile(r"AsRef<str>|Into<String>|ToString|Display")
_FLOAT_BOUND = re.compile(r"\bFloat\b|Into<f64>")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function."""

    name: str
    type: Type
    samples: tuple[Sample, ...]


class Functions:
    """The functions of one file."""

    def __init__(self, root: tree_sitter.Node, *, is_inside: bool) -> None:
        """`is_inside` says whether the tests see private items."""
        self.scope = Scope(root)
        self.samples = Samples(self.scope, self._constructed, is_inside=is_inside)
        self._root, self._is_inside = root, is_inside
        self._pending: set[str] = set()

    def parameters_of(
        self, function: tree_sitter.Node, chosen: Mapping[str, Type], own: str
    ) -> Iterator[Parameter]:
        """Yield the parameters without `self`; `own` is the name of the type around it."""
        inner = function.child_by_field_name("parameters")
        for node in inner.named_children if inner is not None else ():
            if node.type == "parameter":
                type_ = self.scope.type_of(node.child_by_field_name("type"), chosen, own)
                value = type_.arguments[0] if type_.name == "&mut" else type_
                pattern = node.child_by_field_name("pattern")
                is_name = pattern is not None and pattern.type == "identifier"
                name = text_of(pattern).lstrip("_") if is_name else ""
                yield Parameter(name or "value", type_, self.samples.of(value))

    def chosen_types(self, node: tree_sitter.Node | None) -> dict[str, Type]:
        """Return types for the type parameters of a function or of an `impl`."""
        inner = node.child_by_field_name("type_parameters") if node is not None else None
        chosen: dict[str, Type] = {}
        closures: dict[str, tree_sitter.Node] = {}
        for each in inner.named_children if inner is not None else ():
            name = text_of(each.child_by_field_name("name"))
            if each.type != "type_parameter" or node is None:
                continue
            bounds = [*_bounds(node, each, name)]
            code = " ".join(map(text_of, bounds))
            inside = (part for bound in bounds for part in nodes(bound))
            function = next((part for part in inside if part.type == "function_type"), None)
            if function is not None:
                closures[name] = function
            elif _TEXT_BOUND.search(code):
                chosen[name] = TEXT
            else:
                kind = "f64" if _FLOAT_BOUND.search(code) else "i32"
                chosen[name] = Type(kind, is_inferred=True)
        closure_types = {n: self.scope.type_of(each, chosen) for n, each in closures.items()}
        return chosen | closure_types

    def changes(self, type_: Type, name: str) -> Iterator[Sample]:
        """Yield calls of methods that change an object, without the method with a name."""
        for function in self._of(type_.name):
            own = self_parameter(function)
            other = text_of(function.child_by_field_name("name"))
            if own is None or not is_mutable(own) or other == name:
                continue
            parameters = self._sampled(type_, function)
            if not parameters:
                continue
            choices = [[s for s in e.samples if s.word not in ("empty", "0")] for e in parameters]
            is_result = "Result" in text_of(function.child_by_field_name("return_type"))
            end = ".unwrap();" if is_result else ";"
            for values in islice(diagonal(choices), _MAX_CHANGES):
                yield Sample(f"{other}({joined(values)}){end}", other)

    def _constructed(self, type_: Type) -> Sequence[Sample]:
        """Return calls of `new`."""
        if type_.name in self._pending:
            return ()  # its argument is of the same type
        self._pending.add(type_.name)
        calls: list[Sample] = []
        for function in self._of(type_.name):
            is_new = text_of(function.child_by_field_name("name")) == "new"
            parameters = self._sampled(type_, function) if is_new else None
            if parameters is None or self_parameter(function) is not None:
                continue
            returned = self.scope.type_of(function.child_by_field_name("return_type"), {})
            end = ".unwrap()" if returned.name in WRAPPERS else ""
            for values in islice(diagonal([each.samples for each in parameters]), _MAX_CONSTRUCTED):
                words = "_".join(each.word for each in values) or "new"
                call = f"{path_of(type_)}::new({joined(values)}){end}"
                calls.append(Sample(call, f"{snake_case(type_.name)}_{words}"))
        self._pending.discard(type_.name)
        return calls

    def _sampled(self, type_: Type, function: tree_sitter.Node) -> list[Parameter] | None:
        """Return the parameters of a function of a type, None if one changes its argument."""
        definition = self.scope.definitions.get(type_.name)
        named = definition.chosen(type_) if definition is not None else {}
        chosen = {**self.chosen_types(impl_of(function)), **named, **self.chosen_types(function)}
        parameters = list(self.parameters_of(function, chosen, type_.name))
        return None if any(each.type.name == "&mut" for each in parameters) else parameters

    def _of(self, name: str) -> Iterator[tree_sitter.Node]:
        """Yield the functions of a type that tests can call."""
        for node in nodes(self._root, lambda node: node.type != "function_item"):
            impl = impl_of(node) if node.type == "function_item" else None
            if impl is None or impl.child_by_field_name("trait") is not None:
                continue
            is_visible = self._is_inside or is_public(node)
            if is_visible and name_of_impl(impl) == name and is_callable(node):
                yield node


def impl_of(function: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the `impl` around a function, None if there is none."""
    body = function.parent
    owner = body.parent if body is not None else None
    return owner if owner is not None and owner.type == "impl_item" else None


def name_of_impl(impl: tree_sitter.Node) -> str:
    """Return the name of the type of an `impl`."""
    return text_of(impl.child_by_field_name("type")).partition("<")[0]


def is_callable(function: tree_sitter.Node) -> bool:
    """Whether a function can be called without a runtime and without `unsafe`."""
    modifiers = (each for each in function.children if each.type == "function_modifiers")
    return not _REFUSED.search(text_of(next(modifiers, None)))


def self_parameter(function: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the parameter `self`, None if there is none."""
    inner = function.child_by_field_name("parameters")
    children = inner.named_children if inner is not None else ()
    return next((each for each in children if each.type == "self_parameter"), None)


def is_mutable(self_parameter: tree_sitter.Node) -> bool:
    """Whether a method changes its object."""
    text = text_of(self_parameter)
    return text.startswith("&") and "mut" in text


def _bounds(
    node: tree_sitter.Node, parameter: tree_sitter.Node, name: str
) -> Iterator[tree_sitter.Node]:
    """Yield the bounds of a type parameter: next to it, and in `where`."""
    places = [parameter]
    for clause in node.children:
        for each in clause.named_children if clause.type == "where_clause" else ():
            if text_of(each.child_by_field_name("left")) == name:
                places.append(each)
    for each in places:
        if (bounds := each.child_by_field_name("bounds")) is not None:
            yield bounds
