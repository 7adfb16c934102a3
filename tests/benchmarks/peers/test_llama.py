"""llama.cpp generates the same ids as we do from the same weights, so timings are comparable."""

import os
from pathlib import Path

import pytest

from benchmarks.common import PEER_VARIABLE, load_ours
from benchmarks.peers.llama_options import LlamaOptions
from benchmarks.peers.process import LlamaCppFile, convert_to_gguf
from benchmarks.stepped_scheduler import ids_of, run_alone
from engine.api import GenerationRequest
from engine.loading.on_disk import EMBEDDED_DIR


def test_llama_cpp_generates_the_same_ids(tmp_path: Path) -> None:
    python = os.environ.get(PEER_VARIABLE)
    if python is None:
        pytest.skip(f"optional: set {PEER_VARIABLE} to a Python that has llama-cpp-python")
    model = load_ours("demo", "auto")
    prompt = tuple(model.tokenizer.encode("def mean(numbers):\n    total = 0\n"))
    expected = ids_of(run_alone(model, GenerationRequest(prompt, 40)))
    file = tmp_path / "demo.gguf"
    convert_to_gguf(Path(python), EMBEDDED_DIR, "f32", file)
    peer = LlamaCppFile(Path(python), file, LlamaOptions(1))
    try:
        assert peer.generate(prompt, 40)["ids"] == expected
    finally:
        peer.close()
