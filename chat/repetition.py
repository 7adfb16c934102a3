"""Detect that a model repeats itself, so that its answer can be stopped early.

An answer is cut only if it repeats the same lines three times in succession, because a longer
answer may well contain a line twice. `fim.postprocess.repetition` has stricter limits for short
suggestions: it also removes repetition within a line, and the second of two equal lines.
"""

from __future__ import annotations

_MAX_LOOP_LINES = 4
_MIN_TIMES = 3


def end_before_loop(text: str) -> int | None:
    """Return the offset after the first occurrence of the lines that repeat at the end of a text.

    Returns None if the last complete lines do not repeat.
    """
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    for num_lines in range(1, _MAX_LOOP_LINES + 1):
        block = lines[-num_lines:]
        if len(lines) < num_lines * _MIN_TIMES or not "".join(block).strip():
            continue
        if lines[-num_lines * _MIN_TIMES :] == block * _MIN_TIMES:
            return len("".join(lines[: -num_lines * (_MIN_TIMES - 1)]))
    return None
