"""A job: one request on its way through the engine's thread.

Importing this module does not import torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.api import Chunk, GenerationRequest, Priority, Progress, TokenLogprob
from engine.scheduling.fairness import UserWork


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A text whose log-probabilities are needed."""

    prompt: tuple[int, ...]
    """Token ids of the text, at least one."""
    num_top: int
    """Number of likeliest alternatives to report per token."""
    user: str = ""
    """Name of the user; empty if the engine has one user."""
    progress: Progress | None = None
    """What the engine writes its progress to, if the caller needs it."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The result of a `ScoringRequest`."""

    logprobs: tuple[TokenLogprob | None, ...]
    """The log-probability of each token; None for the first."""


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The last event of every job, also of a failed or cancelled one."""


JobEvent = Chunk | Scores | Exception | EndOfStream
"""An event of a job: a chunk, scores, an exception (at most one), or the end of the stream."""


@dataclass(eq=False)
class Job:
    """A request, and the function that receives its results."""

    request: GenerationRequest | ScoringRequest
    emit: Callable[[JobEvent], None]
    """Function that receives each event in the engine's thread. It must not block."""
    number: int
    """Position in the order of arrival."""
    arrived: float = field(default_factory=time.monotonic)
    """Time of arrival, in seconds of the monotonic clock."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Event that the caller sets when it does not need the rest of the output."""

    @property
    def priority(self) -> Priority:
        """Priority in the schedule. Scoring has that of a chat."""
        if isinstance(self.request, ScoringRequest):
            return Priority.CHAT
        return self.request.priority

    @property
    def user(self) -> str:
        """Name of the user."""
        return self.request.user

    @property
    def work(self) -> UserWork:
        """The user and the priority, for which service is counted."""
        return self.user, self.priority

    @property
    def adapter(self) -> str | None:
        """Name of the LoRA adapter to use, None for the base model."""
        return None if isinstance(self.request, ScoringRequest) else self.request.adapter

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens to generate."""
        return 0 if isinstance(self.request, ScoringRequest) else self.request.max_new_tokens

    @property
    def reuse_cache(self) -> bool:
        """Whether rows of the prompt in the prefix cache may be reused. Scoring needs all
        logits."""
        return not isinstance(self.request, ScoringRequest)
