"""The prompt: prefix, suffix and middle as ids, each special token exactly once.

Three forms. `cursor` is PSM as in the papers: the prefix is all text before the cursor. `line` is
PSM with the prefix ending where a line begins, the cursor's or one a few lines above; what stands
from there to the cursor follows `<fim_middle>`, as if the model had begun the middle there
(llama.vim asks so, by the line). `suffix-first` is StarCoder's SPM (Bavarian et al. 2022,
arXiv:2207.14255, variant 2): the suffix comes first, and all text before the cursor follows
`<fim_middle>`.

From key to key, and mostly from line to line, only the end of the last two changes, so their KV
cache stays good, and a line is continued as text is, without looking back behind the suffix for
where it broke off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fim.prompt.families import FileIds, FimFamily, NotebookIds
from fim.prompt.window import Encode, fit, unix_lines
from fim.settings import DEFAULT_FORM, Form
from fim.snapshot import Cell, Excerpt, Snapshot

_SPECIAL_IDS = 3
_RELATED_SHARE = 4
"""A fourth of the room may go to parts of other files."""

GROUP_LINES = 8
"""Lines of a group, in the form `line`; counted from the top."""
_GROUP_SHARE = 4
"""A group is at most a fourth of the room."""
_STEPS = 16
"""The room for it grows by a sixteenth at a time, and the window changes no more often."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids to send, and how many of them are text on either side."""

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
    """Return the prompt at the cursor, at most `max_tokens` long; `encode` gives ids of plain text.

    Both sides are encoded apart from each other and as plain text, as in training, so that text
    which spells a special token stays text. A family that never saw the suffix first is asked by
    `line`.
    """
    if form == "suffix-first" and not family.suffix_first:
        form = "line"
    room = max(0, max_tokens - _SPECIAL_IDS - len(family.start))
    header = _header(snapshot, family.files, room // _RELATED_SHARE, encode)
    room -= len(header)
    earlier = _cells(snapshot.cells, family.notebook, room // 2, encode)
    room -= len(earlier)
    typed: str = ""
    typed_ids: Sequence[int] = ()
    if form == "line":
        typed, typed_ids = _begun(snapshot, room, encode)
        room -= _reserved(len(typed_ids), room)
    before = snapshot.text[: snapshot.cursor - len(typed)]
    prefix, suffix = fit(before, snapshot.after, room, encode)
    if form == "suffix-first":
        marked = (family.prefix, family.suffix, *suffix, family.middle, *earlier, *prefix)
        return Prompt((*family.start, *header, *marked), len(prefix), len(suffix))
    ids = (
        *(*family.start, *header),
        *(family.prefix, *earlier, *prefix),
        *(family.suffix, *suffix),
        *(family.middle, *typed_ids),
    )
    return Prompt(ids, len(prefix) + len(typed_ids), len(suffix))


def _begun(snapshot: Snapshot, room: int, encode: Encode) -> tuple[str, Sequence[int]]:
    """Return what counts as begun of the middle, and its ids.

    That is the cursor's line and those of its group above it; the line alone where they are long,
    and of that its end: a line may be as long as a file, and there must be room for what is around.
    """
    before = snapshot.before
    start = len(before)
    for _ in range(before.count("\n") % GROUP_LINES + 1):
        start = before.rfind("\n", 0, start)
    group = before[start + 1 :]
    if len(group) <= 2 * room:
        ids = encode(unix_lines(group))
        if len(ids) <= room // _GROUP_SHARE:
            return group, ids
    line = snapshot.line_before
    return line, encode(line[-2 * room :])[-(room // 2) :] if line and room > 1 else ()


def _reserved(ids: int, room: int) -> int:
    """Return the room that a begun middle takes: in steps, so that from key to key it stays."""
    step = max(1, room // _STEPS)
    return min(room, -(-max(1, ids) // step) * step)


def _header(
    snapshot: Snapshot, marks: FileIds | None, room: int, encode: Encode
) -> tuple[int, ...]:
    """Return the ids of where the document stands and of what is related to it, before all else.

    The order is that of training: the repository, then its files, this one last. What is most
    useful stands nearest, and so furthest back; of an excerpt that does not fit nothing is shown.
    """
    if marks is None or not snapshot.path:
        return ()
    own = (marks.file, *encode(f"{snapshot.path}\n"))
    start: tuple[int, ...] = ()
    if snapshot.project and marks.repository is not None:
        start = (marks.repository, *encode(snapshot.project))
    room -= len(start) + len(own)
    if room < 0:
        return ()
    kept: tuple[int, ...] = ()
    for one in snapshot.excerpts:
        ids = _excerpt(one, marks.file, encode)
        if len(kept) + len(ids) <= room:
            kept = (*ids, *kept)
    return (*start, *kept, *own)


def _excerpt(one: Excerpt, mark: int, encode: Encode) -> tuple[int, ...]:
    return (mark, *encode(f"{one.path}\n{one.text.rstrip()}\n"))


def _cells(
    cells: Sequence[Cell], marks: NotebookIds | None, room: int, encode: Encode
) -> tuple[int, ...]:
    """Return the ids of a notebook's earlier cells, the newest that fit, up to where this begins.

    Their outputs are not known here. A model without marks for cells reads their code as text.
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
