"""The fast forward pass of a dense decoder that lies on a single device.

It uses few large operations, no hooks, and no mask where none is needed. A step of few rows is one
call of the compiled kernels on a CPU, and one recorded CUDA graph on a GPU. Models that
`engine.architecture` cannot describe use `engine.network.transformers_forward`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.kernels.native import Native
from engine.kv_cache.arena import Arena
from engine.model_config import read_architecture
from engine.network.attention import CausalMasks, attend, split_heads
from engine.network.backend import MIN_PREFILL_ROWS, Backend
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.cuda_graphs import CudaGraphRunner, graph_runner
from engine.network.fused_step import FusedStep
from engine.network.lora import AddedTokens
from engine.network.weight_layout import ProductName
from engine.network.weights import Layer, Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LeanForward:
    """A dense decoder on one device, as `engine.architecture` describes it."""

    def __init__(
        self, weights: Weights, backend: Backend | None = None, arena: Arena | None = None
    ) -> None:
        """Create the forward pass.

        `backend` provides the CPU kernels; without it torch computes everything. With an `arena`,
        steps of few rows whose caches are slots of it run as recorded CUDA graphs.
        """
        self.weights = weights
        self.graphs: CudaGraphRunner | None = graph_runner(weights, arena) if arena else None
        self.backend = backend or Backend()
        """The kernels and threads of this forward pass."""
        self._on_cpu = weights.device.type == "cpu"
        self._fused: FusedStep | None = None
        self.supports_fused = backend is not None and FusedStep.supports(weights)
        """Whether the CPU kernels can compute this network, once they are compiled."""
        if self.supports_fused:
            self.backend.compile()

    @staticmethod
    def supports(model: PreTrainedModel) -> bool:
        """Return whether this class can compute a transformers module."""
        devices = {parameter.device for parameter in model.parameters()}
        return (
            read_architecture(model.config.to_dict()) is not None
            and len(devices) == 1
            and next(iter(devices)).type != "meta"
            and not hasattr(model, "_hf_hook")
        )

    def __call__(self, batch: Sequence[BatchEntry]) -> list[Tensor]:
        """Compute one batch; see `Forward`."""
        if len(batch) == 1:
            return self._compute_group(batch)
        logits: list[Tensor | None] = [None] * len(batch)
        for group in self._groups(batch):
            group_logits = self._compute_group([batch[i] for i in group])
            for index, entry_logits in zip(group, group_logits, strict=True):
                logits[index] = entry_logits
        return [entry_logits for entry_logits in logits if entry_logits is not None]

    def prepare(self) -> bool:
        """Record one CUDA graph; see `Forward`."""
        return self.graphs is not None and self.graphs.prepare()

    def fused_step(self) -> FusedStep | None:
        """Return the fused step of the CPU kernels, None while there is none."""
        if self.supports_fused and self._fused is None and (native := self.backend.native()):
            self._fused = FusedStep(native, self.weights)
        return self._fused

    def _groups(self, batch: Sequence[BatchEntry]) -> list[list[int]]:
        """Return the indexes of the entries that are computed together.

        Entries that the fast path for few rows can compute are grouped up to `DECODE_ROWS` rows.
        All others form one group.
        """
        if self.graphs is None and not self.fused_step():
            return [list(range(len(batch)))]
        groups: list[list[int]] = []
        rest: list[int] = []
        num_rows = DECODE_ROWS
        for index, entry in enumerate(batch):
            if entry.adapter is not None or len(entry.ids) > DECODE_ROWS:
                rest.append(index)
            elif num_rows + len(entry.ids) > DECODE_ROWS:
                groups.append([index])
                num_rows = len(entry.ids)
            else:
                groups[-1].append(index)
                num_rows += len(entry.ids)
        return [*groups, rest] if rest else groups

    def _compute_group(self, entries: Sequence[BatchEntry]) -> list[Tensor]:
        """Compute entries in one pass, by the fastest way that can."""
        if self.graphs is not None and self.graphs.supports(entries):
            return self.graphs(entries)
        ids: list[int] = []
        spans: list[_Span] = []
        for entry in entries:
            entry.cache.reserve(entry.end)
            spans.append(_Span(entry, len(ids)))
            ids += entry.ids
        tensor = torch.tensor(ids, dtype=torch.int64)
        if not self._on_cpu or len(ids) < MIN_PREFILL_ROWS:
            return self._compute(tensor, spans)
        with self.backend.prefill_threads():
            return self._compute(tensor, spans)

    def _compute(self, ids: Tensor, spans: Sequence[_Span]) -> list[Tensor]:
        """Write the rows of each span and return its logits (num_logits, vocab)."""
        adapted = [span for span in spans if span.entry.adapter is not None]
        fused = None if adapted else self.fused_step()
        if fused and (ids.shape[0] <= DECODE_ROWS or (len(spans) == 1 and fused.supports_prefill)):
            return _run_fused(fused, ids, spans)
        if self.weights.device.type == "cuda":
            ids = ids.pin_memory()  # otherwise the copy to the GPU would block
        hidden = self._embed(ids.to(self.weights.device, non_blocking=True), spans)
        attention = _Attention(self.weights, spans, self.backend.native() if self._on_cpu else None)
        add, activate = self.weights.add, self.weights.activate
        for index, layer in enumerate(self.weights.layers):
            mixed = _product("attention_in", layer, index, adapted, layer.norm_1(hidden))
            attended = attention(mixed, layer, index)
            hidden = add(hidden, _product("attention_out", layer, index, adapted, attended))
            inner = activate(_product("mlp_in", layer, index, adapted, layer.norm_2(hidden)))
            hidden = add(hidden, _product("mlp_out", layer, index, adapted, inner))
        return self._logits(hidden, spans)

    def _embed(self, ids: Tensor, spans: Sequence[_Span]) -> Tensor:
        """Return the token embeddings (n, width), plus position embeddings if the model has any."""
        weights = self.weights
        with_tokens = [span for span in spans if span.added_tokens is not None]
        base_ids = ids.clamp(max=weights.tokens.shape[0] - 1) if with_tokens else ids
        embedded = weights.embed(base_ids)
        for span in with_tokens:
            rows = span.rows
            assert span.added_tokens is not None
            added = weights.scaled_embeddings(span.added_tokens.rows)
            embedded[rows] = span.added_tokens.embed(ids[rows], added, embedded[rows])
        if weights.positions is None:
            return embedded
        return embedded + _of_positions(weights.positions, spans)

    def _logits(self, hidden: Tensor, spans: Sequence[_Span]) -> list[Tensor]:
        """Return the logits (num_logits, vocab) of each span."""
        sizes = [span.entry.num_logits for span in spans]
        if not any(sizes):
            return [hidden[:0] for _ in spans]
        selected = [hidden[span.logit_rows.start : span.logit_rows.stop] for span in spans]
        rows = self.weights.last_norm(selected[0] if len(selected) == 1 else torch.cat(selected))
        logits = torch.split(self.weights.logits(rows), sizes)
        scale = self.weights.architecture.logit_scale
        parts = zip(spans, torch.split(rows, sizes), logits, strict=True)
        return [
            span_logits if adapter is None else adapter.score(last, span_logits, scale)
            for span, last, span_logits in parts
            for adapter in (span.entry.adapter,)
        ]


class _Attention:
    """The attention of one step: writes keys and values to the caches and reads them."""

    def __init__(self, weights: Weights, spans: Sequence[_Span], native: Native | None) -> None:
        """Prepare what all layers share; `native` are the compiled kernels, None without them."""
        self._weights, self._spans, self._native = weights, spans, native
        self._masks = [
            CausalMasks(span.entry.start, len(span.entry.ids), weights.device) for span in spans
        ]
        table = weights.rotations
        self._rotations = None if table is None else _of_positions(table, spans)

    def __call__(self, mixed: Tensor, layer: Layer, index: int) -> Tensor:
        """Write keys and values of layer `index`; return the attention output (n, heads * dim).

        `mixed` (n, (heads + 2 * kv_heads) * dim) holds queries, keys and values.
        """
        heads, keys, values = split_heads(mixed, self._weights, layer, self._rotations)
        query, keys, values = heads.flatten(1), keys.transpose(0, 1), values.transpose(0, 1)
        if len(self._spans) == 1:
            return self._attend(0, query, keys, values, layer, index)
        output = torch.empty_like(query)
        for number, span in enumerate(self._spans):
            rows = span.rows
            output[rows] = self._attend(
                number, query[rows], keys[:, rows], values[:, rows], layer, index
            )
        return output

    def _attend(
        self, number: int, query: Tensor, keys: Tensor, values: Tensor, layer: Layer, index: int
    ) -> Tensor:
        entry = self._spans[number].entry
        keys, values = entry.cache.write(index, entry.start, keys, values)
        scale, mask = self._weights.architecture.attention_scale, self._masks[number]
        return attend(query, keys, values, scale, mask.of(layer.window), self._native, layer.window)


@dataclass(frozen=True, slots=True)
class _Span:
    """The rows of one batch entry among all rows of a step."""

    entry: BatchEntry
    first_row: int

    @property
    def rows(self) -> slice:
        """Rows of the entry."""
        return slice(self.first_row, self.first_row + len(self.entry.ids))

    @property
    def logit_rows(self) -> range:
        """Rows of the entry whose logits are needed."""
        end = self.first_row + len(self.entry.ids)
        return range(end - self.entry.num_logits, end)

    @property
    def added_tokens(self) -> AddedTokens | None:
        """Tokens that the entry's adapter adds, or None."""
        return None if self.entry.adapter is None else self.entry.adapter.tokens


def _run_fused(fused: FusedStep, ids: Tensor, spans: Sequence[_Span]) -> list[Tensor]:
    entries = [span.entry for span in spans]
    places = [
        (entry.cache, position) for entry in entries for position in range(entry.start, entry.end)
    ]
    logit_rows = [row for span in spans for row in span.logit_rows]
    logits = fused(ids, places, logit_rows)
    return list(torch.split(logits, [entry.num_logits for entry in entries]))


def _of_positions(table: Tensor, spans: Sequence[_Span]) -> Tensor:
    """Return the rows of a table (positions, ...) at the positions of all spans."""
    rows = [table[span.entry.start : span.entry.end] for span in spans]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _product(
    name: ProductName, layer: Layer, index: int, adapted: Sequence[_Span], x: Tensor
) -> Tensor:
    """Return a product of layer `index`, with the additions of the spans' adapters."""
    output = layer.products[name](x)
    for span in adapted:
        adapter = span.entry.adapter
        additions = adapter.layers[index] if adapter else {}
        if name in additions:
            output[span.rows] += additions[name](x[span.rows])
    return output
