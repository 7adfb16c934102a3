"""The engine with the weights of a real model: outputs and perplexity are those of transformers.

`python -m benchmarks.real_model.prepare` makes the checkpoint; see benchmarks/README.md.
"""

import os

import pytest

from benchmarks.common import load_ours
from benchmarks.real_model.greedy import (
    NEW_TOKENS,
    Reference,
    first_difference,
    in_all_modes,
    references,
)
from benchmarks.real_model.perplexity import WINDOW, compare, our_logprobs, reference_logprobs
from benchmarks.real_model.prompts import read_prompts, windows
from engine.network.model import LoadedModel
from engine.settings import EngineSettings

VARIABLE = "STARCODER_LSP_REAL_MODEL"
PROMPTS = read_prompts()[::11]
"""Two pieces of code, one of prose, a chat and a dialogue."""
LIMITS = {"float32": 1e-4, "bfloat16": 2e-3, "int8": 1.5e-2, "int4": 1.5e-2}
"""Largest relative difference of the perplexity of two windows by number format.

A mistake in a kernel costs far more. `benchmarks.real_model.perplexity` measures exactly.
"""

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        VARIABLE not in os.environ,
        reason=f"optional: set {VARIABLE} to the folder of a real model's checkpoint",
    ),
]


@pytest.fixture(scope="module")
def folder() -> str:
    return os.environ[VARIABLE]


@pytest.fixture(scope="module")
def model(folder: str) -> LoadedModel:
    return load_ours(folder, "float32")


@pytest.fixture(scope="module")
def expected(folder: str, model: LoadedModel) -> list[Reference]:
    return references(folder, PROMPTS, model.end_ids, NEW_TOKENS)


@pytest.fixture(scope="module")
def texts(model: LoadedModel) -> list[tuple[int, ...]]:
    """One window of prose and one of code."""
    return windows(model.tokenizer, WINDOW)[::11]


@pytest.fixture(scope="module")
def reference(folder: str, texts: list[tuple[int, ...]]) -> list[float]:
    return reference_logprobs(folder, texts)


def test_prompts_are_those_of_transformers(model: LoadedModel, expected: list[Reference]) -> None:
    assert {prompt.kind for prompt in PROMPTS} == {"code", "prose", "chat", "dialogue"}
    for prompt, reference in zip(PROMPTS, expected, strict=True):
        assert list(prompt.ids(model)) == reference.prompt


def test_greedy_output_is_that_of_transformers_in_every_mode(
    folder: str, model: LoadedModel, expected: list[Reference]
) -> None:
    settings = EngineSettings(model=folder, dtype="float32")
    by_mode, counts = in_all_modes(model, settings, expected, NEW_TOKENS)
    assert {
        mode: [first_difference(*pair) for pair in zip(outputs, expected, strict=True)]
        for mode, outputs in by_mode.items()
    } == dict.fromkeys(by_mode, [""] * len(PROMPTS))
    assert counts["reused"] > 0
    assert 0 < counts["accepted"] < counts["drafted"]


@pytest.mark.parametrize("dtype", LIMITS)
def test_perplexity_is_that_of_transformers(
    dtype: str, folder: str, texts: list[tuple[int, ...]], reference: list[float]
) -> None:
    comparison = compare(our_logprobs(load_ours(folder, dtype), texts), reference)
    assert abs(comparison.relative_difference) < LIMITS[dtype]
    if dtype == "float32":
        assert comparison.nats_per_token < 1e-4
