"""transformers' `generate` as a peer process: reads requests and writes times, one JSON per line.

Arguments: the folder of a checkpoint, a dtype such as `bfloat16`, and `eager` or `compiled`.
The generation is greedy. `min_new_tokens` keeps an end-of-text id from stopping it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, CompileConfig
from transformers.generation.streamers import BaseStreamer


class TokenTimes(BaseStreamer):  # type: ignore[misc]
    """Records the tokens that `generate` emits, and the moments at which it emits them."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.ticks: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        """Record the tokens of one step; the first call is for the prompt."""
        self.ids += value.flatten().tolist()
        self.ticks.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing at the end of the output."""


def options_of(form: str) -> dict[str, Any]:
    """Return the options of `generate` for a form."""
    if form == "eager":
        return {}
    config = CompileConfig(mode="default", fullgraph=False)
    config._compile_all_devices = True  # else it compiles on GPUs only
    return {"cache_implementation": "static", "compile_config": config}


def main(folder: str, dtype: str, form: str) -> None:
    """Generate tokens for each request until the input ends."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    if torch.cuda.is_available():
        model = model.cuda()
    options = options_of(form)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        prompt, count = request["prompt"], request["new"]
        times, started = TokenTimes(), time.perf_counter()
        model.generate(
            torch.tensor([prompt], device=model.device),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
            streamer=times,
            **options,
        )
        ticks = times.ticks[1:]
        output = {
            "ids": times.ids[len(prompt) :],
            "first": (ticks[0] - started) * 1000,
            "each": (ticks[-1] - ticks[0]) / max(1, count - 1) * 1000,
        }
        print(json.dumps(output), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
