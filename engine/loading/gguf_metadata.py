"""The metadata of a GGUF file with checked types. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from engine.errors import UnsupportedModelError
from engine.loading.gguf_container import Strings, Value

MODEL_TYPES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "granite": "granite",
    "starcoder2": "starcoder2",
    "starcoder": "gpt_bigcode",
}
"""The `model_type` in transformers of each supported `general.architecture`."""

_LARGEST = 1 << 31


class Metadata:
    """The metadata of a GGUF file, with checked types."""

    def __init__(self, values: Mapping[str, Value], source: str) -> None:
        self._values = values
        self.source = source
        """Name of the file for messages."""
        architecture = self.text("general.architecture")
        if architecture not in MODEL_TYPES:
            supported = ", ".join(MODEL_TYPES)
            raise UnsupportedModelError(
                f"{source} has the architecture {architecture[:40]!r}, which is not supported in "
                f"GGUF files. Supported are: {supported}. For another model use its safetensors."
            )
        self.architecture = architecture

    def damaged(self, key: str) -> NoReturn:
        """Raise UnsupportedModelError about a key."""
        raise UnsupportedModelError(
            f"{self.source} is damaged: its metadata has no usable {key}. Download it again, or "
            "choose another file of the model."
        )

    def has(self, key: str) -> bool:
        """Return whether the metadata has the key."""
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        value = self._values.get(key, default)
        return value if isinstance(value, str) else self.damaged(key)

    def flag(self, key: str, default: bool) -> bool:
        """Return a truth value."""
        value = self._values.get(key, default)
        return value if isinstance(value, bool) else self.damaged(key)

    def integer(self, key: str, default: int | None = None, smallest: int = 1) -> int:
        """Return a whole number from `smallest` to 2^31."""
        value = self._values.get(key, default)
        if isinstance(value, list) and value and len(set(value)) == 1:
            value = value[0]  # one number per layer
        if type(value) is not int or not smallest <= value <= _LARGEST:
            self.damaged(key)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number above 0."""
        value = self._values.get(key, default)
        if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
            self.damaged(key)
        return float(value)  # type: ignore[arg-type]

    def strings(self, key: str) -> list[str]:
        """Return an array of texts."""
        value = self._values.get(key)
        if not isinstance(value, Strings):
            self.damaged(key)
        try:
            return value.read()
        except UnicodeDecodeError:
            self.damaged(key)

    def numbers(self, key: str) -> list[Any]:
        """Return an array of numbers."""
        value = self._values.get(key)
        return value if isinstance(value, list) else self.damaged(key)
