"""Export a checkpoint to the folder that ships, in the layout of a StarCoder repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch

from training.card import demo_model_card
from training.checkpoint import load_checkpoint
from training.corpus import CorpusReport
from training.tokenizer import SPECIAL_TOKENS

EMBEDDED = Path(__file__).resolve().parents[1] / "engine" / "embedded"
"""Folder in which the product looks for its demo model."""

MAX_BYTES = 60_000_000
"""Maximum bytes of the weights: they are part of the package and of every clone."""

_END = SPECIAL_TOKENS[0]
_CPU_DTYPE = "int8"
"""Number format that `auto` selects for the model on a CPU (`engine.loading.memory_plan`)."""


def export(folder: Path, target: Path, corpus: Path | None = None, remarks: str = "") -> Path:
    """Write the model of the run in `folder` to `target` and return `target`.

    `corpus` is the folder of the corpus and tokenizer, if it is another one. Weights are rounded to
    bfloat16; on a CPU the engine converts them. The numbers in `evaluation.json` are exported only
    if they belong to this checkpoint. `remarks` is Markdown for the model card. Raises ValueError
    if the weights are too large to ship.
    """
    corpus = corpus or folder
    checkpoint = load_checkpoint(folder / "checkpoint.pt")
    model = checkpoint.model
    size = sum(parameter.numel() for parameter in model.parameters()) * 2
    if size > MAX_BYTES:
        raise ValueError(f"the weights have {size} bytes; at most {MAX_BYTES} bytes may ship")
    target.mkdir(parents=True, exist_ok=True)
    evaluation = _read_json(folder / "evaluation.json")
    if evaluation.get("step") != checkpoint.step:
        evaluation = {}
    if evaluation:
        model.config.fim_form = evaluation.get("fim_form", "")
    model.config.cpu_dtype = _CPU_DTYPE
    model.to(torch.bfloat16).save_pretrained(target)
    # safetensors lets only the owner read; every user reads an installed package.
    (target / "model.safetensors").chmod(0o644)
    write_tokenizer_files(corpus / "tokenizer.json", target, model.config.n_positions)
    (target / "evaluation.json").unlink(missing_ok=True)
    if evaluation:
        _write_json(target / "evaluation.json", evaluation)
    corpus_report = cast(CorpusReport, _read_json(corpus / "corpus.json")) or None
    card = demo_model_card(model.config, checkpoint, corpus_report, evaluation, remarks)
    (target / "README.md").write_text(card, encoding="utf-8")
    return target


def write_tokenizer_files(tokenizer: Path, target: Path, positions: int) -> None:
    """Write the tokenizer and the two JSON files that name its special tokens.

    transformers does not write them, because its class name for them differs between versions.
    All versions read `PreTrainedTokenizerFast`, which keeps the step that splits digits.
    """
    (target / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    roles = {"bos_token": _END, "eos_token": _END, "unk_token": _END, "pad_token": "<fim_pad>"}
    names = {**roles, "additional_special_tokens": list(SPECIAL_TOKENS)}
    _write_json(target / "special_tokens_map.json", names)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        **names,
    }
    _write_json(target / "tokenizer_config.json", settings)


def _read_json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
