"""Tables of a load measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.table import Table

from benchmarks.load.summary import TARGET_MS, Summary, flood_factor, most_users

_Cell = Callable[[Summary], str]

_ROWS: dict[str, _Cell] = {
    "typists": lambda each: str(each.typists),
    "chat users": lambda each: str(each.chats),
    "requests of a flooding user": lambda each: str(each.flood),
    "requests": lambda each: str(each.honest.sent),
    "answered": lambda each: str(each.honest.answered),
    "cancelled": lambda each: str(each.honest.cancelled),
    "refused": lambda each: str(each.honest.refused),
    "unanswered": lambda each: str(each.honest.unanswered),
    "suggestion, p50 ms": lambda each: _ms(each.suggestion.p50),
    "suggestion, p95 ms": lambda each: _ms(each.suggestion.p95),
    "suggestion, p99 ms": lambda each: _ms(each.suggestion.p99),
    "first token, p50 ms": lambda each: _ms(each.first_token.p50),
    "first token, p95 ms": lambda each: _ms(each.first_token.p95),
    "first token, p99 ms": lambda each: _ms(each.first_token.p99),
    "chat, first token, p95 ms": lambda each: _ms(each.chat_first_token.p95),
    "worst user's p95 ms": lambda each: _ms(each.worst_p95),
    "÷ best user's": lambda each: "" if each.unfairness is None else f"{each.unfairness:.1f}",
    "suggestions per second": lambda each: f"{each.completions_per_s:.1f}",
    "output tokens per second": lambda each: f"{each.tokens_per_s:.0f}",
    "of them chat": lambda each: f"{each.chat_tokens_per_s:.0f}",
    "prompt tokens reused": lambda each: f"{each.reused:.1%}",
    "server, MiB": lambda each: f"{each.memory_mib:.0f}",
    "server, growth": lambda each: f"{each.memory_growth:+.1%}",
    "server, busy cores": lambda each: f"{each.server_cores:.2f}",
    "load generator, busy cores": lambda each: f"{each.generator_cores:.2f}",
    "load generator, late p95 ms": lambda each: f"{each.generator_delay_ms:.1f}",
}


def table(summaries: Sequence[Summary]) -> Table:
    """Return a table with one column per server and number of users."""
    result = Table(title="Requests that were given up count as longer than they lasted")
    result.add_column("")
    for each in summaries:
        result.add_column(each.server, justify="right")
    for name, cell in _ROWS.items():
        result.add_row(name, *map(cell, summaries))
    return result


def _ms(milliseconds: float) -> str:
    return "> all" if math.isinf(milliseconds) else f"{milliseconds:.0f}"


def conclusions(summaries: Sequence[Summary]) -> list[str]:
    """Return what follows from the measurements, as sentences."""
    sentences = []
    names = list(dict.fromkeys(each.server for each in summaries))
    for name in names:
        own = [each for each in summaries if each.server == name and not each.flood]
        if not own:
            continue
        served, failed = most_users({each.typists: each.serves for each in own})
        limit = f"at least {served}" if failed is None else f"{served}, but not {failed}"
        sentences.append(f"{name}: {limit} typists get 95 % within {TARGET_MS:.0f} ms.")
        factor = flood_factor([each for each in summaries if each.server == name])
        if factor is not None:
            sentences.append(f"{name}: a flooding user multiplies the others' p95 by {factor:.2f}.")
    sentences += _comparisons(summaries, names)
    for each in summaries:
        place = f"{each.server}, {each.typists} typists{', flooded' if each.flood else ''}"
        sentences += [f"{place}: {fault}" for fault in each.faults()]
    return sentences


def _comparisons(summaries: Sequence[Summary], names: Sequence[str]) -> list[str]:
    """Return for each number of users which of two servers is faster, and by how much."""
    sentences = []
    by_key = {(each.server, each.typists): each for each in summaries if not each.flood}
    for typists in sorted({each.typists for each in summaries}):
        present = [by_key[name, typists] for name in names if (name, typists) in by_key]
        if len(present) > 1:
            ranked = sorted(present, key=lambda each: each.suggestion.p95)
            times = ", ".join(f"{each.server} {_ms(each.suggestion.p95)} ms" for each in ranked)
            sentences.append(f"p95 with {typists} typists: {times}.")
    return sentences
