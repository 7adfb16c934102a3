"""What a model's name may be: a directory, a GGUF file, or a directory with one."""

import os
from pathlib import Path

import pytest

from engine.errors import ConfigurationError, ModelNotFoundError, UnsupportedModelError
from engine.loading.adapter_store import fingerprint
from engine.loading.chat_template import read_chat_template
from engine.loading.locate import (
    locate,
    may_arrive,
    read_config,
)
from engine.loading.model_tokenizer import read_tokenizer
from engine.loading.trainable import locate_trainable
from engine.settings import EngineSettings
from tests.engine.loading.gguf_maker import make_model, write_gguf, write_starcoder_tokenizer


def located(name: str) -> tuple[str, Path]:
    return locate(EngineSettings(model=name, offline=True), lambda *_: None)


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    def write(writer: object) -> None:
        write_starcoder_tokenizer(writer)  # type: ignore[arg-type]
        writer.add_chat_template("{{ messages }}")  # type: ignore[attr-defined]

    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    return write_gguf(folder / "model.gguf", make_model("llama"), tokenizer=write)


def test_a_gguf_file_is_a_model(gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(gguf_file.parents[1]))
    monkeypatch.chdir(gguf_file.parent)
    for name in (str(gguf_file), "model.gguf", "./model.gguf", "~/models/model.gguf", "~/models"):
        assert located(name) == (name, gguf_file)
    assert located(str(gguf_file.parent)) == (str(gguf_file.parent), gguf_file)
    for path in (gguf_file, gguf_file.parent):
        assert read_config(path, "name")["model_type"] == "llama"
        assert read_chat_template(path) == "{{ messages }}"
        assert read_tokenizer(path).encode("mean") == read_tokenizer(gguf_file).encode("mean")
        assert fingerprint(path) == fingerprint(gguf_file)


def test_ollamas_files_have_no_suffix(gguf_file: Path) -> None:
    blob = gguf_file.rename(gguf_file.with_name("sha256-0123"))
    assert read_config(located(str(blob))[1], "name")["hidden_size"] == 64
    assert read_tokenizer(blob).vocab_size > 256


def test_missing_and_other_files_give_a_clear_error(tmp_path: Path) -> None:
    for name in (str(tmp_path / "no.gguf"), "no.gguf", "~/no/such", "folder/no.gguf"):
        with pytest.raises(ModelNotFoundError, match="no directory and no file"):
            located(name)
    text = tmp_path / "notes.txt"
    text.write_text("GG")
    with pytest.raises(UnsupportedModelError, match="not a GGUF file"):
        read_config(located(str(text))[1], "notes")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_text("hello")
    with pytest.raises(UnsupportedModelError, match="letters GGUF"):
        read_config(located(str(damaged))[1], "damaged")
    with pytest.raises(UnsupportedModelError, match="letters GGUF"):
        read_tokenizer(damaged)


def test_a_folder_must_leave_no_choice(gguf_file: Path) -> None:
    folder = gguf_file.parent
    write_gguf(folder / "mmproj-model.gguf", make_model("llama"))  # the image encoder of a model
    assert located(str(folder))[1] == gguf_file
    write_gguf(folder / "other.gguf", make_model("qwen2"))
    with pytest.raises(UnsupportedModelError, match=r"model\.gguf, other\.gguf"):
        located(str(folder))


def test_safetensors_come_before_gguf(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for file in tiny_checkpoint.iterdir():
        os.symlink(file, tmp_path / file.name)
    write_gguf(tmp_path / "model.gguf", make_model("llama"))
    assert located(str(tmp_path))[1] == tmp_path
    assert read_config(tmp_path, "name")["model_type"] == "gpt_bigcode"
    assert fingerprint(tmp_path) == fingerprint(tiny_checkpoint)


def test_the_fingerprint_depends_on_the_weights(gguf_file: Path, tmp_path: Path) -> None:
    before = fingerprint(gguf_file)
    content = bytearray(gguf_file.read_bytes())
    content += bytes(3 << 20)  # so that the weights are not in the first MiB
    gguf_file.write_bytes(content)
    longer = fingerprint(gguf_file)
    content[-5] ^= 1
    gguf_file.write_bytes(content)
    assert len({before, longer, fingerprint(gguf_file)}) == 3
    copy = tmp_path / "another-name.gguf"
    copy.write_bytes(content)
    assert fingerprint(copy) == fingerprint(gguf_file)


def test_a_gguf_file_cannot_be_trained(gguf_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="original model"):
        locate_trainable(EngineSettings(model=str(gguf_file)), lambda *_: None)


def test_only_a_hub_id_may_be_downloaded(tmp_path: Path) -> None:
    assert may_arrive(EngineSettings(model="org/model"))
    assert not may_arrive(EngineSettings(model="org/model", offline=True))
    for name in ("auto", "demo", "ollama:model", str(tmp_path), "./model", "~/model", "m.gguf"):
        assert not may_arrive(EngineSettings(model=name)), name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        ("DEMO", "mean demo"),
        (" Auto ", "mean auto"),
        ("bigcode/starcoder ", "mean bigcode/starcoder[?]"),
        ("a/b/c", "no directory and no file a/b/c"),
        ("https://example.com/a", "no directory and no file https://example.com/a"),
        ("~no-such-user/model", "no directory and no file"),
        ("long" * 1000, "no directory and no file"),
    ],
)
def test_a_name_that_no_model_can_have_is_named(name: str, words: str) -> None:
    with pytest.raises(ModelNotFoundError, match=words):
        located(name)
    assert not may_arrive(EngineSettings(model="a/b/c"))
