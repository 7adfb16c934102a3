"""Tuning on dialogues: it learns, it resumes, and is served beside plain completions."""

import asyncio
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from chat.asker import Asker, ChatSettings
from chat.training.config import TuneChatConfig, read_config
from chat.training.data import read_dialogues, split_dialogues
from chat.training.train import tune_chat
from engine.api import GenerationRequest, Message
from engine.errors import ConfigurationError
from engine.loading.adapter_store import WEIGHTS_FILE, read_adapter
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


def config(**changes: object) -> TuneChatConfig:
    quick = {"block_size": 64, "epochs": 6, "save_steps": 5, "learning_rate": 0.02}
    return read_config("small").model_copy(update={**quick, **changes})


def quiet(_: str) -> None:
    pass


def test_held_out_dialogues_get_likelier(
    tiny_checkpoint: Path, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    report = tune_chat(tiny_checkpoint, data, tmp_path / "run", config(), quiet)
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


def test_it_goes_on_from_the_last_checkpoint(
    tiny_checkpoint: Path, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    whole = tune_chat(tiny_checkpoint, data, tmp_path / "whole", config(epochs=2), quiet)
    said: list[str] = []
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        tune_chat(tiny_checkpoint, data, run, config(epochs=2), stop_after_training)
    assert list(run.glob("checkpoint-*"))
    again = tune_chat(tiny_checkpoint, data, run, config(epochs=2), said.append)
    assert again.perplexity_after == pytest.approx(whole.perplexity_after, rel=1e-5)


def stop_after_training(text: str) -> None:
    if text.startswith("after"):
        raise KeyboardInterrupt


def test_a_folder_of_another_run_is_refused(
    tiny_checkpoint: Path, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text('{"base": "other"}')
    with pytest.raises(ConfigurationError, match="another model"):
        tune_chat(tiny_checkpoint, data, tmp_path / "run", config(), quiet)


def test_all_weights_make_a_checkpoint_that_the_engine_loads(
    tiny_checkpoint: Path, dialogues: Path, tmp_path: Path
) -> None:
    data = split_dialogues(read_dialogues(dialogues), 0)
    full = config(method="full", epochs=1, learning_rate=1e-3)
    tune_chat(tiny_checkpoint, data, tmp_path / "run", full, quiet)

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
    """By the command, then in one engine: completions are equal before, during and after a chat."""
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    monkeypatch.chdir(tmp_path)
    quick = tmp_path / "quick.toml"
    lines = [
        f"{key} = {json.dumps(value)}"
        for key, value in config().model_dump().items()
        if value is not None
    ]
    quick.write_text("\n".join(lines), encoding="utf-8")
    arguments = [
        "tune",
        "chat",
        str(dialogues),
        "--model",
        str(tiny_checkpoint),
        "--name",
        "talk",
        "--config",
        str(quick),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert 'Set "starcoder.chatAdapter": "talk"' in done.output
    found = read_adapter(tmp_path / "adapters" / "talk")
    assert found is not None
    assert "perplexity of the assistant's words" in (found.path / "README.md").read_text()
    assert "talk" in CliRunner().invoke(app, ["tune", "list"]).output

    async def mixed() -> None:
        engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
        request = GenerationRequest(tuple(range(30, 60)), 24)

        async def complete() -> list[int]:
            return [id_ async for chunk in engine.stream(request) for id_ in chunk.ids]

        before = await complete()
        asker = Asker(engine, ChatSettings(adapter="talk", max_new_tokens=60))
        asked = await asker.prepare([Message("user", "What colour is the box 3?")])
        during = []
        async for _ in asker.stream(asked):
            during.append(await complete())
        assert during
        assert all(one == before for one in during)
        assert await complete() == before
        answered = await asker.ask([Message("user", "What colour is the box 3?")])
        assert answered.text.startswith("It")  # as every answer that it learned from
        assert answered.is_complete
        await engine.aclose()

    asyncio.run(mixed())


def test_what_did_not_help_is_not_served(
    tiny_checkpoint: Path, dialogues: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.toml"
    values = config(learning_rate=5.0, epochs=1).model_dump()
    bad.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items() if v is not None))
    arguments = [
        "tune",
        "chat",
        str(dialogues),
        "--model",
        str(tiny_checkpoint),
        "--config",
        str(bad),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert "not served" in done.output
    assert not (tmp_path / "adapters").exists()
