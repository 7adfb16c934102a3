"""Markdown tables of recorded measurements, and their places in the documents.

A place begins with the line `<!-- figures: NAME -->` and ends with `<!-- end of figures -->`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.peers.comparison import LLAMA, Result
from benchmarks.report.records import Record

END = "<!-- end of figures -->"


class NoPlaceError(Exception):
    """A document has no place for a table; the message says which."""


def begin(name: str) -> str:
    """Return the line with which the place of a table begins."""
    return f"<!-- figures: {name} -->"


def results_of(record: Record) -> dict[str, Result]:
    """Return the results of a comparison with peers, by their titles."""
    return {title: Result(**result) for title, result in record.content["results"].items()}


def machine_line(record: Record) -> str:
    """Return the sentence that says when, where and how a record was made."""
    facts = record.machine
    versions = [f"torch {facts['torch']}"]
    if "llama.cpp" in facts:
        versions.append(f"llama.cpp of llama-cpp-python {facts['llama.cpp'].split()[0]}")
    place = f"{facts['cores']} cores of an {facts['cpu']}"
    if facts["gpu"]:
        place += f", {facts['gpu']}"
    return f"{record.date}, {place}, {', '.join(versions)}. `{record.command}`"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _comparison(title: str, result: Result) -> Iterator[str]:
    programs = tuple(result.peers)
    yield _row((title, "median", "min to max", *(f"ours ÷ {program}" for program in programs)))
    yield "|---|" + "---|" * (2 + len(programs))
    for name, runs in result.runs.items():
        digits = 2 if statistics.median(runs) < 100 else 0
        figures = [
            f"{value:,.{digits}f}" for value in (statistics.median(runs), min(runs), max(runs))
        ]
        ratios = [result.ratio_text(name, program) for program in programs]
        yield _row((name, figures[0], f"{figures[1]} to {figures[2]}", *ratios))


def rendered(record: Record) -> str:
    """Return the text between the two lines of a place."""
    lines = [machine_line(record)]
    for title, result in results_of(record).items():
        lines += ["", *_comparison(title, result)]
    return "\n".join(lines)


def summary(records: Mapping[str, Record]) -> str:
    """Return a table of our medians, with the ratio to the fastest form of llama.cpp."""
    dtypes = ("bfloat16", "int8", "int4")
    lines = [
        _row(("milliseconds; in parentheses: ours ÷ llama.cpp", *dtypes)),
        "|---|---|---|---|",
    ]
    for name, record in records.items():
        for title, result in results_of(record).items():
            cells = [_summary_cell(result, f"ours {dtype}") for dtype in dtypes]
            lines.append(_row((f"{title}: `python -m benchmarks.report --only {name}`", *cells)))
    return "\n".join(lines)


def _summary_cell(result: Result, name: str) -> str:
    if name not in result.runs:
        return ""
    milliseconds = statistics.median(result.runs[name])
    ratio = result.ratio_text(name, LLAMA)
    return f"{milliseconds:,.{1 if milliseconds < 100 else 0}f} ({ratio})"


def written(document: str, texts: Mapping[str, str]) -> str:
    """Return a document with texts in the places of these names.

    Raises NoPlaceError if the document lacks one.
    """
    for name, text in texts.items():
        before, opening, rest = document.partition(begin(name))
        _, closing, after = rest.partition(END)
        if not opening or not closing:
            raise NoPlaceError(f"there is no place for the table {name!r}: add {begin(name)!r}")
        document = f"{before}{begin(name)}\n\n{text}\n\n{END}{after}"
    return document
