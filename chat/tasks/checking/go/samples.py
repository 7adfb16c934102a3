"""Arguments for a Go function of which only the signature is known. Values are code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import tree_sitter

from chat.tasks.checking.go.assertions import text_of
from chat.tasks.checking.go.values import (
    BASIC,
    LISTS,
    LISTS_OF_TEXTS,
    NUMBERS,
    Values,
    constants_of,
    fitting,
)
from chat.tasks.dialects.base import Subject
from syntax.grammars import parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

_CHANGES_STATE = re.compile(r"(?:Add|Set|Push|Put|Insert|Append|Enqueue|Deposit|Inc)\w*", re.I)
_FUNCTIONS = ("function_declaration", "method_declaration")
_MAX_PARAMETERS = 4
_MAX_CALLS = 24
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Signature:
    """How a subject is called, and what is known about its arguments."""

    name: str
    """The function, or the variable and the method."""
    setups: tuple[Values, ...]
    """Statements that make the variable, for each state in which it is tried."""
    types: Values
    samples: tuple[Values, ...]
    """Values of each parameter, the typical one first. Those of `...` may be several or none."""
    results: Values
    """The types of the results."""


def signature_of(subject: Subject, *, is_outside: bool) -> Signature | None:
    """Return the signature of a function or method, None if it cannot be called with samples.

    `is_outside` says that tests are outside of the package, and can use only exported names.
    """
    symbol = subject.symbol
    root = parse(subject.text, subject.language)
    if symbol.kind == "class" or root is None:
        return None
    offsets = ByteOffsets(subject.text)
    start, end = offsets.to_bytes(symbol.start), offsets.to_bytes(symbol.end)
    functions = [node for node in root.named_children if node.type in _FUNCTIONS]
    inside = [node for node in functions if start <= node.start_byte and node.end_byte <= end]
    if not inside:
        return None
    return _Samples(root, functions, is_outside=is_outside).signature(inside[0])


def sample_calls(signature: Signature) -> Iterator[Values]:
    """Yield arguments; the first values of each parameter come first."""
    if len(signature.samples) > _MAX_PARAMETERS:
        return
    indices = product(*(range(len(each)) for each in signature.samples))
    for chosen in sorted(indices, key=lambda chosen: (sum(chosen), chosen))[:_MAX_CALLS]:
        yield tuple(each[i] for each, i in zip(signature.samples, chosen, strict=True))


class _Samples:
    """Finds values for the types of one file."""

    def __init__(
        self, root: tree_sitter.Node, functions: Sequence[tree_sitter.Node], *, is_outside: bool
    ) -> None:
        self._functions, self._is_outside = functions, is_outside
        self._types = {
            text_of(node.child_by_field_name("name")): node.child_by_field_name("type")
            for node in nodes(root)
            if node.type == "type_spec"
        }

    def signature(self, function: tree_sitter.Node) -> Signature | None:
        generic = function.child_by_field_name("type_parameters")
        names = [
            text_of(name)
            for each in (generic.named_children if generic is not None else ())
            for name in each.children_by_field_name("name")
        ]
        types = list(_types(function))
        if names:  # most constraints allow integers
            types = [re.sub(rf"\b(?:{'|'.join(names)})\b", "int", each) for each in types]
        constants = list(constants_of(function))
        samples = tuple((*self.values(each), *fitting(each, constants)) for each in types)
        results = tuple(_results(function))
        if not all(samples):
            return None
        name, setups = text_of(function.child_by_field_name("name")), tuple[Values, ...]([()])
        if function.type == "method_declaration":
            variable, setups = self._receiver(function)
            name = f"{variable}.{name}"
        return Signature(name, setups, tuple(types), samples, results) if setups else None

    def values(self, kind: str, depth: int = 0) -> Values:
        """Return values of a type, empty if none are known."""
        if depth > _MAX_DEPTH:
            return ()
        if kind in BASIC:
            return BASIC[kind]
        if kind.startswith("..."):
            lists = self._lists(kind[3:], depth)
            return tuple(", ".join(each) for each in lists)
        if kind.startswith("[]"):
            lists = self._lists(kind[2:], depth)
            return tuple(f"{kind}{{{', '.join(each)}}}" for each in lists)
        if match := re.fullmatch(r"map\[(\w+)\](.+)", kind):
            keys, values = self.values(match[1], depth + 1), self.values(match[2], depth + 1)
            keys = ('"a"', '"b"') if match[1] == "string" else keys[:2]
            pairs = [f"{key}: {value}" for key, value in zip(keys, values, strict=False)]
            return (f"{kind}{{{', '.join(pairs)}}}", f"{kind}{{}}") if pairs else ()
        return self._own(kind, depth)

    def _lists(self, element: str, depth: int) -> Sequence[Sequence[str]]:
        values = self.values(element, depth + 1)
        if element == "string":
            return LISTS_OF_TEXTS
        if values in NUMBERS:
            return LISTS
        return (values[:2], (), values[:1]) if values else ()

    def _own(self, kind: str, depth: int) -> Values:
        """Return values of a type that the file declares."""
        name, node = kind.removeprefix("*"), self._types.get(kind.removeprefix("*"))
        if node is None or (self._is_outside and not name[:1].isupper()):
            return ()
        if node.type != "struct_type":
            is_basic = text_of(node) in BASIC and not kind.startswith("*")
            return self.values(text_of(node), depth + 1) if is_basic else ()
        before = "&" if kind.startswith("*") else ""
        fields = ", ".join(self._fields(node, depth))
        return tuple(dict.fromkeys((f"{before}{name}{{{fields}}}", f"{before}{name}{{}}")))

    def _fields(self, struct: tree_sitter.Node, depth: int) -> Iterator[str]:
        for node in nodes(struct):
            if node.type != "field_declaration":
                continue
            kind = text_of(node.child_by_field_name("type"))
            for name in map(text_of, node.children_by_field_name("name")):
                values = self.values(kind, depth + 1)
                if values and (name[0].isupper() or not self._is_outside):
                    yield f"{name}: {values[0]}"

    def _receiver(self, method: tree_sitter.Node) -> tuple[str, tuple[Values, ...]]:
        """Return a variable for the receiver of a method, and what makes it."""
        kind = next(iter(_types(method, "receiver")), "").removeprefix("*")
        variable = _variable_of(method)
        creations = [*self._constructed(kind), *self._own(f"*{kind}", 0)]
        setups = [(f"{variable} := {each}",) for each in creations]
        filled = [(*each, *self._changes(kind, variable, method)) for each in setups[:1]]
        return variable, tuple(dict.fromkeys((*filled, *setups)))

    def _constructed(self, kind: str) -> Iterator[str]:
        for each in self._functions:
            name = text_of(each.child_by_field_name("name"))
            is_own = list(_results(each)) in ([kind], [f"*{kind}"])
            if each.type != "function_declaration" or not is_own or not re.match("(?i)new", name):
                continue
            samples = [self.values(parameter) for parameter in _types(each)]
            if all(samples) and (name[0].isupper() or not self._is_outside):
                yield f"{name}({', '.join(values[0] for values in samples)})"

    def _changes(self, kind: str, variable: str, method: tree_sitter.Node) -> Iterator[str]:
        """Yield calls of another method, which give an object a state."""
        for each in self._functions:
            name = text_of(each.child_by_field_name("name"))
            owner = next(iter(_types(each, "receiver")), "") if each != method else ""
            if owner.removeprefix("*") != kind or not _CHANGES_STATE.fullmatch(name):
                continue
            types = list(_types(each))
            samples = [self.values(parameter) for parameter in types]
            if not all(samples) or (self._is_outside and not name[0].isupper()):
                continue
            lists = [self._lists(parameter, 0)[0] for parameter in types]
            for arguments in zip(*lists, strict=False):
                yield f"{variable}.{name}({', '.join(arguments)})"
            return


def _variable_of(method: tree_sitter.Node) -> str:
    receiver = method.child_by_field_name("receiver")
    declaration = receiver.named_children[0] if receiver is not None else None
    name = text_of(declaration.child_by_field_name("name")) if declaration is not None else ""
    return name if name not in ("", "_", "t") else "value"


def _types(function: tree_sitter.Node, field: str = "parameters") -> Iterator[str]:
    """Yield the types of parameters, one for each name."""
    parameters = function.child_by_field_name(field)
    for node in parameters.named_children if parameters is not None else ():
        if node.type == "comment":
            continue
        names = node.children_by_field_name("name")
        kind = text_of(node.child_by_field_name("type"))
        if node.type == "variadic_parameter_declaration":
            kind = f"...{kind}"
        yield from [kind] * max(1, len(names))


def _results(function: tree_sitter.Node) -> Iterator[str]:
    result = function.child_by_field_name("result")
    if result is not None and result.type == "parameter_list":
        yield from _types(function, "result")
    elif result is not None:
        yield text_of(result)
