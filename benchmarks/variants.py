"""Variants of the product for the ablation, each without one mechanism."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fim.settings import FimSettings


@dataclass(frozen=True)
class Variant:
    """The product without one mechanism."""

    without: str
    """Name of the mechanism that is left out."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Values of `FimSettings` that differ from the default."""
    patches: dict[str, Any] = field(default_factory=dict)
    """Replacements in the product, by `module:name` or `module:class.name`."""

    @property
    def fim_settings(self) -> FimSettings:
        """The settings of the variant."""
        return replace(FimSettings(), **self.settings)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply the patches in a block; raises AttributeError if a patched name does not exist."""
        originals = []
        for path, value in self.patches.items():
            owner, name = resolve(path)
            originals.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in originals:
                setattr(owner, name, value)


def resolve(path: str) -> tuple[Any, str]:
    """Return the module or class that has a name, and the name itself; see `Variant.patches`."""
    module, _, names = path.partition(":")
    owner: Any = importlib.import_module(module)
    *attributes, name = names.split(".")
    for attribute in attributes:
        owner = getattr(owner, attribute)
    return owner, name


def _unchanged(text: str, *_: Any) -> str:
    return text


VARIANTS = (
    Variant("nothing"),
    Variant("typed-through", patches={"fim.request.cache:MAX_TYPED_CHARACTERS": 0}),
    Variant("cache", settings={"cache_seconds": 0.02}),
    Variant("join in flight", settings={"join_in_flight": False}),
    Variant("backoff in a word", settings={"max_misses": 0}),
    Variant("prefetch", settings={"prefetch": False}),
    Variant("draft", settings={"draft_from_previous": False}),
    Variant("project memory", settings={"project_memory": False}),
    Variant("memory mixing", settings={"memory_mixing": False}),
    Variant("memory drafts", settings={"memory_drafts": False}),
    Variant("window in blocks", patches={"fim.prompt.window:BLOCK_LINES": 1}),
    Variant("suffix first: the line's form instead", settings={"form": "line"}),
    Variant("suffix first: the cursor's form instead", settings={"form": "cursor"}),
    Variant("the limit on other files: always read", settings={"related_files": "always"}),
    Variant("token healing", settings={"token_healing": False}),
    Variant("blocks", settings={"multiline": "never"}),
    Variant("confidence threshold", settings={"eagerness": "eager"}),
    Variant("partial suggestions", settings={"show_partial": False}),
    Variant("closed brackets", patches={"fim.postprocess.clean:doubled_closing": lambda *_: 0}),
    Variant("suffix overlap", patches={"fim.postprocess.clean:overlap": lambda *_: 0}),
    Variant(
        "loops",
        patches={
            "fim.postprocess.clean:without_repetition": _unchanged,
            "fim.request.model:without_repetition": _unchanged,
        },
    ),
    Variant("echoes", patches={"fim.postprocess.clean:without_echo": _unchanged}),
    Variant("secrets", patches={"fim.postprocess.clean:without_forbidden": _unchanged}),
    Variant("syntax", patches={"fim.postprocess.clean:cut_to_valid_syntax": _unchanged}),
)
"""The complete product, and a variant for each mechanism."""
