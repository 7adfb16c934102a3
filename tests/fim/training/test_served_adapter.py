"""A tuned adapter of every architecture: the engine completes as the training measured."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from peft import PeftModel

from engine.loading.adapter_store import AdapterNote, fingerprint, install
from engine.loading.trainable import TrainableModel, read_trainable
from engine.local import LocalEngine
from engine.settings import EngineSettings
from fim.request.model import FimModel
from fim.settings import FimSettings
from fim.snapshot import Snapshot
from fim.training.examples import ExampleEncoder
from fim.training.measure import MAX_PROMPT_TOKENS, HeldOutTest
from fim.training.options import TuneOptions, sequence_length
from fim.training.tune import tune
from tests.architecture_checkpoints import make_architecture
from tests.fim.training.repositories import make_repository
from tests.llama_checkpoint import make_llama_checkpoint
from training.base_model import load_base_model
from training.holes import LineHole, sample_line_holes
from training.measure import MAX_NEW_TOKENS
from training.repository import read_repository, split_repository

OPTIONS = TuneOptions(steps=25, learning_rate=0.005, lines=24, rows_per_step=4)
_QWEN_NAMES = {
    f"<{name}>": f"<|{name}|>" for name in ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad")
} | {"<filename>": "<|file_sep|>", "<reponame>": "<|repo_name|>"}


def with_qwen_tokens(folder: Path) -> Path:
    """Give StarCoder's special tokens the names of Qwen's."""
    file = folder / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    for name, new_name in _QWEN_NAMES.items():
        text = text.replace(f'"{name}"', f'"{new_name}"')
    file.write_text(text, encoding="utf-8")
    return folder


def make_base(name: str, folder: Path) -> Path:
    match name.split("/"):
        case ["code-llama", "legacy" as form] | ["code-llama", "metaspace" as form]:
            return make_llama_checkpoint(folder, form=form)  # type: ignore[arg-type]
        case ["code-llama", "left to right"]:
            return make_llama_checkpoint(folder, infilling=False)
        case [architecture, "qwen tokens"]:
            return with_qwen_tokens(make_architecture(folder, architecture))
        case [architecture, "wide"]:
            wide = make_architecture(folder, architecture, max_position_embeddings=4096)
            return with_qwen_tokens(wide)
    return make_architecture(folder, name)


CASES = {
    "code-llama/legacy": "Code Llama",
    "code-llama/metaspace": "Code Llama",
    "code-llama/left to right": "left to right",
    "qwen2/qwen tokens": "Qwen-Coder",
    "qwen3/wide": "Qwen-Coder",
    "mistral": "StarCoder",
    "starcoder2": "StarCoder",
    "granite": "StarCoder",
    "llama-biases": "StarCoder",
    "gpt-bigcode": "StarCoder",
    "gpt-bigcode-every-head": "StarCoder",
}
"""The family of each base model."""


async def completed_by_the_engine(
    base: TrainableModel, holes: Sequence[LineHole], adapter: str | None, test: HeldOutTest
) -> list[str]:
    """Return the completions of the product: its prompts, and its engine with an adapter."""
    settings = FimSettings(
        max_new_tokens=MAX_NEW_TOKENS, max_prompt_tokens=MAX_PROMPT_TOKENS, adapter=adapter
    )
    engine = LocalEngine(EngineSettings(str(base.path), device="cpu", dtype="float32"))
    try:
        model = FimModel(engine, settings)
        assert await model.uses_related_files() == test.encoder.has_header
        snapshots = [Snapshot("u", "python", h.prefix + h.suffix, len(h.prefix)) for h in holes]
        if test.encoder.has_header:
            snapshots = [
                replace(snapshot, project=hole.project, path=hole.path)
                for snapshot, hole in zip(snapshots, holes, strict=True)
            ]
        return [await model.fill(snapshot, stop_text=("\n",)) for snapshot in snapshots]
    finally:
        await engine.aclose()


@pytest.mark.parametrize("name", CASES)
async def test_the_engine_completes_with_the_adapter_as_peft_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    base = read_trainable(name, make_base(name, tmp_path / "base"))
    repository, out = make_repository(tmp_path / "project"), tmp_path / "out"
    report = tune(base, repository, out, OPTIONS, lambda _: None)
    assert report.after.nats_per_token < report.before.nats_per_token
    install(out, "mine", AdapterNote(name, fingerprint(base.path)))

    encoder = ExampleEncoder.for_model(base)
    assert encoder.family.name == CASES[name]
    files = split_repository(read_repository(repository), 0)
    holes = sample_line_holes(files.held_out, OPTIONS.lines, random.Random(0))
    length = sequence_length(base.architecture)
    test = HeldOutTest(encoder, holes, files.held_out, base.architecture.positions, length, 0)
    adapted = PeftModel.from_pretrained(load_base_model(base.path), out)
    assert test.measure(adapted) == report.after
    expected = [text.split("\n")[0] for text in test.complete(adapted)]
    assert await completed_by_the_engine(base, holes, "mine", test) == expected
    assert await completed_by_the_engine(base, holes, None, test) != expected
