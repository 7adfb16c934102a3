"""What a model's folder says is what our engine would report about the model."""

import json
from pathlib import Path

import pytest

from engine.errors import UnsupportedModelError
from engine.loading.model_facts import ModelFacts, read_facts
from engine.loading.on_disk import EMBEDDED_DIR
from engine.settings import EngineSettings
from tests.engine.loading.gguf_maker import make_model, write_gguf, write_starcoder_tokenizer


def test_the_facts_of_the_demo_model_are_those_of_our_engine() -> None:
    from engine.loading.load import load

    info = load(EngineSettings(model="demo", device="cpu"), lambda *_: None).model.info
    facts = read_facts(EMBEDDED_DIR)
    assert facts == ModelFacts(info.model_type, info.fim_form, info.chat_template, info.is_demo)
    assert facts.fim_form
    assert read_facts(EMBEDDED_DIR / "tokenizer.json") == facts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", "T"),
        ("chat_template.json", '{"chat_template": "T"}'),
        ("tokenizer_config.json", '{"chat_template": "T"}'),
        (
            "tokenizer_config.json",
            '{"chat_template": [7, {"name": "tool", "template": "N"}, '
            '{"name": "default", "template": "T"}]}',
        ),
    ],
)
def test_each_file_with_a_chat_template_is_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_facts(tmp_path) == ModelFacts(chat_template="T")


def test_the_newest_form_of_a_chat_template_counts(tmp_path: Path) -> None:
    files = ["tokenizer_config.json", "chat_template.json"]
    for name in files:
        (tmp_path / name).write_text(json.dumps({"chat_template": name}), encoding="utf-8")
        assert read_facts(tmp_path).chat_template == name
    (tmp_path / "chat_template.jinja").write_text("J", encoding="utf-8")
    assert read_facts(tmp_path).chat_template == "J"


def test_a_folder_may_have_none_of_the_files(tmp_path: Path) -> None:
    assert read_facts(tmp_path) == ModelFacts()
    (tmp_path / "config.json").write_text('{"fim_form": 7}', encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text("{", encoding="utf-8")
    assert read_facts(tmp_path) == ModelFacts()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_config_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=r"config\.json is damaged"):
        read_facts(tmp_path)


def test_a_damaged_template_is_reported(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(UnsupportedModelError, match="jinja is damaged"):
        read_facts(tmp_path)


def test_a_gguf_file_has_the_facts_inside(tmp_path: Path) -> None:
    def write(writer: object) -> None:
        write_starcoder_tokenizer(writer)  # type: ignore[arg-type]
        writer.add_chat_template("T")  # type: ignore[attr-defined]

    file = write_gguf(tmp_path / "model.gguf", make_model("llama"), tokenizer=write)
    assert read_facts(file) == read_facts(tmp_path) == ModelFacts("llama", chat_template="T")
