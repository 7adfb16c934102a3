"""Values of Rust types, as the arguments of a function of which only the signature is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from chat.tasks.checking.rust.definitions import (
    UNKNOWN,
    Definition,
    Type,
    Variant,
    with_arguments,
)
from chat.tasks.checking.rust.value_types import (
    COLLECTIONS,
    FLOATS,
    INTEGERS,
    MAPS,
    SIGNED,
    TEXTS,
    Scope,
)
from chat.tasks.checking.rust.values import (
    Sample,
    diagonal,
    joined,
    number,
    path_of,
    plain_samples,
    snake_case,
    text,
    type_text,
    words_of,
)

_INTEGER_LISTS = ((3, 1, 2), (), (5,), (1, 2, 2, 4), (-4, 0, 7))
_FLOAT_LISTS = ((3.0, 1.0, 2.5), (), (5.0,), (1.0, 2.0, 2.0, 4.0))
_TEXT_LISTS = (("b", "a", "b"), (), ("x",))
_MAX_DEPTH = 3
_MAX_OF_DEFINITION = 6
_MAX_ARRAY = 4
"""Maximum number of times that a list is repeated to fill an array."""
_CLOSURES = {
    (1, "bool"): ("|x| {x} > {unit}", "|x| {x} < {unit}"),
    (1, "number"): ("|x| {x} + {unit}",),
    (2, "number"): ("|a, b| {a} + {b}", "|a, b| {a} - {b}"),
    (2, "bool"): ("|a, b| {a} < {b}", "|a, b| {a} > {b}"),
}
"""Functions by the number of arguments and the result."""


class Samples:
    """Makes values of types.

    `constructed` returns the calls that create a struct, and `is_inside` says whether the tests
    see private fields.
    """

    def __init__(
        self, scope: Scope, constructed: Callable[[Type], Sequence[Sample]], *, is_inside: bool
    ) -> None:
        self._scope, self._constructed, self._is_inside = scope, constructed, is_inside

    def of(self, type_: Type, depth: int = 0) -> tuple[Sample, ...]:
        """Return values of a type, the typical one first; none if the type is not known."""
        if depth > _MAX_DEPTH:
            return ()
        return tuple({each.text: each for each in self._of(type_, depth)}.values())

    def _of(self, type_: Type, depth: int) -> Iterable[Sample]:
        name, arguments = type_.name, type_.arguments
        if name in INTEGERS | FLOATS | TEXTS | {"bool", "char"}:
            return plain_samples(type_)
        if name == "&":
            return self._references(arguments[0], depth)
        if name in COLLECTIONS:
            return self._collections(type_, depth)
        if name == "Fn":
            return _closures(arguments)
        inner = [self.of(each, depth + 1) for each in arguments]
        if name == "Option" and inner and inner[0]:
            none = "None" if not arguments[0].is_inferred else f"None::<{type_text(arguments[0])}>"
            some = [Sample(f"Some({each.text})", f"some_{each.word}") for each in inner[0]]
            return (some[0], Sample(none, "none"), *some[1:])
        if name == "Result" and all(inner):
            ok, error = inner[0], inner[1]
            oks = [Sample(f"Ok({each.text})", f"ok_{each.word}") for each in ok]
            return (oks[0], Sample(f"Err({error[0].text})", "err"), *oks[1:])
        if name == "Box" and inner:
            return [Sample(f"Box::new({each.text})", each.word) for each in inner[0]]
        if name == "(,)":
            return (_tuple(values) for values in diagonal(inner))
        definition = self._scope.definitions.get(name)
        return () if definition is None else self._defined(definition, type_, depth)

    def _references(self, inner: Type, depth: int) -> Iterator[Sample]:
        for each in self.of(inner, depth):
            is_reference = inner.name == "str"
            yield each if is_reference else Sample(f"&{each.text}", each.word)

    def _collections(self, type_: Type, depth: int) -> Iterator[Sample]:
        if type_.name in MAPS:
            yield from self._maps(type_, depth)
            return
        element = type_.arguments[0] if type_.arguments else UNKNOWN
        for values in self._lists(element, depth):
            items = values
            if type_.length is not None:
                items = (values * _MAX_ARRAY)[: type_.length]
                if len(items) < type_.length:
                    continue
            yield Sample(_list(type_, items), words_of(items, "items"))

    def _maps(self, type_: Type, depth: int) -> Iterator[Sample]:
        inner = [self.of(each, depth + 1)[:2] for each in type_.arguments]
        if len(inner) != 2 or not all(inner):
            return
        pairs = [_tuple(values) for values in diagonal(inner)]
        for chosen in (pairs[:2], [], pairs[:1]):
            literal = f"{type_.name}::from([{joined(chosen)}])"
            yield Sample(literal if chosen else f"{type_.name}::new()", words_of(chosen, "entries"))

    def _lists(self, element: Type, depth: int) -> Iterator[list[Sample]]:
        if element.name in INTEGERS:
            lists = [each for each in _INTEGER_LISTS if element.name in SIGNED or _is_natural(each)]
            yield from ([number(value) for value in each] for each in lists)
        elif element.name in FLOATS:
            yield from ([number(value) for value in each] for each in _FLOAT_LISTS)
        elif element.plain.name in TEXTS:
            owned = element.name == "String"
            yield from ([text(value, owned=owned) for value in each] for each in _TEXT_LISTS)
        elif values := self.of(element, depth + 1):
            yield list(values[:3])
            yield []
            yield list(values[:1])

    def _defined(self, definition: Definition, type_: Type, depth: int) -> Iterator[Sample]:
        """Yield values of a struct or an enum: from its functions, then from its fields."""
        yield from self._constructed(type_)
        chosen = definition.chosen(type_)
        per_variant = (
            self._variants(definition, variant, chosen, depth) for variant in definition.variants
        )
        yield from islice(_in_turn(list(per_variant)), _MAX_OF_DEFINITION)
        if self._scope.implements(definition, "Default"):
            yield Sample(f"{path_of(type_)}::default()", "default")

    def _variants(
        self, definition: Definition, variant: Variant, chosen: dict[str, Type], depth: int
    ) -> Iterator[Sample]:
        fields = variant.fields
        if not self._is_inside and not all(each.is_public for each in fields):
            return
        path = f"{definition.name}::{variant.name}" if definition.is_enum else definition.name
        word = snake_case(variant.name)
        if variant.kind == "unit":
            yield Sample(path, word)
            return
        inner = [self.of(with_arguments(each.type, chosen), depth + 1) for each in fields]
        for values in diagonal(inner):
            literal = f"{path}({joined(values)})"
            if variant.kind == "struct":
                named = zip(fields, values, strict=True)
                body = ", ".join(f"{field.name}: {value.text}" for field, value in named)
                literal = f"{path} {{ {body} }}" if body else f"{path} {{}}"
            yield Sample(literal, "_".join((word, *(each.word for each in values))))


def _tuple(values: Sequence[Sample]) -> Sample:
    end = "," if len(values) == 1 else ""
    return Sample(f"({joined(values)}{end})", "_".join(each.word for each in values))


def _list(type_: Type, values: Sequence[Sample]) -> str:
    """Return a literal of a list or set."""
    name, element = type_.name, type_.arguments[0]
    if not values and element.is_inferred and name in ("[]", "Vec") and type_.length is None:
        return f"Vec::<{type_text(element)}>::new()"
    form = {"[]": "[{}]", "Vec": "vec![{}]"}.get(name, f"{name}::from([{{}}])")
    return form.replace("{}", joined(values))


def _in_turn(iterators: Sequence[Iterator[Sample]]) -> Iterator[Sample]:
    """Yield the first of each, then the second of each, and so on."""
    pending = list(iterators)
    while pending:
        each = pending.pop(0)
        for value in islice(each, 1):
            yield value
            pending.append(each)


def _closures(types: Sequence[Type]) -> Iterator[Sample]:
    """Yield closures with arguments of these types; the last one is the result."""
    kinds = {each.plain.name for each in types[:-1]}
    if len(kinds) != 1 or not kinds <= INTEGERS | FLOATS:
        return
    result = types[-1].name
    unit = "1.0" if kinds <= FLOATS else "1"
    x, a, b = (
        f"{'*' * (each.name == '&')}{name}"
        for each, name in zip((types[0], types[0], types[-2]), "xab", strict=True)
    )
    for form in _CLOSURES.get((len(types) - 1, "number" if result in kinds else result), ()):
        yield Sample(form.format(unit=unit, x=x, a=a, b=b), "closure")


def _is_natural(values: Sequence[int]) -> bool:
    return all(value >= 0 for value in values)
