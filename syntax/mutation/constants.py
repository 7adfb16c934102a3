"""Other values for the constants of a program."""

from __future__ import annotations

import re

import tree_sitter

_NUMBER = re.compile(
    r"(?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|[0-9_]*\.?[0-9_]+|[0-9_]+\.)"
    r"(?P<suffix>_?(?:[iu](?:8|16|32|64|128|size)|f32|f64|[nlLfFdDjJ]))?"
)
_MIN_BOUND = 31
"""Numbers next to a power of two may be bounds of types, or of shifts, from this one on."""
_DIGITS = {16: "#x", 2: "#b", 8: "#o"}
_CONTENTS = frozenset(
    {
        "string_content",
        "string_fragment",
        "interpreted_string_literal_content",
        "raw_string_literal_content",
        "escape_sequence",
    }
)
_FORMAT_PREFIX = re.compile(rb"[rR]?[fFtT]")
_MAX_DIGITS = 100
_ADDED = b"x"


def changed_number(text: str, *, is_index: bool, is_compiled: bool) -> str | None:
    """Return the next number, in the same notation; None if there is none.

    In compiled languages it is the previous one where a compiler might refuse the next one.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None:
        return None
    digits, suffix = match["number"].replace("_", ""), match["suffix"] or ""
    if "." in digits or suffix[-1:] in ("f", "F", "d", "D"):
        changed = repr(float(digits) + 1)
        return None if "e" in changed or float(changed) == float(digits) else changed + suffix
    base = {"x": 16, "b": 2, "o": 8}.get(digits[1:2].lower(), 10)
    is_old_octal = base == 10 and digits[0] == "0" and digits.strip("0") != ""
    number = int(digits[2:] if base != 10 else digits, 8 if is_old_octal else base)
    is_bound = number >= _MIN_BOUND and (not number & (number - 1) or not number & (number + 1))
    step = -1 if is_compiled and number and (is_bound or is_index) else 1
    if is_old_octal:
        return f"0{number + step:o}{suffix}"
    return f"{number + step:{_DIGITS.get(base, '')}}{suffix}"


def changed_text(node: tree_sitter.Node, source: bytes) -> bytes | None:
    """Return a literal with another text of one character more; None if that is not possible.

    Texts with placeholders are not changed, nor are texts whose length is part of their type.
    """
    literal = source[node.start_byte : node.end_byte]
    first = next((child for child in node.named_children if child.type in _CONTENTS), None)
    is_plain = all(child.type in _CONTENTS or _is_quote(child) for child in node.named_children)
    if first is None or not is_plain or _FORMAT_PREFIX.match(literal):
        return None
    if node.type in ("string_literal", "raw_string_literal") and literal[:1] in (b"b", b"c"):
        return None
    place = first.start_byte - node.start_byte
    return literal[:place] + _ADDED + literal[place:]


def _is_quote(node: tree_sitter.Node) -> bool:
    return node.type in ("string_start", "string_end")
