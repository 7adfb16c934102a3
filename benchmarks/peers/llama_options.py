"""The options of llama.cpp that change its speed on a CPU."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """How llama.cpp runs a model; the defaults are its own."""

    threads: int
    flash_attention: Literal["auto", "on", "off"] = "auto"
    batch: int = 512
    """Tokens that it computes in one forward pass of a prefill."""
    load_mode: Literal["mmap", "none"] = "mmap"
    """Whether it maps the file or reads it into memory of its own."""
    repack: bool = True
    """Whether it stores the weights in the order that its kernels read."""
    context: int = 2048
    """Positions of the KV cache."""

    def to_json(self) -> str:
        """Return the options as `benchmarks/peers/llama_script.py` reads them."""
        return json.dumps(asdict(self))

    def to_bench_arguments(self) -> list[str]:
        """Return the options as arguments of llama.cpp's own program `llama-bench`."""
        values = {
            "--threads": self.threads,
            "--flash-attn": self.flash_attention,
            "--ubatch-size": self.batch,
            "--load-mode": self.load_mode,
            "--repack": int(self.repack),
        }
        return [str(part) for argument in values.items() for part in argument]

    def __str__(self) -> str:
        """Return the options for a table."""
        return (
            f"{self.threads} threads, flash attention {self.flash_attention}, "
            f"batch {self.batch}, {self.load_mode}, {'' if self.repack else 'no '}repack"
        )
