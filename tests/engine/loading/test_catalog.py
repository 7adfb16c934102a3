"""The checkpoint that `auto` selects."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ModelNotFoundError
from engine.loading.catalog import (
    Checkpoint,
    Unusable,
    check_eligibility,
    has_fim_tokens,
    inspect_model,
    models_in,
    select_checkpoint,
)
from engine.machine import Memory
from engine.model_config import require_architecture
from tests.architecture_checkpoints import CONFIGS, WINDOW, make_architecture
from tests.checkpoint_maker import edit_json, make_checkpoint

GB = 1_000_000_000


def make_entry(
    name: str, width: int, layers: int, heads: int, *, is_demo: bool = False
) -> Checkpoint:
    config = {
        "model_type": "gpt_bigcode",
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": 8192,
        "vocab_size": 49152,
        "multi_query": True,
    }
    return Checkpoint(name, Path(name), require_architecture(config), 0, True, is_demo)


LARGE = make_entry("starcoderbase", 6144, 40, 48)  # 15.5 billion
MIDDLE = make_entry("starcoderbase-1b", 2048, 24, 16)  # 1.1 billion
SMALL = make_entry("tiny_starcoder_py", 768, 20, 12)  # 160 million
DEMO = make_entry("demo", 256, 4, 4, is_demo=True)
ALL = (LARGE, MIDDLE, SMALL, DEMO)


def test_the_sample_models_have_their_published_sizes() -> None:
    sizes = [round(c.parameters / 1e9, 1) for c in (LARGE, MIDDLE, SMALL)]
    assert sizes == [15.5, 1.1, 0.2]


@pytest.mark.parametrize(
    ("checkpoints", "memory", "expected"),
    [
        pytest.param(ALL, Memory(64 * GB, (80 * GB,)), LARGE, id="large GPU"),
        pytest.param(ALL, Memory(64 * GB, (2 * GB, 80 * GB)), LARGE, id="the larger of two GPUs"),
        pytest.param(ALL, Memory(64 * GB, (20 * GB, 20 * GB)), MIDDLE, id="GPUs are not added up"),
        pytest.param(ALL, Memory(64 * GB, (8 * GB,)), MIDDLE, id="smaller GPU"),
        pytest.param(ALL, Memory(64 * GB, (GB,)), SMALL, id="small GPU"),
        pytest.param(ALL, Memory(64 * GB, (GB // 10,)), DEMO, id="GPU too small for any"),
        pytest.param(ALL, Memory(640 * GB), SMALL, id="no GPU, whatever the memory"),
        pytest.param(ALL, Memory(GB // 10), DEMO, id="no GPU, no memory"),
        pytest.param((LARGE, DEMO), Memory(64 * GB), DEMO, id="the demo instead of no model"),
        pytest.param((DEMO, SMALL), Memory(64 * GB), SMALL, id="the demo comes last"),
        pytest.param((DEMO,), Memory(0), DEMO, id="the demo alone"),
    ],
)
def test_the_largest_eligible_checkpoint_is_selected(
    checkpoints: tuple[Checkpoint, ...], memory: Memory, expected: Checkpoint
) -> None:
    selection = select_checkpoint(checkpoints, memory)
    assert selection is not None
    assert selection.checkpoint is expected
    assert [each.checkpoint for each in selection.considered] == list(checkpoints)
    assert all(each.reason for each in selection.considered)


@pytest.mark.parametrize("checkpoints", [(), (LARGE,)])
def test_without_an_eligible_checkpoint_none_is_selected(
    checkpoints: tuple[Checkpoint, ...],
) -> None:
    assert select_checkpoint(checkpoints, Memory(64 * GB)) is None


def test_the_demo_comes_last_even_when_it_is_larger() -> None:
    large_demo = make_entry("demo", 768, 24, 12, is_demo=True)
    selection = select_checkpoint((large_demo, SMALL), Memory(64 * GB))
    assert selection is not None
    assert selection.checkpoint is SMALL


def test_a_model_that_fits_exactly_is_eligible() -> None:
    needed = MIDDLE.bytes_needed(2)
    assert check_eligibility(MIDDLE, Memory(0, (needed,))).is_eligible
    assert not check_eligibility(MIDDLE, Memory(0, (needed - 1,))).is_eligible


def test_a_checkpoint_is_read_from_a_directory(tmp_path: Path) -> None:
    checkpoint = inspect_model(make_checkpoint(tmp_path), "tiny")
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.context_window == 512
    assert 0 < 4 * checkpoint.parameters <= checkpoint.bytes_on_disk


def test_an_unusable_directory_says_why(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")

    def reason() -> str:
        model = inspect_model(folder, "model")
        assert isinstance(model, Unusable)
        return model.reason

    config = (folder / "config.json").read_text(encoding="utf-8")
    edit_json(folder / "config.json", model_type="gpt2")
    assert "gpt2 is not a fast architecture" in reason()
    for damage in ("{", "[]", config.replace('"n_layer": 2', '"n_layer": "two"')):
        (folder / "config.json").write_text(damage, encoding="utf-8")
        assert reason().startswith("it is damaged: ")
    (folder / "config.json").write_text(config, encoding="utf-8")
    assert isinstance(inspect_model(folder, "complete"), Checkpoint)
    shard = next(folder.glob("model-*.safetensors"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    assert reason().startswith("it is damaged: ")
    shard.unlink()
    assert "safetensors files are missing" in reason()
    shard.write_bytes(content)
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer.json" in reason()
    (folder / "config.json").unlink()
    assert "no config.json" in reason()


@pytest.mark.parametrize("name", CONFIGS)
def test_each_architecture_is_a_checkpoint(tmp_path: Path, name: str) -> None:
    checkpoint = inspect_model(make_architecture(tmp_path, name), name)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.context_window == WINDOW
    assert checkpoint.has_fim
    size = 4 * checkpoint.parameters
    assert size <= checkpoint.bytes_on_disk < size + 50_000


def test_a_model_without_fim_tokens_is_not_chosen() -> None:
    chat_model = replace(LARGE, has_fim=False, name="chat")
    memory = Memory(64 * GB, (80 * GB,))
    selection = select_checkpoint((chat_model, SMALL), memory)
    assert selection is not None
    assert selection.checkpoint is SMALL
    assert "left to right" in check_eligibility(chat_model, memory).reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"content": "<fim_prefix>"}', True),
        ('{"content": "<fim-prefix>"}', True),
        ('{"content": "<|fim_prefix|>"}', True),
        ('{"content": "<｜fim▁begin｜>"}', True),
        ('{"content": "▁<PRE>"}', True),
        ('{"content": "[PREFIX]"}', True),
        ('{"content": "<[fim-prefix]>"}', True),
        ('{"content": "<|im_start|>"}', False),
        ('{"vocab": {"prefix": 1, "Ġfim": 2, "<PREFIX>": 3}}', False),
    ],
)
def test_fim_tokens_are_recognized(text: str, expected: bool) -> None:
    assert has_fim_tokens(text) is expected


def test_the_models_of_a_folder_are_listed(tmp_path: Path) -> None:
    make_architecture(tmp_path / "llama", "llama")
    make_checkpoint(tmp_path / "star")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no model", encoding="utf-8")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    kinds = {model.name: type(model) for model in models_in(tmp_path)}
    assert kinds == {
        "broken.gguf": Unusable,
        "empty": Unusable,
        "llama": Checkpoint,
        "star": Checkpoint,
    }
    assert [type(model) for model in models_in(tmp_path / "star")] == [Checkpoint]
    with pytest.raises(ModelNotFoundError):
        list(models_in(tmp_path / "none"))
