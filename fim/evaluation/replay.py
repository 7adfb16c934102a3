"""Passages to type, and what came of typing them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from fim.evaluation.counts import (
    LATE,
    WITHOUT_MODEL,
    AcceptedPart,
    Passage,
    ShownSuggestion,
    TypingCounts,
)
from fim.evaluation.faults import parses
from fim.evaluation.files import File, group_by_folder
from fim.evaluation.report import percentile

_TRIES = 20


def passages(files: Sequence[File], count: int, lines: int, seed: int) -> list[Passage]:
    """Draw files, from their folders by turns, and in each whole lines that begin with code.

    Lines without which a file does not parse are taken only of a file that has no others.
    """
    rng = random.Random(seed)
    folders = group_by_folder(files)
    for folder in folders:
        rng.shuffle(folder)
    by_turns = (file for row in zip_longest(*folders) for file in row if file is not None)
    found: list[Passage] = []
    for file in by_turns:
        if len(found) == count:
            break
        if fitting := _fitting(file.text, lines):
            tried = [Passage(file, *rng.choice(fitting)) for _ in range(_TRIES)]
            whole = (one for one in tried if parses(one.initial_text, file.language))
            found.append(next(whole, tried[0]))
    return found


def _fitting(text: str, lines: int) -> list[tuple[int, int]]:
    if "\r" in text:
        return []
    starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\n")]
    # The last line's end stays: nobody types in front of the next line.
    pairs = zip(starts, (start - 1 for start in starts[lines:]), strict=False)
    return [(a, b) for a, b in pairs if text[a:b].split("\n")[0].strip()]


@dataclass(frozen=True, slots=True)
class Summary:
    """What typing passages came to; shares are None where there is nothing to share."""

    passages: int
    plain_keys: int
    """What the same text takes without suggestions."""
    keys: int
    saved: float
    """Share of keys."""
    shown: int
    kept_whole: int
    """Of the shown, how many are what the file goes on with, to their end."""
    kept_in_part: int
    """How many others begin with lines or words that are."""
    accepted_characters: int
    calls: int
    calls_per_kept: float | None
    """Calls of the model for each character that was accepted."""
    keys_after_first: int
    """Keys after a passage's first suggestion."""
    without_model: float | None
    """Share of those keys that were answered in time, and without asking the model anew."""
    helped_without_model: float | None
    """Of those that got a suggestion, the share for which the model was not asked anew."""
    late: float | None
    """Share of those keys that got no answer before the next."""
    p50_ms: float | None
    """From a key to the suggestion it brought."""
    p95_ms: float | None
    doubled: int
    """Suggestions that would double a bracket."""
    repeated: int
    """Suggestions that repeat what stands behind them."""
    parsed: int
    """Suggestions shown while the file parsed."""
    broke: int
    """Of those, how many would break it."""

    def row(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def summarize(all_counts: Sequence[TypingCounts]) -> Summary:
    """Add up what happened."""
    shown = [one for counts in all_counts for one in counts.shown]
    answers, helped = Counter[str](), Counter[str]()
    for counts in all_counts:
        answers.update(counts.answers)
        helped.update(counts.helped)
    plain, keys = sum(t.plain_keys for t in all_counts), sum(t.keys for t in all_counts)
    kept = sum(t.accepted_characters for t in all_counts)
    calls = sum(t.calls for t in all_counts)
    times = sorted(one.milliseconds for one in shown)
    after = answers.total()
    return Summary(
        passages=len(all_counts),
        plain_keys=plain,
        keys=keys,
        saved=1 - keys / max(1, plain),
        shown=len(shown),
        kept_whole=sum(one.kept == AcceptedPart.WHOLE for one in shown),
        kept_in_part=sum(one.kept in (AcceptedPart.LINE, AcceptedPart.WORD) for one in shown),
        accepted_characters=kept,
        calls=calls,
        calls_per_kept=_share(calls, kept),
        keys_after_first=after,
        without_model=_share(sum(answers[name] for name in WITHOUT_MODEL), after),
        helped_without_model=_share(sum(helped[name] for name in WITHOUT_MODEL), helped.total()),
        late=_share(answers[LATE], after),
        p50_ms=percentile(times, 0.5) if times else None,
        p95_ms=percentile(times, 0.95) if times else None,
        doubled=sum(one.doubled for one in shown),
        repeated=sum(one.repeated for one in shown),
        parsed=sum(one.parsed for one in shown),
        broke=sum(one.broke for one in shown),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def counts_from_json(row: dict[str, Any]) -> TypingCounts:
    """Return the counts that JSON holds; raises TypeError or KeyError for something else."""
    shown = [ShownSuggestion(**{**one, "kept": AcceptedPart(one["kept"])}) for one in row["shown"]]
    return TypingCounts(**{**row, "shown": shown})
