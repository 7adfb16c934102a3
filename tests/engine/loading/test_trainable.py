"""Which models can be trained, and that loading one never runs code of it."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from engine.errors import ConfigurationError, ModelError, UnsupportedModelError
from engine.loading.trainable import locate_trainable, read_trainable
from engine.settings import EngineSettings
from tests.architecture_checkpoints import CONFIGS, make_architecture
from tests.checkpoint_maker import edit_json
from training.base_model import load_base_model


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_architecture(tmp_path / "llama", "llama")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_of_the_engine_can_be_trained(name: str, tmp_path: Path) -> None:
    folder = make_architecture(tmp_path / name, name)
    model = locate_trainable(EngineSettings(model=str(folder)), lambda *_: None)
    assert (model.name, model.path) == (str(folder), folder)
    modules = {name.rpartition(".")[2] for name, _ in load_base_model(folder).named_modules()}
    assert set(model.architecture.names.modules) <= modules
    assert model.architecture.names.embedding_module in modules


def test_a_model_that_the_engine_does_not_compute_is_refused(llama: Path) -> None:
    edit_json(llama / "config.json", model_type="gpt2")
    with pytest.raises(UnsupportedModelError, match=r"architecture gpt2 .* could not be served"):
        read_trainable("m", llama)
    edit_json(llama / "config.json", model_type="llama", hidden_size=None)
    with pytest.raises(UnsupportedModelError, match="hidden_size"):
        read_trainable("m", llama)


def test_quantised_weights_are_refused(llama: Path) -> None:
    edit_json(llama / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ConfigurationError, match=r"quantised weights.*original model"):
        read_trainable("m", llama)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_pickled_weights_are_refused_and_never_opened(llama: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for file in llama.glob("*.safetensors*"):
        file.unlink()
    weights = {"model.embed_tokens.weight": torch.zeros(3, 3), "trap": Trap(mark)}
    torch.save(weights, llama / "pytorch_model.bin", pickle_module=pickle)
    with pytest.raises(ModelError, match="can run code"):
        read_trainable("m", llama)
    with pytest.raises(ValueError, match="cannot be tuned"):
        load_base_model(llama)
    assert not mark.exists()


def test_harmless_pickled_weights_are_refused_too(llama: Path) -> None:
    torch.save(load_base_model(llama).state_dict(), llama / "pytorch_model.bin")
    for file in llama.glob("*.safetensors*"):
        file.unlink()
    with pytest.raises(ValueError, match="cannot be tuned"):
        load_base_model(llama)


def with_code(folder: Path, mark: Path, **config: object) -> Path:
    """Add code to a checkpoint that creates `mark` when it is imported."""
    (folder / "modeling_own.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
        "from transformers import LlamaConfig as OwnConfig, LlamaForCausalLM as OwnModel\n"
    )
    names = {
        "AutoConfig": "modeling_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnModel",
    }
    edit_json(folder / "config.json", auto_map=names, **config)
    return folder


def test_code_of_a_checkpoint_is_refused(llama: Path, tmp_path: Path) -> None:
    with_code(llama, tmp_path / "executed", model_type="own")
    with pytest.raises(UnsupportedModelError, match="architecture own"):
        read_trainable("m", llama)
    with pytest.raises(ValueError, match="cannot be tuned"):
        load_base_model(llama)
    assert not (tmp_path / "executed").exists()


def test_code_next_to_a_known_architecture_is_ignored(llama: Path, tmp_path: Path) -> None:
    with_code(llama, tmp_path / "executed")
    assert type(load_base_model(llama)).__module__.startswith("transformers.models.llama")
    assert not (tmp_path / "executed").exists()


def test_damaged_weights_give_a_clear_message(llama: Path) -> None:
    for file in llama.glob("*.safetensors"):
        file.write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="cannot be tuned"):
        load_base_model(llama)


def test_a_directory_with_one_gguf_file_is_refused(llama: Path, tmp_path: Path) -> None:
    for file in llama.glob("*.safetensors*"):
        file.unlink()
    (llama / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigurationError, match="original model"):
        read_trainable("m", llama)
    assert json.loads((llama / "config.json").read_text())["model_type"] == "llama"
