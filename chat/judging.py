"""Compare the answers of two models, judged by a third model.

StarChat was judged in the same way: a strong model scores two answers from 1 to 8 (Hugging Face's
StarChat post, after LMSYS' Vicuna). A judge favours the answer that it reads first (Zheng et al.
2023, arXiv:2306.05685), so each pair is judged in both orders. A pair with an unreadable score is
left out.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

MIN_SCORE, MAX_SCORE = 1, 8

AskJudge = Callable[[str], Awaitable[str]]
"""Function that sends a prompt to the judge and returns its answer."""

_PROMPT = """\
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
    """A question and the answers of the models A and B."""

    question: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A pair with its scores."""

    pair: AnswerPair
    a: float | None
    """The mean score of A in both orders. None if a score could not be read."""
    b: float | None
    """The mean score of B in both orders. None if a score could not be read."""
    words: tuple[str, str]
    """The judge's texts: with A first, and with B first."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result for all pairs. A tie is half a win for each model."""

    num_judged: int
    num_unreadable: int
    """Number of pairs that are left out because a score could not be read."""
    mean_a: float
    mean_b: float
    deviation_a: float
    deviation_b: float
    wins: int
    """Number of pairs in which A has the higher score."""
    ties: int
    win_rate: float
    """The win rate of A, from 0 to 1."""
    low: float
    """Lower end of the 95 % interval of the win rate (Wilson 1927)."""
    high: float
    """Upper end of the 95 % interval of the win rate (Wilson 1927)."""


def judge_prompt(pair: AnswerPair, *, b_first: bool) -> str:
    """Return the prompt for the judge."""
    first, second = (pair.b, pair.a) if b_first else (pair.a, pair.b)
    return _PROMPT.format(
        question=pair.question, first=first, second=second, lowest=MIN_SCORE, highest=MAX_SCORE
    )


def read_scores(answer: str) -> tuple[int, int] | None:
    """Return the two scores in the first line. None if they are missing or out of range."""
    lines = [line for line in answer.strip().split("\n") if line.strip()]
    match = _SCORES.match(lines[0]) if lines else None
    if match is None:
        return None
    first, second = int(match[1]), int(match[2])
    in_range = MIN_SCORE <= first <= MAX_SCORE and MIN_SCORE <= second <= MAX_SCORE
    return (first, second) if in_range else None


async def judge(pair: AnswerPair, ask: AskJudge) -> JudgedPair:
    """Have one pair judged in both orders."""
    a_first = await ask(judge_prompt(pair, b_first=False))
    b_first = await ask(judge_prompt(pair, b_first=True))
    words = (a_first, b_first)
    scores, swapped_scores = read_scores(a_first), read_scores(b_first)
    if scores is None or swapped_scores is None:
        return JudgedPair(pair, None, None, words)
    mean_a = (scores[0] + swapped_scores[1]) / 2
    mean_b = (scores[1] + swapped_scores[0]) / 2
    return JudgedPair(pair, mean_a, mean_b, words)


def compare(judged: Sequence[JudgedPair]) -> Comparison | None:
    """Return the scores and the win rate of A. None if no pair has readable scores."""
    scores = [(pair.a, pair.b) for pair in judged if pair.a is not None and pair.b is not None]
    if not scores:
        return None
    scores_a, scores_b = [a for a, _ in scores], [b for _, b in scores]
    wins = sum(a > b for a, b in scores)
    ties = sum(a == b for a, b in scores)
    win_rate = (wins + ties / 2) / len(scores)
    low, high = wilson_interval(win_rate, len(scores))
    return Comparison(
        num_judged=len(scores),
        num_unreadable=len(judged) - len(scores),
        mean_a=statistics.fmean(scores_a),
        mean_b=statistics.fmean(scores_b),
        deviation_a=statistics.pstdev(scores_a),
        deviation_b=statistics.pstdev(scores_b),
        wins=wins,
        ties=ties,
        win_rate=win_rate,
        low=low,
        high=high,
    )


def wilson_interval(rate: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the confidence interval of a rate that was measured on `count` samples.

    `z` is the quantile of the normal distribution; 1.96 gives the 95 % interval.
    """
    centre = rate + z * z / (2 * count)
    spread = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
