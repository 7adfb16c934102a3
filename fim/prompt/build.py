"""Builds the prompt: token ids of prefix, suffix and middle, each special token exactly once.

There are three forms:

- `cursor` is PSM as in the papers: the prefix is all text before the cursor.
- `line` is PSM with a prefix that ends at the beginning of a line, either the cursor's or one a few
  lines above. The text from there to the cursor follows `<fim_middle>`, as if the model had written
  it as the beginning of the middle (llama.vim does so for the cursor's line).
- `suffix-first` is StarCoder's SPM (Bavarian et al. 2022, arXiv:2207.14255, variant 2): the suffix
  comes first, and all text before the cursor follows `<fim_middle>`.

From key to key, and mostly from line to line, only the end of the last two forms changes. So the KV
cache of the rest can be reused. In addition, the model continues the text directly before its
output. It need not find the place before the suffix where the prefix ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fim.prompt.families import FileIds, FimFamily, NotebookIds
from fim.prompt.window import Encode, fit, unix_lines
from fim.settings import DEFAULT_FORM, Form
from fim.snapshot import Cell, Excerpt, Snapshot

_NUM_FIM_IDS = 3
_RELATED_DIVISOR = 4
"""Divisor that gives the maximum share of excerpts of other files: a fourth of the prompt."""

GROUP_LINES = 8
"""Lines per group in the form `line`, counted from the top of the document.

The middle begins with the lines of the cursor's group above the cursor.
"""
_GROUP_DIVISOR = 4
"""Divisor that gives the maximum share of such a group: a fourth of the prompt."""
_RESERVE_STEPS = 16
"""Number of steps in which the room for the group grows: each is a sixteenth of the prompt.

The window of the document changes only when such a step begins.
"""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, and the number of its tokens that are text before and after the cursor."""

    ids: tuple[int, ...]
    prefix_tokens: int
    suffix_tokens: int


def build(
    snapshot: Snapshot,
    family: FimFamily,
    encode: Encode,
    max_tokens: int,
    form: Form = DEFAULT_FORM,
) -> Prompt:
    """Return the prompt at the cursor, with at most `max_tokens` tokens.

    `encode` must treat its argument as plain text, so that text that spells a special token stays
    text. Prefix and suffix are encoded separately, as in training. A family that was not trained
    with the suffix first gets the form `line` instead of `suffix-first`.
    """
    if form == "suffix-first" and not family.suffix_first:
        form = "line"
    room = max(0, max_tokens - _NUM_FIM_IDS - len(family.start))
    header = _header(snapshot, family.files, room // _RELATED_DIVISOR, encode)
    room -= len(header)
    cells = _cells(snapshot.cells, family.notebook, room // 2, encode)
    room -= len(cells)
    middle: str = ""
    middle_ids: Sequence[int] = ()
    if form == "line":
        middle, middle_ids = _middle_start(snapshot, room, encode)
        room -= _reserved(len(middle_ids), room)
    before = snapshot.text[: snapshot.cursor - len(middle)]
    prefix, suffix = fit(before, snapshot.after, room, encode)
    if form == "suffix-first":
        body = (family.prefix, family.suffix, *suffix, family.middle, *cells, *prefix)
        return Prompt((*family.start, *header, *body), len(prefix), len(suffix))
    ids = (
        *(*family.start, *header),
        *(family.prefix, *cells, *prefix),
        *(family.suffix, *suffix),
        *(family.middle, *middle_ids),
    )
    return Prompt(ids, len(prefix) + len(middle_ids), len(suffix))


def _middle_start(snapshot: Snapshot, room: int, encode: Encode) -> tuple[str, Sequence[int]]:
    """Return the start of the middle in the form `line`: text before the cursor, and its ids.

    The text is the cursor's line and the lines of its group above it. If they are too long, the
    text is the cursor's line alone. The ids of a long line cover only its end, because a line may
    be as long as a file and the prompt also needs the text around it.
    """
    before = snapshot.before
    start = len(before)
    for _ in range(before.count("\n") % GROUP_LINES + 1):
        start = before.rfind("\n", 0, start)
    group = before[start + 1 :]
    if len(group) <= 2 * room:
        ids = encode(unix_lines(group))
        if len(ids) <= room // _GROUP_DIVISOR:
            return group, ids
    line = snapshot.line_before
    return line, encode(line[-2 * room :])[-(room // 2) :] if line and room > 1 else ()


def _reserved(num_ids: int, room: int) -> int:
    """Return the room for the beginning of the middle, in steps, so that it rarely changes."""
    step = max(1, room // _RESERVE_STEPS)
    return min(room, -(-max(1, num_ids) // step) * step)


def _header(
    snapshot: Snapshot, marks: FileIds | None, room: int, encode: Encode
) -> tuple[int, ...]:
    """Return the ids of the document's path and of the excerpts of other files.

    The order is that of training: the repository, then its files, this document last. The most
    useful excerpt comes last, nearest to the document. Excerpts are included whole or not at all.
    """
    if marks is None or not snapshot.path:
        return ()
    document = (marks.file, *encode(f"{snapshot.path}\n"))
    repository: tuple[int, ...] = ()
    if snapshot.project and marks.repository is not None:
        repository = (marks.repository, *encode(snapshot.project))
    room -= len(repository) + len(document)
    if room < 0:
        return ()
    excerpts: tuple[int, ...] = ()
    for excerpt in snapshot.excerpts:
        ids = _excerpt(excerpt, marks.file, encode)
        if len(excerpts) + len(ids) <= room:
            excerpts = (*ids, *excerpts)
    return (*repository, *excerpts, *document)


def _excerpt(excerpt: Excerpt, mark: int, encode: Encode) -> tuple[int, ...]:
    return (mark, *encode(f"{excerpt.path}\n{excerpt.text.rstrip()}\n"))


def _cells(
    cells: Sequence[Cell], marks: NotebookIds | None, room: int, encode: Encode
) -> tuple[int, ...]:
    """Return the ids of the cells before this one in a notebook: the last ones that fit.

    The outputs of the cells are unknown. A model without special tokens for cells gets their code
    as plain text.
    """
    if not cells:
        return ()
    end: tuple[int, ...] = () if marks is None else (marks.code,)
    room -= len(end) + (marks is not None)
    kept: tuple[int, ...] = ()
    for cell in reversed(cells):
        ids = tuple(encode(cell.text if marks else f"{cell.text}\n\n"))
        if marks is not None:
            ids = (
                (marks.text, *ids)
                if cell.kind == "text"
                else (marks.code, *ids, marks.empty_output)
            )
        elif cell.kind == "text":
            continue
        if len(kept) + len(ids) > room:
            break
        kept = (*ids, *kept)
    start: tuple[int, ...] = () if marks is None else (marks.start,)
    return (*start, *kept, *end)
