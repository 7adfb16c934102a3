"""The stores of Ollama, LM Studio and llama.cpp, also damaged and hostile ones."""

import json
import os
from pathlib import Path

import pytest

from engine.errors import ModelNotFoundError
from engine.loading.catalog import Checkpoint, Unusable, find_models
from engine.loading.load import load
from engine.loading.local_stores import (
    STORES,
    StoredModel,
    llama_cpp_models,
    lm_studio_models,
    ollama_models,
    stored_models,
)
from engine.loading.locate import locate
from engine.settings import EngineSettings
from tests.engine.loading.gguf_maker import make_model, write_gguf

LAYER = "application/vnd.ollama.image.model"
DIGEST = "sha256:" + "ab" * 32


def put(file: Path, content: str | bytes = b"GGUF....") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def manifest(*digests: object, kind: str = LAYER) -> str:
    layers = [{"mediaType": kind, "digest": digest} for digest in digests]
    other = {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64}
    return json.dumps({"schemaVersion": 2, "layers": [other, *layers]})


def names(store: Path) -> list[str]:
    return [model.name for model in ollama_models(store)]


def test_ollamas_models_have_the_names_that_ollama_shows(tmp_path: Path) -> None:
    blob = put(tmp_path / "blobs" / DIGEST.replace(":", "-"))
    root = tmp_path / "manifests"
    put(root / "registry.ollama.ai/library/qwen2.5-coder/1.5b", manifest(DIGEST))
    put(root / "registry.ollama.ai/someone/starcoder/latest", manifest(DIGEST))
    put(root / "hf.co/bartowski/Coder-GGUF/Q4_K_M", manifest(DIGEST))
    assert list(ollama_models(tmp_path)) == [
        StoredModel("hf.co/bartowski/Coder-GGUF:Q4_K_M", blob, "Ollama"),
        StoredModel("qwen2.5-coder:1.5b", blob, "Ollama"),
        StoredModel("someone/starcoder:latest", blob, "Ollama"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '{"layers": 3}',
        '{"layers": [3, null]}',
        '{"layers": [{"digest": 4}]}',
        "[" * 100_000,
        b"\xff\xfe\x00",
        manifest(),
        manifest(3),
        manifest(["sha256:" + "ab" * 32]),
        manifest("sha256:../../../secret"),
        manifest("../outside.gguf"),
        manifest("sha256:" + "ab" * 31 + "/."),
        manifest("sha256:" + "cd" * 32),
        manifest(DIGEST, DIGEST),
        manifest(DIGEST, kind="application/vnd.ollama.image.adapter"),
        manifest(DIGEST) + " " * (1 << 20),
    ],
)
def test_damaged_and_hostile_manifests_are_skipped(content: str | bytes, tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(tmp_path / "outside.gguf")
    put(store / "blobs" / DIGEST.replace(":", "-"))
    library = store / "manifests/registry.ollama.ai/library"
    put(library / "good/latest", manifest(DIGEST))
    put(library / "bad/latest", content)
    assert names(store) == ["good:latest"]


def test_links_out_of_a_store_are_not_followed(tmp_path: Path) -> None:
    store, secret = tmp_path / "store", put(tmp_path / "secret/model.gguf")
    blob = store / "blobs" / DIGEST.replace(":", "-")
    put(store / "manifests/registry.ollama.ai/library/good/latest", manifest(DIGEST))
    blob.parent.mkdir()
    os.symlink(secret, blob)
    assert names(store) == []
    blob.unlink()
    os.symlink(blob, blob)
    assert names(store) == []
    blob.unlink()
    put(blob)
    assert names(store) == ["good:latest"]
    outside = put(tmp_path / "elsewhere/latest", manifest(DIGEST))
    os.symlink(outside.parent, store / "manifests/registry.ollama.ai/library/linked")
    assert names(store) == ["good:latest"]

    studio = tmp_path / "studio/publisher/repository"
    studio.mkdir(parents=True)
    os.symlink(secret, studio / "model.gguf")
    assert list(lm_studio_models(tmp_path / "studio")) == []


def test_blobs_that_are_no_gguf_file_are_skipped(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / DIGEST.replace(":", "-"), b"PK\x03\x04")
    put(tmp_path / "manifests/registry.ollama.ai/library/good/latest", manifest(DIGEST))
    assert names(tmp_path) == []


def test_models_of_lm_studio(tmp_path: Path) -> None:
    folder = tmp_path / "bartowski/Coder-GGUF"
    file = put(folder / "Coder-Q4_K_M.gguf")
    first = put(folder / "Large-00001-of-00002.gguf")
    put(folder / "Large-00002-of-00002.gguf")
    put(folder / "mmproj-Coder-F16.gguf")
    put(folder / "Damaged.gguf", b"GG")
    put(folder / "Part.gguf.part")
    put(tmp_path / "loose.gguf")
    put(folder / "deeper/model.gguf")
    assert list(lm_studio_models(tmp_path)) == [
        StoredModel("bartowski/Coder-GGUF/Coder-Q4_K_M", file, "LM Studio"),
        StoredModel("bartowski/Coder-GGUF/Large-00001-of-00002", first, "LM Studio"),
    ]


def test_models_of_llama_cpp(tmp_path: Path) -> None:
    file = put(tmp_path / "ggml-org_Qwen_q8.gguf")
    put(tmp_path / "ggml-org_Qwen_q8.gguf.json", "{}")
    assert list(llama_cpp_models(tmp_path)) == [StoredModel("ggml-org_Qwen_q8", file, "llama.cpp")]


def test_the_stores_are_where_the_programs_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("OLLAMA_MODELS", "LLAMA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert list(stored_models()) == []
    put(tmp_path / ".ollama/models/blobs" / DIGEST.replace(":", "-"))
    put(
        tmp_path / ".ollama/models/manifests/registry.ollama.ai/library/coder/latest",
        manifest(DIGEST),
    )
    put(tmp_path / ".lmstudio/models/a/b/new.gguf")
    put(tmp_path / ".cache/lm-studio/models/a/b/old.gguf")
    put(tmp_path / ".cache/llama.cpp/cached.gguf")
    expected = ["coder:latest", "a/b/new", "a/b/old", "cached"]
    assert [model.name for model in stored_models()] == expected
    put(tmp_path / "elsewhere/other.gguf")
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "nowhere"))
    assert [model.name for model in stored_models()] == ["a/b/new", "a/b/old", "other"]


def test_a_model_of_another_program_is_selected_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = put(tmp_path / "ollama/blobs" / DIGEST.replace(":", "-"))
    put(tmp_path / "ollama/manifests/registry.ollama.ai/library/coder/1b", manifest(DIGEST))
    file = put(tmp_path / "llama/starcoder2.gguf")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    settings = {model.setting: model.path for model in stored_models()}
    assert settings == {"ollama:coder:1b": blob, "llama.cpp:starcoder2": file}
    for name, path in settings.items():
        assert name.startswith(STORES)
        assert locate(EngineSettings(name), lambda *_: None) == (name, path)
    for name in ("ollama:coder:2b", "llama.cpp:coder:1b", "lm-studio:starcoder2"):
        with pytest.raises(ModelNotFoundError, match="starcoder-lsp models"):
            locate(EngineSettings(name), lambda *_: None)


def test_the_models_of_other_programs_are_listed_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llama").mkdir()
    file = write_gguf(tmp_path / "llama/tiny.gguf", make_model("llama"))
    put(tmp_path / "llama/broken.gguf")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    models = {model.name: model for model in find_models(tmp_path / "no cache")}
    assert isinstance(models["llama.cpp:tiny"], Checkpoint)
    assert models["llama.cpp:tiny"].path == file
    assert isinstance(models["llama.cpp:broken"], Unusable)
    assert models["demo"]
    loaded = load(EngineSettings("llama.cpp:tiny", device="cpu"), lambda *_: None)
    assert loaded.model.info.model == "llama.cpp:tiny"
