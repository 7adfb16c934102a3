"""Files as they are open in the editor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file as it is open in the editor."""

    path: str
    language: str
    text: str
    version: int | None
