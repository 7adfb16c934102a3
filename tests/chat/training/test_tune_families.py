"""Tuning on dialogues for each kind of model: the engine answers as the trained model does."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from chat.asker import Asker, ChatSettings
from chat.training.config import TuneChatConfig, read_config
from chat.training.data import DialogueSplit, read_dialogues, split_dialogues
from chat.training.train import ChatReport, tune_chat
from chat.training.tuned_model import SAMPLE_QUESTION, add_embeddings
from engine.api import Message
from engine.errors import ConfigurationError
from engine.loading.adapter_store import WEIGHTS_FILE, AdapterNote, fingerprint, install
from engine.loading.trainable import read_trainable
from engine.local import LocalEngine
from engine.settings import EngineSettings
from tests.architecture_checkpoints import make_architecture
from tests.llama_checkpoint import make_llama_checkpoint
from training.base_model import load_base_model

QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token }}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }} {{ eos_token }}{% endif %}{% endfor %}"
)


def with_template(folder: Path, template: str) -> Path:
    """Give a model a chat template, and Qwen's two tokens for dialogues."""
    file = folder / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    text = text.replace('"<issue_start>"', '"<|im_start|>"')
    text = text.replace('"<issue_closed>"', '"<|im_end|>"')
    file.write_text(text, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def make_base(name: str, folder: Path) -> Path:
    match name.split("/"):
        case [architecture, "qwen template"]:
            return with_template(make_architecture(folder, architecture), QWEN_TEMPLATE)
        case ["code-llama", "llama template"]:
            return with_template(make_llama_checkpoint(folder), LLAMA_TEMPLATE)
        case [architecture, "tied"]:
            return make_architecture(folder, architecture, tie_word_embeddings=True)
    return make_architecture(folder, name)


def data(folder: Path) -> DialogueSplit:
    rows = [
        {"prompt": f"Is {number} even?", "completion": f"It is {'odd' if number % 2 else 'even'}."}
        for number in range(48)
    ]
    file = folder / "talk.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return split_dialogues(read_dialogues(file), 0)


def config(**changes: object) -> TuneChatConfig:
    quick = {"block_size": 64, "epochs": 4, "learning_rate": 0.01}
    return read_config("small").model_copy(update={**quick, **changes})


def tuned(base: Path, folder: Path, **changes: Any) -> ChatReport:
    model = read_trainable("base", base)
    return tune_chat(model, data(folder), folder / "run", config(**changes), lambda _: None)


async def answer_of_the_engine(model: Path, adapter: str | None) -> str:
    engine = LocalEngine(EngineSettings(str(model), device="cpu", dtype="float32"))
    try:
        asker = Asker(engine, ChatSettings(adapter=adapter, max_new_tokens=128))
        return (await asker.ask([Message("user", SAMPLE_QUESTION)])).text.strip()
    finally:
        await engine.aclose()


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("qwen2/qwen template", "own"),
        ("qwen3/qwen template", "own"),
        ("code-llama/llama template", "own"),
        ("llama-biases", "chatml"),
        ("starcoder2/tied", "chatml"),
        ("granite/tied", "chatml"),
        ("mistral/tied", "chatml"),
    ],
)
async def test_the_engine_answers_with_the_adapter_as_the_trained_model(
    name: str, format_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    base = make_base(name, tmp_path / "base")
    report = tuned(base, tmp_path)
    assert report.perplexity_after < report.perplexity_before / 2
    assert report.format_name == format_name
    result = tmp_path / "run" / "result"
    assert (result / "tokenizer.json").exists() == (format_name == "chatml")
    names = load_file(result / WEIGHTS_FILE)
    assert any("token_adapter" in name for name in names) == (format_name == "chatml")
    assert all("lora_" in name or "token_adapter" in name for name in names)
    template = json.loads((result / "dialogue_template.json").read_text())
    assert template["name"] == format_name
    install(result, "talk", AdapterNote(name, fingerprint(base)))
    assert await answer_of_the_engine(base, "talk") == report.sample
    if format_name == "own":  # without the adapter, the format of the others is `plain`
        assert await answer_of_the_engine(base, None) != report.sample


def test_an_adapter_that_cannot_add_tokens_is_refused(tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "base", "llama")
    with pytest.raises(ConfigurationError, match=r"no chat template, .* not tied.*full"):
        tuned(base, tmp_path)


@pytest.mark.parametrize("name", ["llama", "mistral/tied"])
def test_added_tokens_start_as_the_mean_of_all_others(name: str, tmp_path: Path) -> None:
    model = load_base_model(make_base(name, tmp_path / "base"))
    matrices = model.get_input_embeddings, model.get_output_embeddings
    means = [matrix().weight.detach().mean(0) for matrix in matrices]
    size = model.config.vocab_size
    add_embeddings(model, (5, size, size + 1))
    for matrix, mean in zip(matrices, means, strict=True):
        rows = matrix().weight.detach()
        assert len(rows) == size + 2
        for id_ in (5, size, size + 1):
            assert rows[id_].allclose(mean, atol=1e-6)
        assert not rows[6].allclose(mean, atol=1e-2)


async def test_all_weights_of_a_model_with_untied_embeddings(tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "base", "llama")
    report = tuned(base, tmp_path, method="full", learning_rate=3e-3)
    assert report.perplexity_after < report.perplexity_before / 2
    assert await answer_of_the_engine(tmp_path / "run" / "result", None) == report.sample


async def test_all_weights_of_a_model_with_its_own_template(tmp_path: Path) -> None:
    base = make_base("qwen2/qwen template", tmp_path / "base")
    report = tuned(base, tmp_path, method="full", learning_rate=3e-3)
    result = tmp_path / "run" / "result"
    assert (result / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (result / "chat_template.jinja").read_text() == QWEN_TEMPLATE
    assert await answer_of_the_engine(result, None) == report.sample
