"""llama.cpp as a contender with a GGUF file: its Python binding and its own `llama-bench`.

`best_options` finds the options with which it is fastest on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.common import Contender, Timing
from benchmarks.peers.llama_options import LlamaOptions
from benchmarks.peers.process import LlamaCppFile, peer_environment

_CHOICES: tuple[dict[str, object], ...] = (
    {"threads": 1},
    {"flash_attention": "on"},
    {"flash_attention": "off"},
    {"batch": 256},
    {"batch": 1024},
    {"load_mode": "none"},
    {"repack": False},
)
"""Changes of one option each, relative to llama.cpp's defaults with all cores."""
_TRIES = 2
"""Runs with each set of options. The fastest counts, so that the first one may warm up."""
_KEPT_GAIN = 0.98
"""A change is kept if it takes at most this share of the time, so that noise changes nothing."""


class LlamaBench:
    """llama.cpp's own program for measurements, which neither samples nor copies logits.

    Each call starts a process. The program warms up, and measures with random tokens.
    """

    def __init__(self, program: Path, file: Path, options: LlamaOptions) -> None:
        self._command = [str(program), "-m", str(file), "-o", "json", "-r", "1"]
        self._command += options.to_bench_arguments()

    def __call__(self, prompt: tuple[int, ...], count: int) -> Timing:
        """Measure a prompt if one token is wanted, else the tokens after it, as a `Contender`."""
        if count == 1:
            return Timing(self._milliseconds("-p", len(prompt), "-n", 0), 0.0)
        total = self._milliseconds("-p", 0, "-n", count, "-d", len(prompt))
        return Timing(0.0, total / count)

    def _milliseconds(self, *arguments: object) -> float:
        command = [*self._command, *map(str, arguments)]
        output = subprocess.run(
            command, check=True, env=peer_environment(), capture_output=True, text=True
        ).stdout
        return float(json.loads(output)[0]["samples_ns"][0]) / 1e6


@dataclass(frozen=True, slots=True)
class LlamaPrograms:
    """Where llama.cpp is on this machine."""

    python: Path
    """A Python that has llama-cpp-python and gguf."""
    bench: Path | None
    """The program `llama-bench`, or None."""

    def forms(self) -> tuple[str, ...]:
        """Return the names of the forms of llama.cpp that can be measured, the fastest first."""
        return ("llama-bench", "binding") if self.bench else ("binding",)

    @contextmanager
    def contender(self, form: str, file: Path, options: LlamaOptions) -> Iterator[Contender]:
        """Yield a form of llama.cpp with a file, and end its process afterwards."""
        if form == "llama-bench":
            assert self.bench is not None
            yield LlamaBench(self.bench, file, options)
            return
        process = LlamaCppFile(self.python, file, options)
        try:
            yield process
        finally:
            process.close()


def best_options(
    programs: LlamaPrograms,
    file: Path,
    prompt: tuple[int, ...],
    new: int,
    part: Callable[[Timing], float],
    prepared: Callable[[Contender], Contender],
) -> LlamaOptions:
    """Return the options that make one part of the timing of a prompt and its output shortest.

    `prepared` makes a contender wait for the state of the machine in which it is measured.

    Starts with the defaults, tries one change after another, and keeps each that helps. Only the
    fastest form of llama.cpp is tried: the options act on the library that all forms share.
    """
    form = programs.forms()[0]

    def fastest_ms(options: LlamaOptions) -> float:
        with programs.contender(form, file, options) as contender:
            waiting = prepared(contender)
            return min(part(waiting(prompt, new)) for _ in range(_TRIES))

    best = LlamaOptions(os.cpu_count() or 1, context=max(2048, len(prompt) + new))
    best_ms = fastest_ms(best)
    for change in _CHOICES:
        options = replace(best, **change)  # type: ignore[arg-type]
        if options == best:
            continue
        milliseconds = fastest_ms(options)
        if milliseconds < _KEPT_GAIN * best_ms:
            best, best_ms = options, milliseconds
    return best
