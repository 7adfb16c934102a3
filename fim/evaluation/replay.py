"""Passages for simulated typing, and a summary of the results."""

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

_MAX_ATTEMPTS = 20


def passages(files: Sequence[File], count: int, lines: int, seed: int) -> list[Passage]:
    """Return random passages of `lines` whole lines that begin with code, one per file.

    The folders take turns. A passage is preferred if its file parses without it.
    """
    rng = random.Random(seed)
    folders = group_by_folder(files)
    for folder in folders:
        rng.shuffle(folder)
    by_turns = (file for row in zip_longest(*folders) for file in row if file is not None)
    drawn: list[Passage] = []
    for file in by_turns:
        if len(drawn) == count:
            break
        if spans := [span for span in _spans(file.text, lines) if file.may_cut(*span)]:
            attempts = [Passage(file, *rng.choice(spans)) for _ in range(_MAX_ATTEMPTS)]
            parsing = (
                passage for passage in attempts if parses(passage.initial_text, file.language)
            )
            drawn.append(next(parsing, attempts[0]))
    return drawn


def _spans(text: str, lines: int) -> list[tuple[int, int]]:
    """Return the start and end of all passages of a text."""
    if "\r" in text:
        return []
    starts = [0, *(offset + 1 for offset, character in enumerate(text) if character == "\n")]
    # The last line feed stays, because users do not type directly before the next line.
    pairs = zip(starts, (start - 1 for start in starts[lines:]), strict=False)
    return [(start, end) for start, end in pairs if text[start:end].split("\n")[0].strip()]


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of typing several passages; a share is None if it is undefined."""

    passages: int
    """Number of passages."""
    plain_keys: int
    """Number of key presses without suggestions."""
    keys: int
    """Number of key presses with suggestions."""
    saved: float
    """Share of key presses that suggestions saved."""
    shown: int
    """Number of suggestions shown."""
    kept_whole: int
    """Number of suggestions that are correct to their end."""
    kept_in_part: int
    """Number of other suggestions whose first lines or words are correct."""
    accepted_characters: int
    calls: int
    """Number of requests to the model."""
    calls_per_kept: float | None
    """Requests to the model per accepted character."""
    keys_after_first: int
    """Number of key presses after the first suggestion of each passage."""
    without_model: float | None
    """Share of these key presses with a result in time and without a new request to the model."""
    helped_without_model: float | None
    """The same share among the key presses with a suggestion."""
    late: float | None
    """Share of these key presses without a result before the next one."""
    p50_ms: float | None
    """Median time from a key press to its suggestion, in milliseconds."""
    p95_ms: float | None
    """95th percentile of that time, in milliseconds."""
    doubled: int
    """Number of suggestions that would double a bracket."""
    repeated: int
    """Number of suggestions that repeat the text after the cursor."""
    parsed: int
    """Number of suggestions that were shown while the file parsed."""
    broke: int
    """Number of these suggestions that would break the syntax."""

    def row(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        return asdict(self)


def summarize(all_counts: Sequence[TypingCounts]) -> Summary:
    """Return the summary of typing several passages."""
    shown = [suggestion for counts in all_counts for suggestion in counts.shown]
    results, with_suggestion = Counter[str](), Counter[str]()
    for counts in all_counts:
        results.update(counts.results)
        with_suggestion.update(counts.results_with_suggestion)
    plain_keys = sum(counts.plain_keys for counts in all_counts)
    keys = sum(counts.keys for counts in all_counts)
    accepted = sum(counts.accepted_characters for counts in all_counts)
    calls = sum(counts.calls for counts in all_counts)
    times = sorted(suggestion.milliseconds for suggestion in shown)
    num_keys = results.total()
    num_without_model = sum(results[name] for name in WITHOUT_MODEL)
    num_suggested_without_model = sum(with_suggestion[name] for name in WITHOUT_MODEL)
    return Summary(
        passages=len(all_counts),
        plain_keys=plain_keys,
        keys=keys,
        saved=1 - keys / max(1, plain_keys),
        shown=len(shown),
        kept_whole=sum(suggestion.kept == AcceptedPart.WHOLE for suggestion in shown),
        kept_in_part=sum(
            suggestion.kept in (AcceptedPart.LINE, AcceptedPart.WORD) for suggestion in shown
        ),
        accepted_characters=accepted,
        calls=calls,
        calls_per_kept=_share(calls, accepted),
        keys_after_first=num_keys,
        without_model=_share(num_without_model, num_keys),
        helped_without_model=_share(num_suggested_without_model, with_suggestion.total()),
        late=_share(results[LATE], num_keys),
        p50_ms=percentile(times, 0.5) if times else None,
        p95_ms=percentile(times, 0.95) if times else None,
        doubled=sum(suggestion.doubled for suggestion in shown),
        repeated=sum(suggestion.repeated for suggestion in shown),
        parsed=sum(suggestion.parsed for suggestion in shown),
        broke=sum(suggestion.broke for suggestion in shown),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def counts_from_json(row: dict[str, Any]) -> TypingCounts:
    """Return the counts from a JSON object; raises TypeError or KeyError for other objects."""
    shown = [
        ShownSuggestion(**{**suggestion, "kept": AcceptedPart(suggestion["kept"])})
        for suggestion in row["shown"]
    ]
    return TypingCounts(**{**row, "shown": shown})
