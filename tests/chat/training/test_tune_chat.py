"""Tuning on dialogues: it learns, resumes, and is served together with plain completions."""

import asyncio
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from chat.asker import Asker, ChatSettings
from chat.training.config import TuneChatConfig, read_config
from chat.training.data import read_dialogues, split_dialogues
from chat.training.train import tune_chat
from engine.api import GenerationRequest, Message
from engine.errors import ConfigurationError
from engine.loading.adapter_store import WEIGHTS_FILE, read_adapter
from engine.loading.trainable import TrainableModel, read_trainable
from engine.local import LocalEngine
from engine.settings import EngineSettings
from lsp_server.cli.app import app

COLOURS = ("red", "green", "blue", "white", "black", "grey", "pink", "brown")
THINGS = ("box", "cup", "hat", "pen", "key", "map")


@pytest.fixture
def dialogues(tmp_path: Path) -> Path:
    file = tmp_path / "talk.jsonl"
    rows = [
        {"prompt": f"What colour is the {thing} {number}?", "completion": f"It is {colour}."}
        for number, colour in enumerate(COLOURS)
        for thing in THINGS
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def trainable(tiny_checkpoint: Path) -> TrainableModel:
    return read_trainable("tiny", tiny_checkpoint)


def config(**changes: object) -> TuneChatConfig:
    quick = {"block_size": 64, "epochs": 6, "save_steps": 5, "learning_rate": 0.02}
    return read_config("small").model_copy(update={**quick, **changes})


def quiet(_: str) -> None:
    pass


def run_command(
    dialogues: Path, base: Path, folder: Path, config: TuneChatConfig, *options: str
) -> Result:
    """Run `tune chat` with the configuration, written to a TOML file."""
    values = {key: value for key, value in config.model_dump().items() if value is not None}
    file = folder / "tune.toml"
    file.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()))
    arguments = ["tune", "chat", str(dialogues), "--model", str(base), "--config", str(file)]
    return CliRunner().invoke(app, [*arguments, *options])


def test_training_lowers_the_perplexity_of_held_out_dialogues(
    trainable: TrainableModel, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    report = tune_chat(trainable, data, tmp_path / "run", config(), quiet)
    assert report.is_improved
    assert report.perplexity_after < report.perplexity_before / 2
    result = tmp_path / "run" / "result"
    weights = load_file(result / WEIGHTS_FILE)
    (rows,) = [name for name in weights if "trainable_tokens_delta" in name]
    assert weights[rows].shape[0] == 4
    assert not any("wte.weight" in name or "lm_head" in name for name in weights)
    assert (result / "tokenizer.json").exists()
    template = json.loads((result / "dialogue_template.json").read_text())
    assert template["tokens"] == ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]


def test_an_interrupted_run_continues_from_the_last_checkpoint(
    trainable: TrainableModel, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    whole = tune_chat(trainable, data, tmp_path / "whole", config(epochs=2), quiet)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        tune_chat(
            trainable,
            data,
            run,
            config(epochs=2),
            stop_after_training,
        )
    assert list(run.glob("checkpoint-*"))
    resumed = tune_chat(trainable, data, run, config(epochs=2), quiet)
    assert resumed.perplexity_after == pytest.approx(whole.perplexity_after, rel=1e-5)


def stop_after_training(text: str) -> None:
    if text.startswith("after"):
        raise KeyboardInterrupt


def test_the_folder_of_another_run_is_refused(
    trainable: TrainableModel, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text('{"base": "other"}')
    with pytest.raises(ConfigurationError, match="another model"):
        tune_chat(trainable, data, tmp_path / "run", config(), quiet)


def test_full_tuning_writes_a_checkpoint_that_the_engine_loads(
    trainable: TrainableModel, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    full = config(method="full", epochs=1, learning_rate=1e-3)
    tune_chat(trainable, data, tmp_path / "run", full, quiet)

    async def loaded() -> int | None:
        engine = LocalEngine(EngineSettings(model=str(tmp_path / "run" / "result"), device="cpu"))
        tokenizer = await engine.tokenizer()
        answered = await Asker(engine).ask([Message("user", "Hi")])
        await engine.aclose()
        assert isinstance(answered.text, str)
        return tokenizer.special_id("<|end|>")

    assert asyncio.run(loaded()) is not None


def test_one_process_serves_completions_and_the_chat_adapter(
    tiny_checkpoint: Path, dialogues: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completions of one engine are equal before, during and after a chat with the adapter."""
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    monkeypatch.chdir(tmp_path)
    result = run_command(dialogues, tiny_checkpoint, tmp_path, config(), "--name", "talk")
    assert result.exit_code == 0, result.output
    assert 'Set "starcoder.chatAdapter": "talk"' in result.output
    adapter = read_adapter(tmp_path / "adapters" / "talk")
    assert adapter is not None
    card = (adapter.path / "README.md").read_text()
    assert "perplexity of the assistant's words" in card
    for text in (card, " ".join(result.output.split())):
        assert "vLLM refuses this adapter" in text
        assert "starcoder-lsp tune merge talk FOLDER" in text
    assert "talk" in CliRunner().invoke(app, ["tune", "list"]).output

    async def mixed() -> None:
        engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
        request = GenerationRequest(tuple(range(30, 60)), 24)

        async def complete() -> list[int]:
            return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]

        before = await complete()
        asker = Asker(engine, ChatSettings(adapter="talk", max_new_tokens=60))
        prepared = await asker.prepare([Message("user", "What colour is the box 3?")])
        during = []
        async for _ in asker.stream(prepared):
            during.append(await complete())
        assert during
        assert all(completion == before for completion in during)
        assert await complete() == before
        answered = await asker.ask([Message("user", "What colour is the box 3?")])
        assert answered.text.startswith("It")  # as in every answer of the training data
        assert answered.is_complete
        await engine.aclose()

    asyncio.run(mixed())


def test_an_adapter_without_improvement_is_not_served(
    tiny_checkpoint: Path, dialogues: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    monkeypatch.chdir(tmp_path)
    bad = config(learning_rate=5.0, epochs=1)
    result = run_command(dialogues, tiny_checkpoint, tmp_path, bad)
    assert result.exit_code == 1, result.output
    assert "not served" in result.output
    assert not (tmp_path / "adapters").exists()
