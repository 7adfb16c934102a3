"""The peer llama.cpp: conversion of a checkpoint to GGUF, and a process that generates tokens.

This script runs in a Python environment of its own (see benchmarks/README.md), so it imports none
of our code.

- `convert CHECKPOINT FORMAT FILE` writes a GPTBigCode checkpoint as GGUF, with llama.cpp's
  architecture "starcoder" and weights in a number format such as `q8_0`.
- `run FILE OPTIONS` reads one request per line of JSON, {"prompt": [ids], "new": n}. It generates
  greedily, reuses nothing, and writes {"ids": [...], "first": ms, "each": ms}. OPTIONS is the JSON
  of `benchmarks.peers.llama_options.LlamaOptions`.
"""

# mypy: disable-error-code="import-not-found, no-untyped-call"
from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
"""`enum llama_flash_attn_type` of llama.cpp's include/llama.h."""
_LOAD_MODE = {"none": 0, "mmap": 1}
"""`enum llama_load_mode` of the same file."""

_FORMATS = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "q4_1": gguf.GGMLQuantizationType.Q4_1,
}
_GGUF_NAMES = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
}
_GGUF_NAMES_IN_LAYER = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a checkpoint in float32. The format: huggingface.co/docs/safetensors."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size))
        data = np.memmap(file, np.uint8, "r", 8 + size)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            raw = data[slice(*entry["data_offsets"])]
            if entry["dtype"] == "BF16":
                values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = raw.view({"F32": np.float32, "F16": np.float16}[entry["dtype"]])
            yield name, values.astype(np.float32).reshape(entry["shape"])


def _gguf_name(name: str) -> str:
    stem, _, suffix = name.rpartition(".")  # the suffix is "weight" or "bias"
    if stem in _GGUF_NAMES:
        return f"{_GGUF_NAMES[stem]}.{suffix}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_GGUF_NAMES_IN_LAYER[part]}.{suffix}"


def convert(folder: Path, number_format: str, out: Path) -> None:
    """Write a checkpoint as GGUF, with its matrices in a number format."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(out, "starcoder")
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_head_count(config["n_head"])
    writer.add_head_count_kv(1)
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_vocab_size(config["vocab_size"])
    _add_vocabulary(writer, folder, config["vocab_size"])
    for name, values in _tensors(folder):
        gguf_name = _gguf_name(name)
        is_matrix = values.ndim == 2 and not gguf_name.startswith("position_embd")
        dtype = _FORMATS[number_format if is_matrix else "f32"]
        writer.add_tensor(gguf_name, gguf.quants.quantize(values, dtype), raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, folder: Path, size: int) -> None:
    """Write `tokenizer.json` in the form of llama.cpp's own tokenizer, for `/infill`."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = {id_: token for token, id_ in tokenizer["model"]["vocab"].items()}
    tokens |= {id_: token for token, id_ in special.items()}
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")  # splits numbers into single digits
    writer.add_token_list([tokens.get(id_, f"<unused {id_}>") for id_ in range(size)])
    writer.add_token_types(
        [
            kinds.CONTROL
            if tokens.get(id_) in special
            else kinds.NORMAL
            if id_ in tokens
            else kinds.UNUSED
            for id_ in range(size)
        ]
    )
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    )
    writer.add_bos_token_id(special["<|endoftext|>"])
    writer.add_eos_token_id(special["<|endoftext|>"])
    writer.add_add_bos_token(False)
    for part, name in (("pre", "prefix"), ("suf", "suffix"), ("mid", "middle")):
        writer.add_uint32(f"tokenizer.ggml.fim_{part}_token_id", special[f"<fim_{name}>"])


class _Model:
    def __init__(self, file: str, options: dict[str, Any]) -> None:
        import llama_cpp as llama

        self._llama = llama
        self._log_nothing = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(self._log_nothing, ctypes.c_void_p(0))
        llama.llama_backend_init()
        of_model = llama.llama_model_default_params()
        of_model.load_mode = _LOAD_MODE[options["load_mode"]]
        of_model.use_extra_bufts = options["repack"]
        self._model = llama.llama_model_load_from_file(file.encode(), of_model)
        self._batch = options["batch"]
        of_context = llama.llama_context_default_params()
        of_context.n_ctx = options["context"]
        of_context.n_batch = of_context.n_ubatch = self._batch
        of_context.n_threads = of_context.n_threads_batch = options["threads"]
        of_context.flash_attn_type = _FLASH_ATTENTION[options["flash_attention"]]
        self._context = llama.llama_init_from_model(self._model, of_context)
        self._vocab_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))

    def generate(self, prompt: list[int], new: int) -> dict[str, Any]:
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        ids, ticks, started = [], [], time.perf_counter()
        step = prompt
        for _ in range(new):
            ids.append(self._next_id(step))
            ticks.append(time.perf_counter())
            step = ids[-1:]
        each = (ticks[-1] - ticks[0]) / max(1, new - 1)
        return {"ids": ids, "first": (ticks[0] - started) * 1000, "each": each * 1000}

    def _next_id(self, ids: list[int]) -> int:
        for start in range(0, len(ids), self._batch):
            chunk = ids[start : start + self._batch]
            tokens = (self._llama.llama_token * len(chunk))(*chunk)
            batch = self._llama.llama_batch_get_one(tokens, len(chunk))
            if self._llama.llama_decode(self._context, batch) != 0:
                raise RuntimeError("llama_decode failed")
        logits = self._llama.llama_get_logits_ith(self._context, -1)
        return int(np.argmax(np.ctypeslib.as_array(logits, (self._vocab_size,))))


def run(file: str, options: dict[str, Any]) -> None:
    """Generate tokens for each request until the input ends."""
    model = _Model(file, options)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(model.generate(request["prompt"], request["new"])), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        run(sys.argv[2], json.loads(sys.argv[3]))
