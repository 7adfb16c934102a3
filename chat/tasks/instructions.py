"""What an instruction for tests says about their number, in several languages."""

from __future__ import annotations

import re

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
    r"테스트\S*\s*(?:하나|한\s*개)만|하나의\s*테스트만",
)
"""Patterns that ask for one test."""


def wanted_tests(instruction: str) -> int | None:
    """Return how many tests an instruction asks for, None if it does not say."""
    if any(re.search(pattern, instruction, re.IGNORECASE) for pattern in _SINGLE):
        return 1
    for pattern in _NUMBERED:
        if match := re.search(pattern, instruction, re.IGNORECASE):
            word = match[1].lower()
            number = int(word) if word.isdecimal() else _WORDS[word]
            return number or None
    return None
