"""Peers in processes of their own, started without the environment variables that we set.

`benchmarks.common` configures this process as an engine process: idle OpenMP threads sleep. A
child process inherits that through its environment. With it llama.cpp was up to 1.7 times slower,
and transformers' `generate` 1.3 times. So every peer starts with `peer_environment()`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from benchmarks.common import Timing, folder_of
from benchmarks.peers.llama_options import LlamaOptions

_LLAMA_SCRIPT = Path(__file__).with_name("llama_script.py")
_TRANSFORMERS_SCRIPT = Path(__file__).with_name("transformers_script.py")
GenerateForm = Literal["eager", "compiled"]
"""`compiled` has a static KV cache and a forward pass compiled by torch."""

_OURS = ("OMP_", "KMP_", "GOMP_", "THP_MEM_ALLOC_ENABLE")
"""Prefixes of the variables that configure OpenMP, and the variable that configures huge pages."""


class PeerOutput(TypedDict):
    """The answer of the peer process to one request."""

    ids: list[int]
    first: float
    """Milliseconds to the first token."""
    each: float
    """Mean milliseconds per token after the first."""


def peer_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment without the variables that configure our threads and memory."""
    return {name: value for name, value in environment.items() if not name.startswith(_OURS)}


def convert_to_gguf(python: Path, folder: Path, number_format: str, file: Path) -> None:
    """Write a checkpoint as GGUF, with weights in one of llama.cpp's number formats."""
    command: list[str | Path] = [
        python,
        "-P",
        _LLAMA_SCRIPT,
        "convert",
        folder,
        number_format,
        file,
    ]
    subprocess.run(command, check=True, env=peer_environment())


class PeerProcess:
    """A contender in a process of its own, with the same weights as ours."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        """Start the process and wait until it reports that it is ready."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=peer_environment(),
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the peer {command[0]} ended with {self._process.wait()}")

    def generate(self, prompt: tuple[int, ...], count: int) -> PeerOutput:
        """Generate `count` tokens greedily, and return them with their times."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompt": prompt, "new": count}) + "\n")
        self._process.stdin.flush()
        output: PeerOutput = json.loads(self._process.stdout.readline())
        return output

    def __call__(self, prompt: tuple[int, ...], count: int) -> Timing:
        """Generate `count` tokens after a prompt, as a `Contender`."""
        output = self.generate(prompt, count)
        return Timing(output["first"], output["each"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class LlamaCppFile(PeerProcess):
    """llama.cpp with a GGUF file, through llama-cpp-python in a Python of its own."""

    def __init__(self, python: Path, file: Path, options: LlamaOptions) -> None:
        super().__init__([python, "-P", _LLAMA_SCRIPT, "run", file, options.to_json()])


class TransformersGenerate(PeerProcess):
    """transformers' `generate`, with torch's default number of threads."""

    def __init__(
        self, model: str, dtype: str, form: GenerateForm = "eager", python: str = sys.executable
    ) -> None:
        super().__init__([python, "-P", _TRANSFORMERS_SCRIPT, folder_of(model), dtype, form])
