"""Faults of suggestions.

The checks share no code with `fim.postprocess`, which is meant to prevent these faults.
"""

from __future__ import annotations

import re

from syntax.grammars import count_errors

_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|(?:#|//).*")
_LINES_ABOVE = 60
_MIN_REPEAT_CHARACTERS = 3
"""Minimum characters of a repeated line that is a fault; code often repeats shorter lines."""


def doubles_bracket(text: str, cursor: int, suggested: str, replaced: int) -> bool:
    """Return whether a suggestion closes brackets that the text right of the cursor closes too.

    `replaced` is the number of characters right of the cursor that the suggestion replaces.

    Two groups of closing brackets are counted: those in the suggestion without an opening bracket
    in it, and those that follow it. Together they must not exceed the number of brackets that are
    open in the lines above. Brackets in strings and comments do not count.
    """
    _, superfluous = _count_unmatched(suggested)
    following = re.match(r"[\s)\]}]*", text[cursor + replaced :])
    num_following = 0 if following is None else len("".join(following[0].split()))
    if not superfluous or not num_following:
        return False
    above = "\n".join(text[:cursor].split("\n")[-_LINES_ABOVE:])
    num_open, _ = _count_unmatched(above)
    return superfluous + num_following > num_open


def _count_unmatched(text: str) -> tuple[int, int]:
    """Return the numbers of unmatched opening brackets and of unmatched closing brackets."""
    stack: list[str] = []
    num_closing = 0
    for character in _QUOTED.sub("", text):
        if character in "([{":
            stack.append(character)
        elif character in _PAIRS:
            if stack and stack[-1] == _PAIRS[character]:
                stack.pop()
            else:
                num_closing += 1
    return len(stack), num_closing


def repeats_suffix(text: str, cursor: int, suggested: str, replaced: int) -> bool:
    """Return whether a suggestion ends with the text right of it, or with the next line."""
    rest = text[cursor + replaced :]
    here, _, below = rest.partition("\n")
    here = here.strip()
    if re.search(r"\w", here):
        return suggested.rstrip().endswith(here)
    last = suggested.rstrip().split("\n")[-1].strip()
    if "\n" not in suggested.rstrip():
        last = (text[:cursor].split("\n")[-1] + last).strip()
    following = next((line.strip() for line in below.split("\n") if line.strip()), "")
    return not here and last == following and len(following) >= _MIN_REPEAT_CHARACTERS


def breaks_syntax(text: str, cursor: int, suggested: str, replaced: int, language: str) -> bool:
    """Return whether a text parses without the suggestion but not with it."""
    applied = text[:cursor] + suggested + text[cursor + replaced :]
    return parses(text, language) and bool(count_errors(applied, language))


def parses(text: str, language: str) -> bool:
    """Return whether a text parses; False without a grammar."""
    return count_errors(text, language) == 0
