"""Loading a checkpoint: every failure raises an error that says what to do."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from transformers import AutoModelForCausalLM

from benchmarks.stepped_scheduler import ids_of, run_alone
from engine.api import GenerationRequest
from engine.errors import (
    ConfigurationError,
    ModelAccessError,
    ModelError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from engine.loading import hub
from engine.loading.load import load
from engine.loading.module_loader import forward_for_module
from engine.network.model import LoadedModel
from engine.network.transformers_forward import TransformersForward
from engine.settings import EngineSettings
from tests.checkpoint_maker import edit_json, make_checkpoint, write_tokenizer
from training.tokenizer import SPECIAL_TOKENS

FailDownload = Callable[[Exception], None]


def load_quietly(path: Path | str, **settings: Any) -> LoadedModel:
    return load(EngineSettings(model=str(path), **settings), lambda *_: None).model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "model")


def test_the_sample_checkpoint_has_starcoders_layout(checkpoint: Path) -> None:
    loaded = load_quietly(checkpoint)
    tokenizer = loaded.tokenizer
    assert [tokenizer.special_id(name) for name in SPECIAL_TOKENS] == list(range(19))
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 1
    assert (checkpoint / "model.safetensors.index.json").exists()
    assert loaded.info.model_type == "gpt_bigcode"
    assert loaded.cache_shape.kv_heads == 1
    assert loaded.end_ids == {0}
    assert not loaded.info.is_demo


def test_progress_is_reported(checkpoint: Path) -> None:
    reported: list[str] = []
    load(EngineSettings(model=str(checkpoint)), lambda activity, _: reported.append(activity))
    assert any("loading" in activity for activity in reported)


def replace_with_pickle(path: Path) -> None:
    for file in path.glob("*.safetensors*"):
        file.unlink()
    torch.save({}, path / "pytorch_model.bin")


def truncate_shard(path: Path) -> None:
    shard = sorted(path.glob("model-*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:1000])


def remove_shard(path: Path) -> None:
    sorted(path.glob("model-*.safetensors"))[-1].unlink()


def join_digits(path: Path) -> None:
    content = json.loads((path / "tokenizer.json").read_text())
    content["pre_tokenizer"] = content["pre_tokenizer"]["pretokenizers"][1]
    content["model"]["vocab"]["20"] = len(content["model"]["vocab"])
    content["model"]["merges"].append(["2", "0"])
    (path / "tokenizer.json").write_text(json.dumps(content))


BROKEN = [
    (replace_with_pickle, UnsupportedModelError, "safetensors"),
    (truncate_shard, UnsupportedModelError, "download the model again"),
    (remove_shard, UnsupportedModelError, "download the model again"),
    (join_digits, UnsupportedModelError, "digits one by one"),
    (lambda p: (p / "config.json").unlink(), ModelNotFoundError, "no config.json"),
    (lambda p: (p / "config.json").write_text("{"), UnsupportedModelError, "damaged"),
    (lambda p: (p / "config.json").write_text("{}"), UnsupportedModelError, "what model it is"),
    (lambda p: (p / "tokenizer.json").unlink(), ModelNotFoundError, "no tokenizer"),
    (lambda p: (p / "tokenizer.json").write_text("{}"), UnsupportedModelError, "tokenizer"),
    (lambda p: edit_json(p / "config.json", model_type="no-such"), ModelError, "an architecture"),
]


@pytest.mark.parametrize(("damage", "error", "message"), BROKEN)
def test_the_error_of_a_broken_checkpoint_says_what_is_wrong(
    checkpoint: Path, damage: Callable[[Path], object], error: type[ModelError], message: str
) -> None:
    damage(checkpoint)
    with pytest.raises(error, match=message):
        load_quietly(checkpoint)


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no directory"):
        load_quietly(tmp_path / "nothing")


def test_offline_a_model_that_is_not_on_disk_is_an_error() -> None:
    with pytest.raises(ModelNotFoundError, match="offline"):
        load_quietly("bigcode/starcoder", offline=True)


@pytest.fixture
def fail_download(monkeypatch: pytest.MonkeyPatch) -> FailDownload:
    """Make downloads fail with an error of the hub's library, without using the network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def fail_with(error: Exception) -> None:
        def refuse(*_: Any, local_files_only: bool = False, **__: Any) -> str:
            raise (FileNotFoundError() if local_files_only else error)

        monkeypatch.setattr(hub, "snapshot_download", refuse)

    return fail_with


def http_error(kind: Any) -> Exception:
    import httpx2

    request = httpx2.Request("GET", "http://hub")
    error: Exception = kind("refused", response=httpx2.Response(403, request=request))
    return error


def test_the_error_of_a_gated_model_names_both_steps(fail_download: FailDownload) -> None:
    fail_download(http_error(GatedRepoError))
    with pytest.raises(ModelAccessError, match=r"licence.*hf auth login"):
        load_quietly("bigcode/starcoder")


def test_the_error_of_an_unknown_model_suggests_the_spelling(fail_download: FailDownload) -> None:
    fail_download(http_error(RepositoryNotFoundError))
    with pytest.raises(ModelNotFoundError, match="spelling"):
        load_quietly("bigcode/starcodr")


def test_without_network_the_hub_cannot_be_reached(fail_download: FailDownload) -> None:
    fail_download(ConnectionError("no route"))
    with pytest.raises(ModelNotFoundError, match="cannot be reached"):
        load_quietly("bigcode/starcoder")


def make_in_hub_cache(cache: Path, repo: str) -> Path:
    """Write a model in the layout of the hub's cache."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    return make_checkpoint(folder / "snapshots" / commit)


def test_a_hub_model_on_disk_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    path = make_in_hub_cache(tmp_path, "bigcode/tiny")
    # The library reads its cache folder at import, so the call has to name the folder.
    download = hub.snapshot_download
    monkeypatch.setattr(
        hub, "snapshot_download", lambda *a, **k: download(*a, **k, cache_dir=str(tmp_path))
    )
    loaded = load_quietly("bigcode/tiny", offline=True)
    assert loaded.info.model == "bigcode/tiny"
    remove_shard(path)
    with pytest.raises(ModelNotFoundError, match="offline"):
        load_quietly("bigcode/tiny", offline=True)


def test_revision_and_window_of_the_settings_are_not_those_of_the_draft_model(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    located: list[tuple[str, str | None]] = []

    def locate(settings: EngineSettings, _: object) -> tuple[str, Path]:
        located.append((settings.model, settings.revision))
        return settings.model, checkpoint

    monkeypatch.setattr("engine.loading.load.locate", locate)
    settings = EngineSettings("large", revision="v2", draft_model="small", context_window=64)
    loaded = load(settings, lambda *_: None)
    assert located == [("large", "v2"), ("small", None)]
    assert loaded.model.context_window == 64
    assert loaded.draft_model is not None
    assert loaded.draft_model.context_window == 512


def test_a_missing_device_is_an_error(checkpoint: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("optional: needs a machine without a GPU")
    with pytest.raises(ConfigurationError, match="no such device"):
        load_quietly(checkpoint, device="cuda")


def test_a_window_can_be_smaller_than_the_models_but_not_larger(checkpoint: Path) -> None:
    assert load_quietly(checkpoint, context_window=64).context_window == 64
    with pytest.raises(ConfigurationError, match="512"):
        load_quietly(checkpoint, context_window=1000)


def test_a_model_partly_on_disk_generates_the_same_output(checkpoint: Path, tmp_path: Path) -> None:
    """accelerate offloads to CPU and disk with the same code; offloading to disk needs no GPU."""
    devices = dict.fromkeys(
        ["transformer.wte", "transformer.wpe", "transformer.h.0", "transformer.ln_f", "lm_head"],
        "cpu",
    )
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint,
        dtype=torch.float32,
        device_map={**devices, "transformer.h.1": "disk"},
        offload_folder=tmp_path / "offloaded",
    )
    assert next(model.transformer.h[1].parameters()).device.type == "meta"
    plain = load_quietly(checkpoint)
    offloaded = replace(plain, forward=forward_for_module(model))
    assert isinstance(offloaded.forward, TransformersForward)
    request = GenerationRequest(tuple(range(30, 60)), 16)
    assert ids_of(run_alone(offloaded, request)) == ids_of(run_alone(plain, request))


def test_balanced_works_without_a_gpu(checkpoint: Path) -> None:
    assert load_quietly(checkpoint, device="balanced").info.device == "balanced"


def test_a_config_that_does_not_name_the_kind_of_attention_means_multi_query(
    checkpoint: Path,
) -> None:
    edit_json(checkpoint / "config.json", multi_query=None)
    model = load_quietly(checkpoint, dtype="int8")  # which other kinds do not support
    assert model.cache_shape.kv_heads == 1


def test_a_folder_with_only_a_tokenizer_is_an_error(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with pytest.raises(ModelNotFoundError):
        load_quietly(tmp_path)
