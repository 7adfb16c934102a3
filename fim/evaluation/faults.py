"""What must not be seen in a suggestion, told apart from the code that is to prevent it."""

from __future__ import annotations

import re

from syntax.grammars import count_errors

_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|(?:#|//).*")
_LINES_ABOVE = 60
_SHORTEST_REPEAT = 3
"""A line shorter than this may well stand twice."""


def doubles_bracket(text: str, cursor: int, suggested: str, replaced: int) -> bool:
    """Whether a suggestion closes what the text right of the cursor closes already.

    `replaced` characters right of the cursor give way to it. Closing brackets of the suggestion
    that nothing in it opens, and those that follow it, may together not be more than what is open
    in the lines above. Brackets in strings and comments do not count.
    """
    _, own = _open(suggested)
    following = re.match(r"[\s)\]}]*", text[cursor + replaced :])
    behind = 0 if following is None else len("".join(following[0].split()))
    if not own or not behind:
        return False
    above = "\n".join(text[:cursor].split("\n")[-_LINES_ABOVE:])
    available, _ = _open(above)
    return own + behind > available


def _open(text: str) -> tuple[int, int]:
    """Return how many brackets are opened and not closed, and how many closed and not opened."""
    stack: list[str] = []
    foreign = 0
    for character in _QUOTED.sub("", text):
        if character in "([{":
            stack.append(character)
        elif character in _PAIRS:
            if stack and stack[-1] == _PAIRS[character]:
                stack.pop()
            else:
                foreign += 1
    return len(stack), foreign


def repeats_suffix(text: str, cursor: int, suggested: str, replaced: int) -> bool:
    """Whether a suggestion ends with what stands right of it, or with the next line below."""
    rest = text[cursor + replaced :]
    here, _, below = rest.partition("\n")
    here = here.strip()
    if re.search(r"\w", here):
        return suggested.rstrip().endswith(here)
    last = suggested.rstrip().split("\n")[-1].strip()
    if "\n" not in suggested.rstrip():
        last = (text[:cursor].split("\n")[-1] + last).strip()
    following = next((line.strip() for line in below.split("\n") if line.strip()), "")
    return not here and last == following and len(following) >= _SHORTEST_REPEAT


def breaks_syntax(text: str, cursor: int, suggested: str, replaced: int, language: str) -> bool:
    """Whether a text that parsed does not with the suggestion in it."""
    applied = text[:cursor] + suggested + text[cursor + replaced :]
    return parses(text, language) and bool(count_errors(applied, language))


def parses(text: str, language: str) -> bool:
    """Whether a text is known to parse."""
    return count_errors(text, language) == 0
