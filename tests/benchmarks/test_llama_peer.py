"""llama.cpp generates the same ids as we do from the same weights, so timings are comparable."""

import os
from pathlib import Path

import pytest

from benchmarks.common import PEER_VARIABLE
from benchmarks.peer_process import LlamaCpp
from engine.api import GenerationRequest
from engine.kv_cache.cache import KVCache
from engine.loading.load import load
from engine.settings import EngineSettings


def test_llama_cpp_generates_the_same_ids(tmp_path: Path) -> None:
    python = os.environ.get(PEER_VARIABLE)
    if python is None:
        pytest.skip(f"optional: set {PEER_VARIABLE} to a Python that has llama-cpp-python")
    loaded = load(EngineSettings(model="demo"), lambda *_: None)
    prompt = tuple(loaded.decoder.tokenizer.encode("def mean(numbers):\n    total = 0\n"))
    request, cache = GenerationRequest(prompt, 40), KVCache(loaded.cache_shape)
    chunks = loaded.decoder.generate(request, cache, lambda: False)
    expected = [id_ for chunk in chunks for id_ in chunk.ids]
    peer = LlamaCpp(Path(python), "demo", "f32", tmp_path)
    try:
        assert peer.generate(prompt, 40)["ids"] == expected
    finally:
        peer.close()
