"""Which of two models answers better, by the word of a third.

As StarChat was judged: a strong model scores two answers from 1 to 8 (Hugging Face's StarChat post,
after LMSYS' Vicuna). A judge favours what it reads first (Zheng et al. 2023, arXiv:2306.05685), so
each pair is judged in both orders; a score that cannot be read is no score.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

LOWEST, HIGHEST = 1, 8

AskJudge = Callable[[str], Awaitable[str]]
"""Asks the judge and returns its answer."""

_REQUEST = """\
You compare two answers to a programmer's question. Weigh whether each is correct, whether it does \
what was asked, whether its code would run, and whether it is clear and to the point. Length is no \
merit, nor is the order in which the answers stand.

Question:
{question}

Answer 1:
{first}

Answer 2:
{second}

On the first line write nothing but the two scores, for answer 1 and for answer 2, as whole \
numbers from {lowest} to {highest} with a space between them. Give your reasons below."""

_SCORES = re.compile(r"\s*\**(\d+)\s*[ ,/]\s*(\d+)\**\s*$")


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """A question and two answers."""

    question: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """The mean of both orders' scores; None where one of them could not be read."""

    pair: AnswerPair
    a: float | None
    b: float | None
    words: tuple[str, str]
    """What the judge wrote, A first and B first."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a judge makes of two models. Wins are A's; an equal score is half a win for each."""

    num_judged: int
    num_unreadable: int
    """Pairs left out because a score could not be read."""
    mean_a: float
    mean_b: float
    deviation_a: float
    deviation_b: float
    wins: int
    ties: int
    win_rate: float
    low: float
    high: float
    """The 95 % interval of the win rate (Wilson 1927)."""


def request(pair: AnswerPair, *, b_first: bool) -> str:
    """Return what to ask the judge."""
    first, second = (pair.b, pair.a) if b_first else (pair.a, pair.b)
    return _REQUEST.format(
        question=pair.question, first=first, second=second, lowest=LOWEST, highest=HIGHEST
    )


def read_scores(answer: str) -> tuple[int, int] | None:
    """Return the two scores of the first line; None if they are not there, or out of range."""
    lines = [line for line in answer.strip().split("\n") if line.strip()]
    found = _SCORES.match(lines[0]) if lines else None
    if found is None:
        return None
    first, second = int(found[1]), int(found[2])
    fit = LOWEST <= first <= HIGHEST and LOWEST <= second <= HIGHEST
    return (first, second) if fit else None


async def judge(pair: AnswerPair, ask: AskJudge) -> JudgedPair:
    """Have one pair judged in both orders."""
    words = (
        await ask(request(pair, b_first=False)),
        await ask(request(pair, b_first=True)),
    )
    first, second = read_scores(words[0]), read_scores(words[1])
    if first is None or second is None:
        return JudgedPair(pair, None, None, words)
    return JudgedPair(pair, (first[0] + second[1]) / 2, (first[1] + second[0]) / 2, words)


def compare(found: Sequence[JudgedPair]) -> Comparison | None:
    """Return the scores and A's win rate; None where no pair could be read."""
    scores = [(one.a, one.b) for one in found if one.a is not None and one.b is not None]
    if not scores:
        return None
    a, b = [one for one, _ in scores], [one for _, one in scores]
    wins = sum(one > two for one, two in scores)
    ties = sum(one == two for one, two in scores)
    rate = (wins + ties / 2) / len(scores)
    low, high = wilson(rate, len(scores))
    return Comparison(
        num_judged=len(scores),
        num_unreadable=len(found) - len(scores),
        mean_a=statistics.fmean(a),
        mean_b=statistics.fmean(b),
        deviation_a=statistics.pstdev(a),
        deviation_b=statistics.pstdev(b),
        wins=wins,
        ties=ties,
        win_rate=rate,
        low=low,
        high=high,
    )


def wilson(rate: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval in which a rate lies, measured on `count`."""
    middle = rate + z * z / (2 * count)
    spread = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)
