"""Each tensor of each architecture is checked before a kernel reads it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import StarcoderError, UnsupportedModelError
from engine.kernels.build import KernelBuild
from engine.loading.lean_loader import load_lean
from engine.loading.load import load
from engine.loading.source import ModelSource
from engine.model_config import require_architecture
from engine.network.backend import Backend
from engine.settings import EngineSettings
from tests.architecture_checkpoints import CONFIGS, make_architecture
from tests.checkpoint_maker import edit_json

Damage = Callable[[Tensor], Tensor | None]

DAMAGES: dict[str, Damage] = {
    "halved": lambda tensor: tensor[: len(tensor) // 2].clone(),
    "longer": lambda tensor: torch.cat([tensor, tensor[:1]]),
    "transposed": lambda tensor: tensor.T.contiguous() if tensor.dim() == 2 else tensor[None],
    "narrower": lambda tensor: tensor[..., :-1].contiguous(),
    "of higher rank": lambda tensor: tensor[None].clone(),
    "empty": lambda tensor: tensor[:0].clone(),
    "a number": lambda tensor: tensor.flatten()[0].clone(),
    "of integers": lambda tensor: tensor.to(torch.int64),
    "of truth values": lambda tensor: tensor > 0,
    "missing": lambda _: None,
}


@pytest.fixture(scope="module", params=CONFIGS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in one file."""
    folder = make_architecture(tmp_path_factory.mktemp("model") / "model", request.param)
    tensors = tensors_of(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    save_file(tensors, folder / "model.safetensors")
    return folder


def tensors_of(folder: Path) -> dict[str, Tensor]:
    files = folder.glob("*.safetensors")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def load_network(folder: Path) -> None:
    """Load the weights alone, since the tokenizer is not damaged."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = EngineSettings(model=str(folder), device="cpu")
    source = ModelSource(settings, folder.name, folder, config, "cpu", lambda *_: None)
    assert load_lean(source, Backend(), 1) is not None


def distinct(names: Iterator[str]) -> list[str]:
    """Leave out the layers after the first one, whose tensors are like those of the first."""
    return [name for name in names if ".1." not in name and ".2." not in name]


def test_every_tensor_that_does_not_fit_is_named(checkpoint: Path) -> None:
    load_network(checkpoint)
    tensors = tensors_of(checkpoint)
    for name in distinct(iter(tensors)):
        for damage, change in DAMAGES.items():
            changed = change(tensors[name])
            is_same = changed is not None and changed.shape == tensors[name].shape
            if is_same and changed is not None and changed.dtype == tensors[name].dtype:
                continue  # a square matrix that was transposed
            others = {key: value for key, value in tensors.items() if key != name}
            content = others if changed is None else {**others, name: changed}
            save_file(content, checkpoint / "model.safetensors")
            with pytest.raises(UnsupportedModelError) as caught:
                load_network(checkpoint)
            message = str(caught.value)
            assert name in message, f"{damage}: {message}"
            if changed is not None and changed.is_floating_point():
                assert f"{tuple(changed.shape)} instead of {tuple(tensors[name].shape)}" in message
    save_file(tensors, checkpoint / "model.safetensors")


ABSURD: dict[str, tuple[Any, ...]] = {
    "num_attention_heads": (0, -1, 5, 7, 10**9, "x", 1.5, []),
    "num_key_value_heads": (-1, 4, 3, 10**9),
    "num_hidden_layers": (0, -1, 4, 10**12, "x", float("inf")),
    "hidden_size": (0, -96, 48, 10**10, "x"),
    "intermediate_size": (0, 16, -1),
    "vocab_size": (0, 1, -1, 10**11),
    "max_position_embeddings": (0, -1, 10**15, "a"),
    "head_dim": (-2, 3, 10**9),
    "rope_parameters": (
        "x",
        5,
        {"rope_type": "linear", "rope_theta": 1e4},
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 0},
        {"rope_type": "default", "rope_theta": -1},
        {"rope_type": "default", "rope_theta": float("nan")},
        {
            "rope_type": "llama3",
            "rope_theta": 1e4,
            "factor": 4,
            "low_freq_factor": 1,
            "high_freq_factor": 1,
            "original_max_position_embeddings": 64,
        },
    ),
    "sliding_window": (0, -1, -(10**9), "x"),
    "rms_norm_eps": ("x", -1, float("nan")),
    "eos_token_id": ("x", {}, [[]]),
    "hidden_act": ("nonsense", None, 5),
}


@pytest.mark.parametrize("key", ABSURD)
def test_an_absurd_config_is_an_error(key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = make_architecture(tmp_path_factory.mktemp("model") / "model", "mistral")
    config = (folder / "config.json").read_text(encoding="utf-8")
    for value in ABSURD[key]:
        changed = json.loads(config) | {key: value}
        (folder / "config.json").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(StarcoderError):
            load(EngineSettings(model=str(folder), device="cpu"), lambda *_: None)


def test_rotary_positions_need_an_even_head_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert require_architecture(config | {"head_dim": 4}).head_dim == 4
    with pytest.raises(ValueError, match="head size is odd"):
        require_architecture(config | {"head_dim": 3})


def test_granites_scales_are_checked(tmp_path: Path) -> None:
    folder = make_architecture(tmp_path / "model", "granite")
    for value in (0, float("nan"), -1):
        edit_json(folder / "config.json", logits_scaling=value)
        with pytest.raises(UnsupportedModelError, match=r"config\.json"):
            load_network(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_architecture(tmp_path / "model", "llama")


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"x": 5}}', "null"],
)
def test_a_damaged_index_is_an_error(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(UnsupportedModelError, match=r"model\.safetensors\.index\.json"):
        load_network(folder)


@pytest.mark.parametrize("absolute", [True, False])
def test_an_index_does_not_name_files_of_other_folders(folder: Path, absolute: bool) -> None:
    outside = folder.parent / "outside.safetensors"
    shutil.copy(next(folder.glob("*.safetensors")), outside)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    name = str(outside) if absolute else f"../{outside.name}"
    content["weight_map"] = dict.fromkeys(content["weight_map"], name)
    index.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnsupportedModelError, match="not next to it"):
        load_network(folder)


def test_a_fifo_in_place_of_weights_is_an_error(folder: Path) -> None:
    shard = next(folder.glob("*.safetensors"))
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(UnsupportedModelError, match="there is no file"):
        load_network(folder)


def test_a_missing_tensor_is_not_replaced_by_random_numbers(folder: Path) -> None:
    """With transformers' own code, which the device `balanced` selects."""
    from engine.loading.module_loader import load_module

    tensors = tensors_of(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModelError, match=r"no tensor model\.layers\.1\.mlp\.up_proj"):
        load_module(folder, "model", "cpu", torch.float32)


def test_the_kernels_still_compute_a_sound_checkpoint(folder: Path) -> None:
    if KernelBuild().wait(timeout=120) is None:
        pytest.skip("optional: needs a C++ compiler")
    model = load(EngineSettings(model=str(folder), device="cpu"), lambda *_: None).model
    assert model.vocab_size > 0
