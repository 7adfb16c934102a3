"""What a shared engine process does about models that other engines have in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sharing:
    """Shares with other engine processes which models are in memory. Both functions block."""

    is_loaded: Callable[[Path], bool]
    """Whether another process has the model at this path in memory, with the same options."""
    claim: Callable[[Path], None]
    """Makes this process the one that has the model at this path.

    Raises EngineElsewhereError if another process is that already.
    """
