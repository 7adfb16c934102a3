"""Makes small checkpoints with random weights in StarCoder's exact layout.

The layout is that of bigcode/starcoder: GPTBigCode with multi-query attention and tied embeddings,
19 special tokens with ids 0 to 18, digits split one by one, weights in safetensors shards with an
index, and the usual JSON files.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

from training.tokenizer import SPECIAL_TOKENS, train_tokenizer

SAMPLE = '''\
def mean(numbers):
    """Return the arithmetic mean."""
    total = 0
    for number in numbers:
        total += number
    return total / len(numbers)


class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)
'''


@cache
def _tokenizer_json() -> str:
    return train_tokenizer([SAMPLE] * 3, vocab_size=400).to_str()


def make_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    n_positions: int = 512,
    n_embd: int = 32,
    n_layer: int = 2,
    n_head: int = 4,
    multi_query: bool = True,
    dtype: torch.dtype = torch.float32,
    shard_size: str = "40KB",
) -> Path:
    """Write a checkpoint to `folder` and return it."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer_json()
    config = GPTBigCodeConfig(
        vocab_size=len(json.loads(tokenizer)["model"]["vocab"]),
        n_positions=n_positions,
        n_embd=n_embd,
        n_layer=n_layer,
        n_head=n_head,
        n_inner=4 * n_embd,
        multi_query=multi_query,
        bos_token_id=0,
        eos_token_id=0,
        # More than the usual 0.02, so that logits differ clearly and greedy decoding has no ties.
        initializer_range=0.2,
    )
    GPTBigCodeForCausalLM(config).to(dtype).save_pretrained(folder, max_shard_size=shard_size)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """Write the same tokenizer files as a StarCoder repository."""
    (folder / "tokenizer.json").write_text(_tokenizer_json(), encoding="utf-8")
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "additional_special_tokens": list(SPECIAL_TOKENS),
        "add_prefix_space": False,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def edit_json(file: Path, **changes: object) -> None:
    """Change keys of a JSON file; the value None removes a key."""
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    _write_json(file, {key: value for key, value in content.items() if value is not None})


def _write_json(file: Path, content: dict[str, object]) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")
