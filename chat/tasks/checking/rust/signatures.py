"""How a function or method of Rust is called, with values for its arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter

from chat.tasks.checking.rust.constants import constants_of
from chat.tasks.checking.rust.definitions import Field, Type, text_of, with_arguments
from chat.tasks.checking.rust.functions import (
    Functions,
    Parameter,
    impl_of,
    is_callable,
    is_mutable,
    name_of_impl,
    self_parameter,
)
from chat.tasks.checking.rust.value_types import Scope
from chat.tasks.checking.rust.values import Sample, path_of, snake_case
from chat.tasks.dialects.base import Subject
from syntax.grammars import parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

_MAX_CHANGES = 3


@dataclass(frozen=True, slots=True)
class Receiver:
    """An object whose method is called: its creation, and calls that change it then."""

    creation: Sample
    changes: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function is called."""

    path: str
    """What is called: `clamp`, `Queue::merge`, or the name of a method."""
    receivers: tuple[Receiver, ...]
    """Objects for a method, none for a function."""
    is_mutable: bool
    """Whether a method changes its object."""
    variable: str
    """A name for the object."""
    fields: tuple[Field, ...]
    """The fields of the object that tests see."""
    parameters: tuple[Parameter, ...]
    returned: Type
    constants: tuple[object, ...]
    scope: Scope


def signature_of(subject: Subject, *, is_inside: bool) -> Signature | None:
    """Return the signature of a function, None if it cannot be called with samples.

    `is_inside` says whether the tests see private items.
    """
    symbol = subject.symbol
    root = parse(subject.text, "rust")
    if symbol.kind == "class" or root is None:
        return None
    offsets = ByteOffsets(subject.text)
    start, end = offsets.to_bytes(symbol.start), offsets.to_bytes(symbol.end)
    items = (node for node in nodes(root) if node.type == "function_item")
    function = next((e for e in items if start <= e.start_byte and e.end_byte <= end), None)
    if function is None or not is_callable(function):
        return None
    return _signature(root, function, Functions(root, is_inside=is_inside), is_inside=is_inside)


def _signature(
    root: tree_sitter.Node, function: tree_sitter.Node, functions: Functions, *, is_inside: bool
) -> Signature | None:
    impl, own_parameter = impl_of(function), self_parameter(function)
    own = name_of_impl(impl) if impl is not None else ""
    chosen = {**functions.chosen_types(impl), **functions.chosen_types(function)}
    scope, name = functions.scope, text_of(function.child_by_field_name("name"))
    owner = impl.child_by_field_name("type") if impl is not None else None
    type_ = scope.type_of(owner, chosen)
    parameters = tuple(functions.parameters_of(function, chosen, own))
    is_method = own_parameter is not None
    receivers = tuple(_receivers(functions, type_, name)) if is_method else ()
    if (is_method and not receivers) or not all(each.samples for each in parameters):
        return None
    returned = function.child_by_field_name("return_type")
    return Signature(
        path=f"{path_of(type_)}::{name}" if own and not is_method else name,
        receivers=receivers,
        is_mutable=own_parameter is not None and is_mutable(own_parameter),
        variable=snake_case(own),
        fields=tuple(_fields(scope, type_, is_inside=is_inside)),
        parameters=parameters,
        returned=Type("()") if returned is None else scope.type_of(returned, chosen, own),
        constants=tuple(constants_of(root, function)),
        scope=scope,
    )


def _fields(scope: Scope, type_: Type, *, is_inside: bool) -> Iterator[Field]:
    """Yield the named fields of a struct that tests see."""
    definition = scope.definitions.get(type_.name)
    if definition is None or definition.is_enum:
        return
    for field in definition.variants[0].fields:
        if field.name and (is_inside or field.is_public):
            own = with_arguments(field.type, definition.chosen(type_))
            yield Field(field.name, own, field.is_public)


def _receivers(functions: Functions, type_: Type, name: str) -> Iterator[Receiver]:
    """Yield objects: changed by other methods, as they are created, and otherwise created."""
    created = functions.samples.of(type_)
    if not created:
        return
    steps = list(functions.changes(type_, name))
    first = created[0]
    if len(steps) > 1:
        yield Receiver(first, (steps[0], steps[1]))
    yield Receiver(first)
    yield from (Receiver(first, (step,)) for step in steps[:_MAX_CHANGES])
    if len(steps) > 1:
        yield Receiver(first, (steps[1], steps[0]))
    yield from map(Receiver, created[1:])
