"""Detect that a model repeats itself, so that its answer can be stopped early.

`fim.postprocess.repetition` has another purpose and therefore other limits. It removes repetition
from a short suggestion that is already generated, also within one line and from the second equal
line on. Here an answer is cut only if the same lines stand three times in succession, because code
in a longer answer may well repeat a line.
"""

from __future__ import annotations

_MAX_LOOP_LINES = 4
_MIN_TIMES = 3


def end_before_loop(text: str) -> int | None:
    """Return where the repetition at the end of a text begins, after its first occurrence.

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
