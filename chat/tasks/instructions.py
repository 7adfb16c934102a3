"""What an instruction for tests says about their number, names and framework.

It is read in several languages. The model sees the whole instruction as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chat.tasks.dialects.base import Framework

_WORDS = {
    "one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5,
    "ein": 1, "zwei": 2, "drei": 3, "vier": 4, "deux": 2, "trois": 3, "dos": 2, "tres": 3,
    "一": 1, "二": 2, "两": 2, "兩": 2, "三": 3, "四": 4, "五": 5,
}  # fmt: skip
_EACH = r"(?!\s+(?:per|for each|for every|pro|pour chaque|por)\b)"
"""What must not follow: `one test per branch` limits nothing."""
_NUMBERED = (
    rf"\b(\d{{1,2}}|one|two|three|four|five)\s+(?:[\w-]+\s+){{0,2}}?tests?\b(?:\s+cases?)?{_EACH}",
    rf"\ba\s+(single)\s+(?:[\w-]+\s+)?test\b(?:\s+case)?{_EACH}",
    rf"\bnur\s+(\d{{1,2}}|zwei|drei|vier)\s+(?:\w+\s+)?Tests?\w*{_EACH}",
    rf"\b(\d{{1,2}}|deux|trois|dos|tres)\s+tests?\b{_EACH}",
    r"(?:只|仅|僅)[^。，,.]{0,8}?([一二两兩三四五\d])\s*(?:个|個|条|條)",
    r"(?:テスト|테스트)\D{0,8}?(\d)\s*(?:つ|個|件|개)",
)
"""Patterns whose group is a number or a word for one."""
_SINGLE = (
    rf"\b(?:only|just|exactly)\s+(?:one|1|a)\s+test\b{_EACH}",
    rf"\bnur\s+ein(?:en?|em|er|zigen?)?\s+(?:einzigen?\s+)?Test\w*{_EACH}",
    r"\bune?\s+seule?\s+(?:cas\s+de\s+)?test\b",
    r"\b(?:un\s+solo|sólo\s+un|solo\s+un|una\s+sola|apenas\s+um|só\s+um|um\s+único)\s+\w+",
    r"\bтолько\s+один\s+тест",
    r"テスト\S{0,6}(?:一つ|ひとつ)だけ|(?:一つ|ひとつ)だけ\S{0,6}テスト",
    r"테스트\S{0,6}\s{0,3}(?:하나|한\s?개)만|하나의\s?테스트만",
)
"""Patterns that ask for one test."""


_FRAMEWORKS: tuple[tuple[Framework, str], ...] = (
    ("pytest", r"pytest"),
    ("unittest", r"unittest(?!\.mock)"),
    ("jest", r"jest"),
    ("vitest", r"vitest"),
    ("node", r"node:test|node(?:\.js)?(?:'s)?(?: own)? test runner"),
)
_REFUSED = (
    r"(?:\b(?:not|no|without|instead of|rather than|don't use|never|nicht|kein|ohne|statt|pas|sans"
    r"|sin)\s+(?:use\s+|using\s+)?|(?:不要?用?|别用|而不是)\s*)"
)
"""What stands before the name of a framework that is not to be used."""
_NAMING = re.compile(
    r"(?i:(?:\bnam(?:ed?|ing)\b|\bcall(?:ed)?\b|\bnenn\w*|\bhei(?:ß|ss)\w*|\bnomm\w*|\bappel\w*"
    r"|\bllam\w*|\bnombr\w*|命名为|名为|叫做?)"
    r"(?:\s+(?:the|a|an|it|them|this|each|tests?|case|function|method|den|die|ihn|sie|le|la|el|los)\b)*"
    r"(?:\s+(?:Test|Tests)\b)?\s*[:：]?\s*)"
)
"""Words before the name of a test."""
_QUOTES = ('""', "''", "``", "“”", "„“", "«»", "「」")
_TEST_NAME = re.compile(
    "|".join(f"{quotes[0]}([^{quotes[1]}\\n]{{2,80}}){quotes[1]}" for quotes in _QUOTES)
    + r"|([^\W\d_]\w*(?:_\w+|[a-z][A-Z]\w*))"
)
"""A quoted phrase, or an identifier of several words."""
_AND = re.compile(r"\s*(?:[,、，]|\b(?:and|und|et|y)\b|和)\s*(?:(?:and|und|et|y)\b\s*)?")
_MAX_NAMES = 8
_MAX_CHARACTERS = 4000
"""How much of an instruction is searched. A pasted log must not keep the server busy."""


@dataclass(frozen=True, slots=True)
class Requested:
    """The parts of an instruction that the server sees to itself."""

    num_tests: int | None
    """The number of tests, None if the instruction does not say."""
    names: tuple[str, ...]
    """The names of the tests, or phrases for them."""
    framework: Framework | None


def read_instruction(instruction: str) -> Requested:
    """Return what the beginning of an instruction asks for."""
    instruction = instruction[:_MAX_CHARACTERS]
    names = requested_names(instruction)
    return Requested(requested_tests(instruction), names, requested_framework(instruction))


def requested_tests(instruction: str) -> int | None:
    """Return how many tests an instruction asks for, None if it does not say."""
    if any(re.search(pattern, instruction, re.IGNORECASE) for pattern in _SINGLE):
        return 1
    for pattern in _NUMBERED:
        if match := re.search(pattern, instruction, re.IGNORECASE):
            word = match[1].casefold()  # a long s matches an s
            number = int(word) if word.isdecimal() else _WORDS[word]
            return number or None
    return None


def requested_framework(instruction: str) -> Framework | None:
    """Return the framework that an instruction names, None if it names none or several."""
    named = []
    for framework, pattern in _FRAMEWORKS:
        word = rf"(?<![A-Za-z0-9_.])(?:{pattern})(?![A-Za-z0-9_-])"
        accepted = re.sub(f"{_REFUSED}{word}", "", instruction, flags=re.IGNORECASE)
        if re.search(word, accepted, re.IGNORECASE):
            named.append(framework)
    return named[0] if len(named) == 1 else None


def requested_names(instruction: str) -> tuple[str, ...]:
    """Return the names or phrases that an instruction gives to tests, in their order."""
    names: list[str] = []
    for naming in _NAMING.finditer(instruction):
        position = naming.end()
        while (match := _TEST_NAME.match(instruction, position)) and len(names) < _MAX_NAMES:
            names.append(match[match.lastindex or 0])
            separator = _AND.match(instruction, match.end())
            if separator is None:
                break
            position = separator.end()
    return tuple(dict.fromkeys(names))
