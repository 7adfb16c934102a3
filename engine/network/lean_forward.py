"""The network: from ids to logits, with the KV cache between calls.

`LeanForward` is GPTBigCode written out for a multi-query model that lies wholly on one device: few
large operations, no hooks, no mask where none is needed; for a few rows one call of the kernels on
a CPU, and one recorded step on a GPU. Everything else is for `engine.network.transformers_forward`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor

from engine.decoding.sequence import Part
from engine.kernels.build import shared_kernels
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import KVCache
from engine.network.attention import attend, causal_mask
from engine.network.cuda_graphs import recorded_steps
from engine.network.fused_step import MOST_ROWS, FusedStep
from engine.network.lora import AddedTokens
from engine.network.weights import Layer, Weights, weights_of

_MANY_ROWS = 64
"""Ids from which on a step is shared out to all cores, however small the model."""


class Forward(Protocol):
    """Computes logits and fills the cache."""

    def __call__(self, ids: Tensor, cache: KVCache, *, last: int = 1) -> Tensor:
        """Write the rows of `ids` behind those the cache holds and return float32 logits.

        `ids` is (n,) of int64; the result is (last, vocab), for so many ids from the last; where
        that is 0 nothing is said about it. The caller commits the rows.
        """
        ...

    def batch(self, parts: Sequence[Part]) -> list[Tensor]:
        """Do the same for several caches at once; no cache is there twice."""
        ...

    def prepare(self) -> bool:
        """Do a piece of what makes later passes faster, some tens of milliseconds of it.

        Called while there is nothing else to do. Returns whether more is left.
        """
        ...


class LeanForward:
    """GPTBigCode with multi-query attention on one device (Shazeer 2019, arXiv:1911.02150)."""

    def __init__(self, weights: Weights, arena: Arena | None = None) -> None:
        """Few rows of caches that are slots of `arena` are computed by recorded steps."""
        self.weights = weights
        self.steps = recorded_steps(weights, arena) if arena else None
        on_cpu = weights.device.type == "cpu"
        self._threads = (psutil.cpu_count(logical=False) or 0) if on_cpu else 0
        self._fused: FusedStep | None = None
        self._may_fuse = FusedStep.fits(weights)
        if self._may_fuse:
            shared_kernels().start()  # compiled while the plain path serves

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a model is one that this forward computes."""
        devices = {parameter.device for parameter in model.parameters()}
        return (
            model.config.model_type == "gpt_bigcode"
            and model.config.multi_query
            and len(devices) == 1
            and next(iter(devices)).type != "meta"
            and not hasattr(model, "_hf_hook")
        )

    def __call__(self, ids: Tensor, cache: KVCache, *, last: int = 1) -> Tensor:
        """See `Forward`."""
        if self.steps is not None and ids.shape[0] <= MOST_ROWS:
            part = Part(tuple(ids.tolist()), cache, last)
            if self.steps.fits([part]):
                return self.steps([part])[0]
        return self._compute(ids, [self._span(cache, 0, ids.shape[0], last)])[0]

    def batch(self, parts: Sequence[Part]) -> list[Tensor]:
        """See `Forward`."""
        found: dict[int, Tensor] = {}
        for group in self._groups(parts):
            together = [parts[at] for at in group]
            if self.steps is not None and self.steps.fits(together):
                found |= zip(group, self.steps(together), strict=True)
                continue
            ids: list[int] = []
            spans = []
            for part in together:
                spans.append(self._span(part.cache, len(ids), len(part.ids), part.last))
                ids += part.ids
            found |= zip(group, self._compute(torch.tensor(ids), spans), strict=True)
        return [found[at] for at in range(len(parts))]

    def prepare(self) -> bool:
        """See `Forward`."""
        return self.steps is not None and self.steps.prepare()

    def _groups(self, parts: Sequence[Part]) -> list[list[int]]:
        """Return which parts, by index, are computed together: those that are few rows."""
        if self.steps is None and not self._fused_step():
            return [list(range(len(parts)))]
        groups: list[list[int]] = []
        rest, rows = [], MOST_ROWS
        for at, part in enumerate(parts):
            if part.cache.adapter is not None or len(part.ids) > MOST_ROWS:
                rest.append(at)
            elif rows + len(part.ids) > MOST_ROWS:
                groups.append([at])
                rows = len(part.ids)
            else:
                groups[-1].append(at)
                rows += len(part.ids)
        return [*groups, rest] if rest else groups

    def _span(self, cache: KVCache, begin: int, count: int, last: int) -> _Span:
        start = len(cache.ids)
        cache.reserve(start + count)
        return _Span(cache, slice(begin, begin + count), start, last)

    def _compute(self, ids: Tensor, spans: Sequence[_Span]) -> list[Tensor]:
        """Write the rows of each span and return its logits (last, vocab)."""
        if ids.shape[0] < _MANY_ROWS or not self._threads:
            return self._compute_here(ids, spans)
        # A small model decodes with one thread (`engine.loading.load`); a prompt is worth sharing
        # out.
        before = torch.get_num_threads()
        torch.set_num_threads(max(before, self._threads))
        try:
            return self._compute_here(ids, spans)
        finally:
            torch.set_num_threads(before)

    def _compute_here(self, ids: Tensor, spans: Sequence[_Span]) -> list[Tensor]:
        adapted = [span for span in spans if span.cache.adapter is not None]
        few = ids.shape[0] <= MOST_ROWS
        fused = None if adapted else self._fused_step()
        if fused and (few or (len(spans) == 1 and fused.takes_many)):
            places = [(one.cache, at) for one in spans for at in range(one.start, one.end)]
            wanted = [at for one in spans for at in one.wanted]
            return list(torch.split(fused(ids, places, wanted), [one.last for one in spans]))
        if self.weights.device.type == "cuda" and ids.device.type == "cpu":
            ids = ids.pin_memory()  # or the copy would be waited for
        hidden = self._embed(ids.to(self.weights.device, non_blocking=True), spans)
        masks = [causal_mask(one.start, one.count, self.weights.device) for one in spans]
        for index, layer in enumerate(self.weights.layers):
            mixed = _product("attn.c_attn", layer, index, adapted, layer.norm_1(hidden))
            seen = self._attend(mixed, index, spans, masks)
            hidden = hidden + _product("attn.c_proj", layer, index, adapted, seen)
            inner = _product("mlp.c_fc", layer, index, adapted, layer.norm_2(hidden))
            inner = self.weights.activation(inner)
            hidden = hidden + _product("mlp.c_proj", layer, index, adapted, inner)
        return self._score(hidden, spans)

    def _fused_step(self) -> FusedStep | None:
        if self._may_fuse and self._fused is None and (native := shared_kernels().ready()):
            self._fused = FusedStep(native, self.weights)
        return self._fused if self._may_fuse else None

    def _embed(self, ids: Tensor, spans: Sequence[_Span]) -> Tensor:
        held = self.weights
        added = [span for span in spans if span.added is not None]
        known = ids.clamp(max=held.tokens.shape[0] - 1) if added else ids
        embedded = held.tokens.rows(known).to(held.dtype)
        for span in added:
            rows = span.rows
            assert span.added is not None
            embedded[rows] = span.added.embed(ids[rows], embedded[rows])
        if len(spans) == 1:
            return embedded + held.positions[spans[0].start : spans[0].end]
        return embedded + torch.cat([held.positions[one.start : one.end] for one in spans])

    def _attend(
        self, mixed: Tensor, index: int, spans: Sequence[_Span], masks: Sequence[Tensor | None]
    ) -> Tensor:
        held = self.weights
        query, key, value = torch.split(mixed, [held.width, held.head_dim, held.head_dim], dim=-1)
        if len(spans) == 1:
            keys, values = spans[0].cache.write(index, spans[0].start, key[None], value[None])
            return attend(query, keys[0], values[0], held.scale, masks[0])
        seen = torch.empty_like(query)
        for span, mask in zip(spans, masks, strict=True):
            rows = span.rows
            keys, values = span.cache.write(index, span.start, key[None, rows], value[None, rows])
            seen[rows] = attend(query[rows], keys[0], values[0], held.scale, mask)
        return seen

    def _score(self, hidden: Tensor, spans: Sequence[_Span]) -> list[Tensor]:
        sizes = [span.last for span in spans]
        if not any(sizes):
            return [hidden[:0] for _ in spans]
        wanted = [hidden[span.wanted.start : span.wanted.stop] for span in spans]
        last = self.weights.last_norm(wanted[0] if len(wanted) == 1 else torch.cat(wanted))
        logits = torch.split(self.weights.head(last).float(), sizes)
        found = zip(spans, torch.split(last, sizes), logits, strict=True)
        return [
            of_span if span.added is None else span.added.score(rows, of_span)
            for span, rows, of_span in found
        ]


@dataclass(frozen=True, slots=True)
class _Span:
    """The rows of one sequence among those of a pass."""

    cache: KVCache
    rows: slice
    start: int
    """Rows that the cache holds before them."""
    last: int
    """How many of them, from the last, are to have logits."""

    @property
    def count(self) -> int:
        """How many rows it has."""
        return int(self.rows.stop - self.rows.start)

    @property
    def end(self) -> int:
        """Rows that the cache holds with them."""
        return self.start + self.count

    @property
    def wanted(self) -> range:
        """Those of the pass's rows that are to have logits."""
        return range(self.rows.stop - self.last, self.rows.stop)

    @property
    def added(self) -> AddedTokens | None:
        """The tokens that its adapter brings along."""
        return None if self.cache.adapter is None else self.cache.adapter.tokens


def _product(name: str, layer: Layer, index: int, adapted: Sequence[_Span], x: Tensor) -> Tensor:
    made = layer.products[name](x)
    for span in adapted:
        low = span.cache.adapter.layers[index] if span.cache.adapter else {}
        if name in low:
            made[span.rows] += low[name](x[span.rows])
    return made


def forward_for(model: Any) -> Forward:
    """Return the fastest forward that a model allows."""
    if LeanForward.fits(model):
        return LeanForward(weights_of(model))
    from engine.network.transformers_forward import ModuleForward

    return ModuleForward(model)
