"""Builds the prompt: token ids of prefix, suffix and middle, each special token exactly once.

There are three forms:

- `cursor` has the parts in the order of the family, as in the papers: mostly PSM, and for some
  families the suffix before the prefix. The prefix is all text before the cursor.
- `line` has the same order, and a prefix that ends at the beginning of a line, either the cursor's
  or one a few lines above. The text from there to the cursor follows `<fim_middle>`, as if the
  model had written it as the beginning of the middle (llama.vim does so for the cursor's line).
- `suffix-first` is StarCoder's SPM (Bavarian et al. 2022, arXiv:2207.14255, variant 2): the suffix
  comes first, and all text before the cursor follows `<fim_middle>`.

A model without tokens for fill-in-the-middle gets the text before the cursor, in every form.

From key to key, and mostly from line to line, only the end of the last two forms changes. So the KV
cache of the rest can be reused. In addition, the model continues the text directly before its
output. It need not find the place before the suffix where the prefix ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fim.prompt.families import FileIds, FimFamily, FimIds, NotebookIds
from fim.prompt.spellings import Order
from fim.prompt.window import Encode, fit, unix_lines
from fim.settings import DEFAULT_FORM, Form
from fim.snapshot import Cell, Edit, Excerpt, Snapshot

_EXCERPTS_DIVISOR, _EDITS_DIVISOR, _PROBLEMS_DIVISOR = 4, 8, 16
"""Divisors that give the maximum shares of text before the document: excerpts of other files with
the paths are at most a fourth of the prompt, edits an eighth more, diagnostics a sixteenth more."""

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


def build(
    snapshot: Snapshot,
    family: FimFamily,
    encode: Encode,
    max_tokens: int,
    form: Form = DEFAULT_FORM,
    encode_start: Encode | None = None,
) -> tuple[int, ...]:
    """Return the ids of the prompt at the cursor, at most `max_tokens` of them.

    `encode` must treat its argument as plain text, so that text that spells a special token stays
    text, and as a piece: without a space before it. Prefix and suffix are encoded separately, as in
    training. `encode_start` encodes the text at the start of the prefix; None if that needs no
    function of its own. A family that was not trained with a form gets the form that its order
    allows: `line` instead of `suffix-first`, and `cursor` if it has no middle token.
    """
    fim = family.fim
    room = max(0, max_tokens - len(family.start) - (0 if fim is None else len(fim.ids)))
    header = _header(snapshot, family.files, room, encode)
    room -= len(header)
    cells = _cells(snapshot.cells, family.notebook, room // 2, encode)
    room -= len(cells)
    if cells:
        encode_start = None  # the cells are before it
    form = _usable(form, fim)
    middle: str = ""
    middle_ids: Sequence[int] = ()
    if form == "line":
        middle, middle_ids = _middle_start(snapshot, room, encode)
        room -= _reserved(len(middle_ids), room)
    before = snapshot.text[: snapshot.cursor - len(middle)]
    after = "" if fim is None else snapshot.after
    prefix, suffix = fit(before, after, room, encode, encode_start)
    parts = _Parts((*cells, *prefix), suffix, middle_ids)
    ids = (*family.start, *header, *_ordered(parts, fim, form))
    return ids or tuple(encode("\n"))  # the engine needs at least one


@dataclass(frozen=True, slots=True)
class _Parts:
    """The ids of the text around the cursor."""

    prefix: Sequence[int]
    suffix: Sequence[int]
    middle: Sequence[int]
    """The start of the middle, in the form `line`."""


def _usable(form: Form, fim: FimIds | None) -> Form:
    """Return the form to use instead of one that the family was not trained with."""
    if form == "suffix-first" and fim is not None and not fim.has_spm:
        form = "line"
    if fim is None or (form == "line" and fim.middle is None):
        form = "cursor"
    return form


def _ordered(parts: _Parts, fim: FimIds | None, form: Form) -> tuple[int, ...]:
    """Return the ids of the parts in the order of the family or form, with the FIM ids."""
    if fim is None:
        return tuple(parts.prefix)
    middle_id = () if fim.middle is None else (fim.middle,)
    if form == "suffix-first":
        return (fim.prefix, fim.suffix, *parts.suffix, *middle_id, *parts.prefix)
    prefix, suffix = (fim.prefix, *parts.prefix), (fim.suffix, *parts.suffix)
    if fim.order is Order.SUFFIX_FIRST:
        return (*suffix, *prefix, *middle_id, *parts.middle)
    return (*prefix, *suffix, *middle_id, *parts.middle)


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
    """Return the ids of the document's path and of other text of the project.

    The order is that of training: the repository, then its files, this document last. Edits follow
    the excerpts of other files, as files with a diff, and then come the diagnostics of the
    document, as a file with a message per line. The most useful excerpt, and the most useful edit,
    comes last. Each is included whole or not at all.
    """
    if marks is None or not snapshot.path:
        return ()
    document = (marks.file, *encode(f"{snapshot.path}\n"))
    repository: tuple[int, ...] = ()
    if snapshot.project and marks.repository is not None:
        repository = (marks.repository, *encode(snapshot.project))
    excerpts_room = room // _EXCERPTS_DIVISOR - len(repository) - len(document)
    if excerpts_room < 0:
        return ()
    excerpts = _fitting(map(_excerpt, snapshot.excerpts), marks.file, excerpts_room, encode)
    edits = _fitting(map(_diff, snapshot.edits), marks.file, room // _EDITS_DIVISOR, encode)
    list_ = [_problems(snapshot)] if snapshot.problems else []
    problems = _fitting(list_, marks.file, room // _PROBLEMS_DIVISOR, encode)
    return (*repository, *excerpts, *edits, *problems, *document)


def _fitting(texts: Iterable[str], mark: int, room: int, encode: Encode) -> tuple[int, ...]:
    """Return the ids of the files that fit, the first one last; a file's first line is its path."""
    chosen: tuple[int, ...] = ()
    for text in texts:
        ids = (mark, *encode(text))
        if len(chosen) + len(ids) <= room:
            chosen = (*ids, *chosen)
    return chosen


def _excerpt(excerpt: Excerpt) -> str:
    return f"{excerpt.path}\n{excerpt.text.rstrip()}\n"


def _diff(edit: Edit) -> str:
    """Return an edit as a file with a diff, as `git diff` writes its lines."""
    lines = [
        *(f" {line}" for line in edit.above),
        *(f"-{line}" for line in edit.removed),
        *(f"+{line}" for line in edit.added),
        *(f" {line}" for line in edit.below),
    ]
    return "\n".join([f"{edit.path}.diff", *lines, ""])


def _problems(snapshot: Snapshot) -> str:
    """Return the diagnostics of the document as a file, with their line numbers from 1."""
    lines = [f"{snapshot.path}:{each.line + 1}: {each.message}" for each in snapshot.problems]
    return "\n".join(["problems.txt", *lines, ""])


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
