"""Expected values of Go tests: have a test report what its assertions see, and correct them.

In a test that observes, no assertion fails, so all of them are reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tree_sitter

from chat.tasks.checking.go.assertions import (
    Assertion,
    assertions_of,
    expected_literal,
    expected_rows,
    is_conversion,
    text_of,
)
from chat.tasks.checking.go.edits import MARKED, Edits
from chat.tasks.checking.go.helper import SEEN
from syntax.grammars import count_errors, parse
from syntax.walk import nodes

_HEAD = "package p\n"
_MAX_VALUE_CHARACTERS = 200
_MAX_EXACT_FLOAT_CHARACTERS = 8
_PLAIN_TYPES = ("int", "float64", "string", "bool")
_REPORT = re.compile(r"\bt\.(?:Error|Fatal)")
_OPPOSITES = {"True": "False", "NoError": "Error", "Nil": "NotNil"}
_OPPOSITES |= {new: old for old, new in _OPPOSITES.items()}


class Seen(NamedTuple):
    """What an assertion saw."""

    is_wrong: bool
    kind: str
    """`int`, `float`, `string`, `bool`, `nil`, `error`, `composite` or `other`."""
    type: str
    code: str
    """The value as a literal, empty if there is none."""


def observed_test(number: int, text: str) -> str:
    """Return a test that reports what its assertions see, and in which none of them fails."""
    root = parse(_HEAD + text, "go")
    edits = Edits(_HEAD + text)
    for index, each in enumerate(assertions_of(root) if root is not None else ()):
        edits.replace(each.node, _report(each, f"{number}, {index}"))
    return edits.applied()[len(_HEAD) :]


def _report(assertion: Assertion, place: str) -> str:
    got, whole = text_of(assertion.got), text_of(assertion.node)
    if assertion.kind == "nil":
        is_wanted = re.search(r"!=\s*nil$|\.(?:NoError|Nil)\(", whole) is not None
        return f"starcoderNil({place}, {str(is_wanted).lower()}, {got})"
    if assertion.kind == "flag":
        is_wanted = ".True(" in whole if assertion.is_testify else whole.startswith("!")
        return f"starcoderCompared({place}, {got}, {str(is_wanted).lower()})"
    if assertion.kind == "compare":
        return f"starcoderCompared({place}, {got}, {text_of(assertion.want)})"
    return f"starcoderSeen({place}, {whole}, {got})"


def observations_in(output: str) -> dict[int, dict[int, list[Seen]]]:
    """Return what the assertions saw, by the numbers of tests and the indices of assertions."""
    seen: dict[int, dict[int, list[Seen]]] = {}
    for line in output.split("\n"):
        if line.startswith(SEEN):
            try:
                test, index, *rest = json.loads(line.removeprefix(SEEN))
                seen.setdefault(test, {}).setdefault(index, []).append(Seen(*rest))
            except (ValueError, TypeError):
                continue  # it was cut, or a test has written it
    return seen


def unqualified(seen: Seen, package: str) -> Seen:
    """Return what was seen with the types of a package as the package itself names them."""
    if seen.kind != "composite":
        return seen
    return seen._replace(code=re.sub(rf"\b{re.escape(package)}\.(?=[A-Za-z_])", "", seen.code))


def corrected_test(text: str, observations: Mapping[int, Sequence[Seen]]) -> str | None:
    """Return a test whose assertions hold, with marks at the lines that were changed.

    Returns None if an assertion cannot be corrected.
    """
    root = parse(_HEAD + text, "go")
    if root is None:
        return text
    edits = Edits(_HEAD + text)
    for index, each in enumerate(list(assertions_of(root))):
        seen = observations.get(index, ())
        if any(each_seen.is_wrong for each_seen in seen) and not _correct(each, seen, edits):
            return None
    result = edits.applied()[len(_HEAD) :]
    return None if count_errors(_HEAD + result, "go") else result


def _correct(assertion: Assertion, seen: Sequence[Seen], edits: Edits) -> bool:
    """Add the edits that make an assertion hold. Returns False if there are none."""
    if assertion.want is not None and (rows := expected_rows(assertion.want)):
        return len(rows) == len(seen) and _correct_rows(assertion, rows, seen, edits)
    if any(each != seen[0] for each in seen):
        return False
    if assertion.kind in ("nil", "flag"):
        return _reverse(assertion, seen[0], edits)
    literal = expected_literal(assertion.want) if assertion.want is not None else None
    if literal is None or assertion.kind == "other":
        return False
    if assertion.kind == "compare" and _is_inexact(seen[0]) and not assertion.is_testify:
        return _compare_near(assertion, literal, seen[0], edits)
    outer = literal.parent and literal.parent.parent
    is_typed = assertion.is_testify and not (outer is not None and is_conversion(outer))
    code = _literal_like(literal, seen[0], is_typed=is_typed)
    if code is None:
        return False
    edits.replace(literal, code, is_marked=True)
    _correct_message(assertion, text_of(literal), code, edits)
    return True


def _correct_rows(
    assertion: Assertion,
    rows: Sequence[tuple[tree_sitter.Node, tree_sitter.Node | None]],
    seen: Sequence[Seen],
    edits: Edits,
) -> bool:
    """Correct the expected values in the rows of a table, which are tested in their order."""
    if assertion.kind not in ("compare", "near"):
        return False
    for (row, literal), each in zip(rows, seen, strict=True):
        if not each.is_wrong:
            continue
        if literal is None:
            if not each.code or each.kind == "other":
                return False
            name = text_of(assertion.want).rpartition(".")[2]
            edits.insert_before_end(row, f"{name}: {each.code}")
        elif (code := _literal_like(literal, each, is_typed=False)) is not None:
            edits.replace(literal, code, is_marked=True)
        else:
            return False
    return True


def _literal_like(old: tree_sitter.Node, seen: Seen, *, is_typed: bool) -> str | None:
    """Return the literal of a value that takes the place of another one, None without one."""
    if not seen.code or seen.kind in ("other", "error") or len(seen.code) > _MAX_VALUE_CHARACTERS:
        return None
    if old.type == "rune_literal" and seen.kind == "int" and 32 <= int(seen.code) < 127:
        character = chr(int(seen.code))
        return f"'\\{character}'" if character in "'\\" else f"'{character}'"
    if is_typed and seen.kind not in ("nil", "composite") and seen.type not in _PLAIN_TYPES:
        return f"{seen.type}({seen.code})"
    return seen.code


def _is_inexact(seen: Seen) -> bool:
    return seen.kind == "float" and len(seen.code) > _MAX_EXACT_FLOAT_CHARACTERS


def _compare_near(
    assertion: Assertion, literal: tree_sitter.Node, seen: Seen, edits: Edits
) -> bool:
    """Compare a float with a tolerance."""
    tolerance = "1e-9" if abs(float(seen.code)) < 1000 else f"{abs(float(seen.code)) * 1e-9:.0e}"
    got, want = text_of(assertion.got), text_of(assertion.want)
    if assertion.want == literal:
        want = seen.code
    else:
        edits.replace(literal, seen.code, is_marked=True)
    minus = f" - ({want})" if want.startswith("-") else f"-{want}"
    edits.replace(assertion.node, f"math.Abs({got}{minus}) > {tolerance}", is_marked=True)
    _correct_message(assertion, text_of(literal), seen.code, edits)
    return True


def _reverse(assertion: Assertion, seen: Seen, edits: Edits) -> bool:
    """Let an assertion about a condition, or about nil, say the opposite."""
    whole, got = text_of(assertion.node), text_of(assertion.got)
    if assertion.is_testify:
        owner, name = whole.partition("(")[0].split(".")
        edits.replace(assertion.node, f"{owner}.{_OPPOSITES[name]}(t, {got})", is_marked=True)
    elif assertion.kind == "flag":
        new = got if whole.startswith("!") else f"!{got}"
        edits.replace(assertion.node, new, is_marked=True)
        _correct_message(assertion, "false" if seen.code == "true" else "true", seen.code, edits)
    else:
        _reverse_nil(assertion, seen, edits)
    return True


def _reverse_nil(assertion: Assertion, seen: Seen, edits: Edits) -> None:
    got = text_of(assertion.got)
    is_nil = seen.kind == "nil" or seen.code.endswith("(nil)")
    body = assertion.statement and assertion.statement.child_by_field_name("consequence")
    edits.replace(assertion.node, f"{got} {'!=' if is_nil else '=='} nil", is_marked=body is None)
    if body is not None:
        function = match[0] if (match := _REPORT.search(text_of(body))) else "t.Error"
        message = f'f("{got} = %v, want nil", {got})' if is_nil else f'("{got} is nil")'
        indent = edits.indent_of(body)
        edits.replace(body, f"{{ {MARKED}\n{indent}\t{function}{message}\n{indent}}}")


def _correct_message(assertion: Assertion, old: str, new: str, edits: Edits) -> None:
    """Let the message of an assertion name the new value, where it names the old one."""
    body = assertion.statement and assertion.statement.child_by_field_name("consequence")
    old, new = (each.replace('"', '\\"') for each in (old, new))
    pattern = rf"(?i)(\b(?:want|wanted|expect|expected)(?: \w+)?:? *){re.escape(old)}(?![\w.])"
    for node in nodes(body) if body is not None else ():
        if node.type == "interpreted_string_literal":
            message = re.sub(pattern, lambda match: match[1] + new, text_of(node))
            edits.replace(node, message)
