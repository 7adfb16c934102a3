"""What an engine process is started with."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"]
Device = Literal["auto", "cpu", "cuda", "mps", "balanced"]

AUTO_MODEL = "auto"
DEMO_MODEL = "demo"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Which model to hold, and how. Two servers with equal settings share one engine process."""

    model: str = AUTO_MODEL
    """Hub id, directory, `demo` for the embedded demo model, or `auto`."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Dtype = "auto"
    """`auto` is bfloat16 on a GPU that has it, else float16; on a CPU float32 for small models.

    Where that does not fit the free memory, `auto` is int8, then int4.
    """
    device: Device = "auto"
    """`auto` takes a GPU when the model fits; `balanced` spreads it over GPUs, CPU and disk."""
    draft_model: str | None = None
    """Hub id or directory of a smaller model of the same vocabulary, which guesses ahead."""
    context_window: int | None = None
    """Fewer positions than the model has, to save memory; None is all of them."""
    offline: bool = False
    """Never reach for the hub, even for a model that is not on disk."""
    idle_timeout_s: float = 1800.0
    """Seconds without a request or a connected server after which the process ends; 0 is never."""

    @property
    def key(self) -> str:
        """Twelve hex digits that are equal for equal settings; names the socket and the lock."""
        text = repr(sorted(asdict(self).items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
