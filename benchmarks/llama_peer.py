"""Llama.cpp beside us: a checkpoint made GGUF, and a process that computes what it is told.

This file runs in an environment of its own (see benchmarks/README.md), so it imports nothing of
ours. `convert CHECKPOINT TYPE FILE` writes a GPTBigCode checkpoint as llama.cpp's architecture
"starcoder". `run FILE THREADS` reads a line of JSON for each request, {"prompt": [ids], "new": n},
and answers with {"ids": [...], "first": ms, "each": ms}, greedy, with nothing reused.
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

_TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}
_NAMES = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
}
_IN_LAYER = {
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
        for name, about in header.items():
            if name == "__metadata__":
                continue
            raw = data[slice(*about["data_offsets"])]
            if about["dtype"] == "BF16":
                values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = raw.view({"F32": np.float32, "F16": np.float16}[about["dtype"]])
            yield name, values.astype(np.float32).reshape(about["shape"])


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_IN_LAYER[part]}.{kind}"


def convert(folder: Path, kind: str, out: Path) -> None:
    """Write a checkpoint as GGUF."""
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
        made = _gguf_name(name)
        matrix = values.ndim == 2 and not made.startswith("position_embd")
        wanted = _TYPES[kind if matrix else "f32"]
        writer.add_tensor(made, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, folder: Path, size: int) -> None:
    """Write `tokenizer.json` as llama.cpp's own tokenizer wants it, for `/infill`."""
    known = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in known["added_tokens"]}
    ids = {id_: token for token, id_ in known["model"]["vocab"].items()}
    ids |= {id_: token for token, id_ in special.items()}
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")  # digits one by one
    writer.add_token_list([ids.get(id_, f"<unused {id_}>") for id_ in range(size)])
    writer.add_token_types(
        [
            kinds.CONTROL
            if ids.get(id_) in special
            else kinds.NORMAL
            if id_ in ids
            else kinds.UNUSED
            for id_ in range(size)
        ]
    )
    merges = known["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_bos_token_id(special["<|endoftext|>"])
    writer.add_eos_token_id(special["<|endoftext|>"])
    writer.add_add_bos_token(False)
    for part, name in (("pre", "prefix"), ("suf", "suffix"), ("mid", "middle")):
        writer.add_uint32(f"tokenizer.ggml.fim_{part}_token_id", special[f"<fim_{name}>"])


class _Model:
    def __init__(self, file: str, threads: int, context: int) -> None:
        import llama_cpp as llama

        self._llama = llama
        self._quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self._model = llama.llama_model_load_from_file(
            file.encode(), llama.llama_model_default_params()
        )
        settings = llama.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = context, 512, 512
        settings.n_threads = settings.n_threads_batch = threads
        self._context = llama.llama_init_from_model(self._model, settings)
        self._vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))

    def generate(self, prompt: list[int], new: int) -> dict[str, Any]:
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        ids, ticks, started = [], [], time.perf_counter()
        step = prompt
        for _ in range(new):
            ids.append(self._next(step))
            ticks.append(time.perf_counter())
            step = ids[-1:]
        each = (ticks[-1] - ticks[0]) / max(1, new - 1)
        return {"ids": ids, "first": (ticks[0] - started) * 1000, "each": each * 1000}

    def _next(self, ids: list[int]) -> int:
        for at in range(0, len(ids), 512):
            part = ids[at : at + 512]
            tokens = (self._llama.llama_token * len(part))(*part)
            batch = self._llama.llama_batch_get_one(tokens, len(part))
            if self._llama.llama_decode(self._context, batch) != 0:
                raise RuntimeError("llama_decode failed")
        logits = self._llama.llama_get_logits_ith(self._context, -1)
        return int(np.argmax(np.ctypeslib.as_array(logits, (self._vocab,))))


def run(file: str, threads: int, context: int) -> None:
    """Answer requests until the input ends."""
    model = _Model(file, threads, context)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(model.generate(request["prompt"], request["new"])), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
