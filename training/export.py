"""From a checkpoint of a run to the folder that ships: the layout of a StarCoder repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import GPTBigCodeForCausalLM

from training.card import model_card
from training.model import Shape, build
from training.tokenizer import SPECIAL_TOKENS

EMBEDDED = Path(__file__).resolve().parents[1] / "engine" / "embedded"
"""Where the product looks for its demo model."""

MAX_BYTES = 25_000_000
"""The weights travel with the package and with every clone of the repository."""

_END = SPECIAL_TOKENS[0]


def load_model(checkpoint: Path) -> tuple[GPTBigCodeForCausalLM, dict[str, Any]]:
    """Return the model of a run's checkpoint, float32 and in eval mode, and its step and plan."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = build(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval(), {"step": state["step"], "plan": state["plan"]}


def export(folder: Path, target: Path) -> Path:
    """Write the model of the run in `folder` to `target` and return it.

    Weights are rounded to bfloat16, which the engine widens again on a CPU. The numbers in
    `evaluation.json` go along if they are this checkpoint's. Raises ValueError if the weights are
    too large to ship.
    """
    model, state = load_model(folder / "checkpoint.pt")
    size = sum(p.numel() for p in model.parameters()) * 2
    if size > MAX_BYTES:
        raise ValueError(f"the weights are {size} bytes; at most {MAX_BYTES} ship")
    target.mkdir(parents=True, exist_ok=True)
    evaluation = _read(folder / "evaluation.json")
    if evaluation.get("step") == state["step"]:
        model.config.fim_form = evaluation.get("fim_form", "")
    model.to(torch.bfloat16).save_pretrained(target)
    # safetensors lets only the owner read; an installed package is read by every user.
    (target / "model.safetensors").chmod(0o644)
    write_tokenizer_files(folder / "tokenizer.json", target, model.config.n_positions)
    (target / "evaluation.json").unlink(missing_ok=True)
    if evaluation.get("step") != state["step"]:
        evaluation = {}
    else:
        _write(target / "evaluation.json", evaluation)
    corpus = _read(folder / "corpus.json")
    rows = {int(file.stem.split("-")[1]): _read(file) for file in folder.glob("rows-[1-9]*.json")}
    card = model_card(model.config, state, corpus, rows, evaluation)
    (target / "README.md").write_text(card, encoding="utf-8")
    return target


def write_tokenizer_files(tokenizer: Path, target: Path, positions: int) -> None:
    """Write the tokenizer and the two JSON files beside it that name its special tokens.

    They are written here rather than by transformers, whose class name for them differs between
    versions; `PreTrainedTokenizerFast` is read by all and keeps the step that splits digits.
    """
    (target / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    named = {"bos_token": _END, "eos_token": _END, "unk_token": _END, "pad_token": "<fim_pad>"}
    names = {**named, "additional_special_tokens": list(SPECIAL_TOKENS)}
    _write(target / "special_tokens_map.json", names)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        **names,
    }
    _write(target / "tokenizer_config.json", settings)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
