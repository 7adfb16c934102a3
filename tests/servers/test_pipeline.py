"""vLLM with the layers of a model divided between two processes, as docs/team/README.md says.

It compiles the model twice, so this runs only if it is asked for.
"""

import asyncio
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.servers.kinds import CONTEXT, INSTALLED, Place, start_vllm, wait_for
from benchmarks.servers.process import ServerProcess
from engine.loading.on_disk import EMBEDDED_DIR
from tests.conftest import OPTIONAL

pytestmark = pytest.mark.skipif(
    "STARCODER_LSP_PIPELINE" not in os.environ,
    reason=OPTIONAL + "set STARCODER_LSP_PIPELINE=1; it takes minutes",
)

PROMPTS, TOKENS = 50, 16
Ids = list[int]


@contextmanager
def two_stages(folder: Path, scratch: Path) -> Iterator[ServerProcess]:
    server = start_vllm(Place(INSTALLED.resolve(), scratch), folder=folder, stages=2)
    try:
        yield wait_for("vllm", server)
    finally:
        server.stop()


def prompts(vocabulary: int) -> list[Ids]:
    rng = random.Random(0)
    return [[rng.randrange(20, vocabulary) for _ in range(60)] for _ in range(PROMPTS)]


def greedy(model: PreTrainedModel, prompt: Ids) -> Ids:
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(TOKENS):
            logits = model(torch.tensor([ids]), use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


async def generated(server: ServerProcess, prompt: Ids) -> Ids:
    body = {
        "model": "starcoder-demo",
        "prompt": prompt,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    async with httpx2.AsyncClient(timeout=60) as client:
        response = await client.post(f"{server.url}/v1/completions", json=body)
    ids: Ids = response.raise_for_status().json()["choices"][0]["token_ids"]
    return ids


def num_identical(server: ServerProcess, model: PreTrainedModel, texts: Sequence[Ids]) -> int:
    return sum(asyncio.run(generated(server, text)) == greedy(model, text) for text in texts)


def test_two_stages_of_a_llama_give_the_text_of_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        initializer_range=0.08,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED_DIR / name, tmp_path / "model")
    with two_stages(tmp_path / "model", tmp_path) as server:
        assert num_identical(server, model, prompts(config.vocab_size)) == PROMPTS


def test_two_stages_of_gpt_bigcode_add_its_positions_twice(tmp_path: Path) -> None:
    """So the documentation advises against them. If this fails, vLLM is fixed."""
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_DIR, dtype=torch.float32).eval()
    texts = prompts(model.config.vocab_size - 20)
    with two_stages(EMBEDDED_DIR, tmp_path) as server:
        assert num_identical(server, model, texts) < PROMPTS
        second = model.transformer.h[model.config.n_layer // 2]
        second.register_forward_pre_hook(
            lambda _, args: (args[0] + model.transformer.wpe.weight[: args[0].shape[1]], *args[1:])
        )
        assert num_identical(server, model, texts) == PROMPTS
