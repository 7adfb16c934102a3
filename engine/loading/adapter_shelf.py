"""Reads LoRA adapters from disk and keeps them in memory."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from engine.errors import RequestError, UnsupportedModelError, reason_of
from engine.loading.adapter_store import (
    TOKENIZER_FILE,
    AdapterFolder,
    adapters,
    check_name,
    read_adapter,
)
from engine.loading.adapter_tensors import AdapterTensors
from engine.network.lora import Adapter, AddedTokens, LowRank
from engine.network.weight_layout import ProductLayout, ProductName, layouts
from engine.network.weights import Weights
from engine.tokenizer import Tokenizer


class AdapterShelf:
    """The adapters that can be used with one model. Each is read when it is first requested."""

    def __init__(self, weights: Weights | None, fingerprint: str, folder: Path) -> None:
        """Create a shelf over `folder`; `weights` is None for a model that supports no adapters."""
        self._folder, self._fingerprint = folder, fingerprint
        self._weights = weights
        self._loaded: dict[str, Adapter] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the adapters on disk that were trained on this model."""
        return tuple(
            adapter.name
            for adapter in adapters(self._folder)
            if adapter.note.fingerprint == self._fingerprint
        )

    def get(self, name: str) -> Adapter:
        """Return an adapter; it is read again if its file has changed.

        Raises RequestError, and ConfigurationError for an invalid name.
        """
        check_name(name)
        folder = read_adapter(self._folder / name)
        if folder is None:
            names = ", ".join(self.names()) or "none"
            raise RequestError(f"There is no adapter {name!r}. Adapters for this model: {names}.")
        if folder.note.fingerprint != self._fingerprint:
            raise RequestError(
                f"The adapter {name!r} was made for another model, {folder.note.base}. Use it with "
                "that model, or tune again."
            )
        adapter = self._loaded.get(name)
        if adapter is None or adapter.changed != folder.changed:
            adapter = self._loaded[name] = self._read(folder)
        return adapter

    def tokenizer(self, name: str) -> Tokenizer | None:
        """Return the tokenizer of an adapter, None if it uses the model's own.

        Raises RequestError if there is no such adapter.
        """
        self.get(name)
        file = self._folder / name / TOKENIZER_FILE
        return Tokenizer.from_file(file) if file.exists() else None

    def _read(self, folder: AdapterFolder) -> Adapter:
        base = self._weights
        if base is None:
            raise RequestError(
                "Adapters need a model that lies on a single device, of an architecture that "
                "starcoder-lsp computes itself."
            )
        try:
            tensors = AdapterTensors.read(folder)
            reader = _Reader(base, tensors)
            layers = tuple(reader.layer(index) for index in range(len(base.layers)))
            tokens, head = reader.added_tokens(), reader.head()
            tensors.check_complete()
        except (OSError, ValueError, KeyError, SafetensorError, UnsupportedModelError) as error:
            raise RequestError(
                f"The adapter {folder.name!r} cannot be used: {reason_of(error)}."
            ) from error
        return Adapter(folder.name, layers, tokens, folder.changed, head)


class _Reader:
    """Places the tensors of an adapter for a model."""

    def __init__(self, base: Weights, tensors: AdapterTensors) -> None:
        self._base, self._tensors = base, tensors
        self._layouts = layouts(base.architecture)

    def layer(self, index: int) -> dict[ProductName, LowRank]:
        """Return the additions to the products of a layer."""
        stem = f"{self._base.architecture.names.layers}{index}."
        additions = {name: self._product(stem, layout) for name, layout in self._layouts.items()}
        return {name: addition for name, addition in additions.items() if addition is not None}

    def head(self) -> LowRank | None:
        """Return the addition to the output matrix, None if the adapter does not change it."""
        architecture = self._base.architecture
        shape = architecture.vocab_size, architecture.width
        pair = self._tensors.pair(architecture.names.head, shape)
        if pair is None:
            return None
        down, up = pair
        return LowRank(self._placed(down), self._placed(up.float() * self._tensors.scale))

    def _product(self, stem: str, layout: ProductLayout) -> LowRank | None:
        """Return the addition to one product, whose matrices may each have their own.

        The low ranks of all matrices are placed one after the other: each has its own rows of A,
        and in B its own columns, which are zero outside of the rows of its matrix.
        """
        downs, ups, first = [], [], 0
        for part in layout.parts:
            pair = self._tensors.pair(f"{stem}{part.name}", (part.rows, layout.columns))
            if pair is not None:
                down, up = pair
                downs.append(down)
                ups.append(functional.pad(up, (0, 0, first, layout.rows - first - part.rows)))
            first += part.rows
        if not downs:
            return None
        # Scaling once, in full precision, saves a product in each step.
        up = layout.ordered(torch.cat(ups, 1).float() * self._tensors.scale)
        return LowRank(self._placed(torch.cat(downs)), self._placed(up))

    def added_tokens(self) -> AddedTokens | None:
        """Return the tokens that the adapter adds, None without any."""
        added = self._tensors.token_rows(self._base.architecture)
        if added is None:
            return None
        ids = added.ids.to(self._base.device)
        return AddedTokens(ids, self._placed(added.rows), added.size)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self._base.dtype, device=self._base.device)
