"""The input of one forward pass: the tokens of one or more sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from engine.kv_cache.cache import KVCache
    from engine.network.lora import Adapter

DECODE_ROWS = 32
"""Maximum number of rows of a decoding step, over all its sequences.

Up to this many rows a step is limited by reading the weights from memory, so all backends have a
fast path for it. A step with more rows is a prefill, limited by arithmetic.
"""


class BatchEntry(NamedTuple):
    """The tokens that one forward pass computes for one sequence."""

    ids: tuple[int, ...]
    """Token ids that follow the committed rows of `cache`."""
    cache: KVCache
    """KV cache of the sequence. A batch contains each cache at most once."""
    num_logits: int = 1
    """Number of tokens, counted from the last, whose logits are needed; 0 for none."""
    adapter: Adapter | None = None
    """LoRA adapter of the sequence; the owner of `cache`."""

    @property
    def start(self) -> int:
        """Position of the first token in the sequence."""
        return len(self.cache.ids)

    @property
    def end(self) -> int:
        """Position after the last token: the number of rows that the cache holds afterwards."""
        return len(self.cache.ids) + len(self.ids)


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """The shapes of a decoding step with static shapes."""

    columns: int
    """Number of cache rows of each sequence that the attention reads."""
    sequences: int
    """Number of sequences."""
    rows: int
    """Number of rows per sequence."""

    @property
    def num_rows(self) -> int:
        """Number of rows of the whole step."""
        return self.sequences * self.rows
