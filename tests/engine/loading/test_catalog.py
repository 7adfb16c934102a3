"""The checkpoint that `auto` selects."""

from pathlib import Path

import pytest

from engine.architecture import require_architecture
from engine.loading.catalog import Checkpoint, check_eligibility, read_checkpoint, select_checkpoint
from engine.machine import Memory
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
    checkpoint = read_checkpoint(make_checkpoint(tmp_path), "tiny")
    assert checkpoint is not None
    assert checkpoint.context_window == 512
    assert 0 < 4 * checkpoint.parameters <= checkpoint.bytes_on_disk


def test_an_incomplete_directory_is_no_checkpoint(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    edit_json(folder / "config.json", model_type="gpt2")
    assert read_checkpoint(folder, "other family") is None
    edit_json(folder / "config.json", model_type="gpt_bigcode")
    assert read_checkpoint(folder, "complete") is not None
    next(folder.glob("model-*.safetensors")).unlink()
    assert read_checkpoint(folder, "a shard is missing") is None
    assert read_checkpoint(tmp_path, "nothing") is None
