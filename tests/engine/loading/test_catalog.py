"""Which checkpoint `auto` takes."""

from pathlib import Path

import pytest

from engine.loading.catalog import Checkpoint, check_eligibility, read_checkpoint, select_checkpoint
from engine.loading.model_size import Memory
from tests.checkpoint_maker import edit_json, make_checkpoint

GB = 1_000_000_000


def checkpoint(
    name: str, width: int, layers: int, heads: int, *, is_demo: bool = False
) -> Checkpoint:
    config = {
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": 8192,
        "vocab_size": 49152,
        "multi_query": True,
    }
    return Checkpoint(name, Path(name), config, 0, is_demo)


LARGE = checkpoint("starcoderbase", 6144, 40, 48)  # 15.5 billion
MIDDLE = checkpoint("starcoderbase-1b", 2048, 24, 16)  # 1.1 billion
SMALL = checkpoint("tiny_starcoder_py", 768, 20, 12)  # 160 million
DEMO = checkpoint("demo", 256, 4, 4, is_demo=True)
ALL = (LARGE, MIDDLE, SMALL, DEMO)


def test_the_planted_models_have_the_sizes_they_are_known_by() -> None:
    sizes = [round(c.parameters / 1e9, 1) for c in (LARGE, MIDDLE, SMALL)]
    assert sizes == [15.5, 1.1, 0.2]


@pytest.mark.parametrize(
    ("there", "memory", "chosen"),
    [
        pytest.param(ALL, Memory(64 * GB, (80 * GB,)), LARGE, id="large GPU"),
        pytest.param(ALL, Memory(64 * GB, (2 * GB, 80 * GB)), LARGE, id="the larger of two GPUs"),
        pytest.param(ALL, Memory(64 * GB, (20 * GB, 20 * GB)), MIDDLE, id="GPUs are not added up"),
        pytest.param(ALL, Memory(64 * GB, (8 * GB,)), MIDDLE, id="smaller GPU"),
        pytest.param(ALL, Memory(64 * GB, (GB,)), SMALL, id="small GPU"),
        pytest.param(ALL, Memory(64 * GB, (GB // 10,)), DEMO, id="GPU too small for any"),
        pytest.param(ALL, Memory(640 * GB), SMALL, id="no GPU, whatever the memory"),
        pytest.param(ALL, Memory(GB // 10), DEMO, id="no GPU, no memory"),
        pytest.param((LARGE, DEMO), Memory(64 * GB), DEMO, id="the demo rather than nothing"),
        pytest.param((DEMO, SMALL), Memory(64 * GB), SMALL, id="the demo comes last"),
        pytest.param((DEMO,), Memory(0), DEMO, id="the demo alone"),
    ],
)
def test_the_largest_that_fits_is_taken(
    there: tuple[Checkpoint, ...], memory: Memory, chosen: Checkpoint
) -> None:
    selection = select_checkpoint(there, memory)
    assert selection is not None
    assert selection.checkpoint is chosen
    assert [eligibility.checkpoint for eligibility in selection.considered] == list(there)
    assert all(eligibility.reason for eligibility in selection.considered)


@pytest.mark.parametrize("there", [(), (LARGE,)])
def test_nothing_is_taken_where_nothing_fits(there: tuple[Checkpoint, ...]) -> None:
    assert select_checkpoint(there, Memory(64 * GB)) is None


def test_the_demo_comes_last_even_when_it_is_larger() -> None:
    large_demo = checkpoint("demo", 768, 24, 12, is_demo=True)
    selection = select_checkpoint((large_demo, SMALL), Memory(64 * GB))
    assert selection is not None
    assert selection.checkpoint is SMALL


def test_a_model_that_fits_exactly_is_taken() -> None:
    needed = MIDDLE.bytes_needed(2)
    assert check_eligibility(MIDDLE, Memory(0, (needed,))).is_eligible
    assert not check_eligibility(MIDDLE, Memory(0, (needed - 1,))).is_eligible


def test_a_checkpoint_is_read_from_a_directory(tmp_path: Path) -> None:
    found = read_checkpoint(make_checkpoint(tmp_path), "tiny")
    assert found is not None
    assert found.context_window == 512
    assert 0 < 4 * found.parameters <= found.bytes_on_disk


def test_what_is_not_whole_is_no_checkpoint(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    edit_json(folder / "config.json", model_type="gpt2")
    assert read_checkpoint(folder, "other family") is None
    edit_json(folder / "config.json", model_type="gpt_bigcode")
    assert read_checkpoint(folder, "whole") is not None
    next(folder.glob("model-*.safetensors")).unlink()
    assert read_checkpoint(folder, "a shard is missing") is None
    assert read_checkpoint(tmp_path, "nothing") is None
