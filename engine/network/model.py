"""A model in memory: its forward pass and the facts that decoding needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.api import EngineInfo
from engine.errors import PromptTooLongError, RequestError
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import CacheShape
from engine.network.forward import Forward
from engine.network.lora import Adapter
from engine.network.step_costs import StepCosts
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can decode."""

    forward: Forward
    tokenizer: Tokenizer
    info: EngineInfo
    """Description of the model for clients."""
    vocab_size: int
    """Number of token ids that the model has logits for."""
    end_ids: frozenset[int]
    """Token ids that end every output: the model's end of text."""
    cache_shape: CacheShape
    """Sizes of the model's KV caches."""
    arena: Arena | None = None
    """Memory of the KV caches on a GPU; None where each cache allocates its own."""
    reserved: int = 0
    """Number of bytes that the KV caches leave free for the model of another engine."""
    costs: StepCosts = field(default_factory=StepCosts)
    """Measured durations of the forward passes."""

    @property
    def context_window(self) -> int:
        """Number of positions that prompt and output share, in tokens."""
        return self.info.context_window

    def check_prompt(self, prompt: Sequence[int], adapter: Adapter | None = None) -> None:
        """Raise RequestError for a prompt that cannot be computed."""
        if not prompt:
            raise RequestError("The prompt is empty: send at least one token.")
        # First, since looking at a million ids would delay the requests that run.
        if len(prompt) >= self.context_window:
            raise PromptTooLongError.of(len(prompt), self.context_window)
        self.check_ids(prompt, adapter)

    def check_ids(self, ids: Sequence[int], adapter: Adapter | None = None) -> None:
        """Raise RequestError for token ids that the model does not have."""
        added = adapter.tokens if adapter else None
        size = max(self.vocab_size, added.size) if added else self.vocab_size
        if ids and (max(ids) >= size or min(ids) < 0):
            raise RequestError(
                f"The request contains a token id outside the model's vocabulary of {size}. It was "
                "probably encoded with the tokenizer of another model."
            )
