"""Tuning on a repository: which files are read and held out, and when the result is served."""

import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engine.architecture import Architecture
from engine.loading.adapter_store import adapters, fingerprint
from engine.loading.trainable import read_trainable
from engine.model_config import require_architecture
from fim.training.loop import add_adapter
from fim.training.measure import Measurement
from fim.training.options import TuneOptions, estimate_memory_bytes, learning_rate
from fim.training.tune import tune
from lsp_server.cli.app import app
from tests.architecture_checkpoints import CONFIGS, make_architecture
from tests.checkpoint_maker import edit_json
from tests.fim.training.repositories import make_repository, source
from training.base_model import load_base_model
from training.collect import CorpusDocument
from training.holes import sample_line_holes
from training.repository import read_repository, split_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "project")


def test_files_that_git_ignores_are_not_read(repository: Path) -> None:
    (repository / "secret.py").write_text("key = 1\n")
    (repository / ".gitignore").write_text("secret.py\n")
    assert "secret.py" in [d.path for d in read_repository(repository)]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    paths = [d.path for d in read_repository(repository)]
    assert "secret.py" not in paths
    assert "README.md" not in paths
    assert len(paths) == 12


def test_line_endings_are_those_of_completion(repository: Path) -> None:
    (repository / "windows.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    texts = [document.text for document in read_repository(repository)]
    assert "x = 1\ny = 2\n" in texts
    assert not any("\r" in text for text in texts)


def test_a_folder_that_the_repository_around_it_ignores_is_read(repository: Path) -> None:
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (repository / ".gitignore").write_text("vendor/\n")
    (repository / "vendor").mkdir()
    (repository / "vendor" / "a.py").write_text("x = 1\n")
    assert [d.path for d in read_repository(repository / "vendor")] == ["a.py"]


def test_unsuitable_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    (tmp_path / "long.py").write_text("x = '" + "a" * 2000 + "'\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "feed.py").write_text("x = 1\n\x0c\ny = 2\n")
    assert [d.path for d in read_repository(tmp_path)] == ["feed.py"]
    with pytest.raises(ValueError, match="not a folder"):
        read_repository(tmp_path / "none")


def test_copies_of_held_out_files_are_not_used_for_training() -> None:
    documents = [CorpusDocument("p", f"{n}.py", source(n)) for n in range(20)]
    documents += [CorpusDocument("p", f"copy_{n}.py", source(n)) for n in range(20)]
    files = split_repository(documents, 0)
    held_out = {d.text for d in files.held_out}
    assert held_out
    assert not held_out & {d.text for d in files.training}
    assert split_repository(documents, 0) == files
    assert split_repository(documents, 1) != files


@pytest.mark.parametrize(
    "documents", [[], [CorpusDocument("p", f"{n}.py", "x = 1\n") for n in range(9)]]
)
def test_a_repository_that_is_too_small_is_refused(documents: list[CorpusDocument]) -> None:
    with pytest.raises(ValueError):
        split_repository(documents, 0)


def test_measured_lines_are_code_in_any_language() -> None:
    go = CorpusDocument("p", "a.go", "package a\n\n// A comment\nfunc f() int {\n\treturn 1\n}\n")
    holes = sample_line_holes([go], 99, random.Random(0))
    assert len(holes) == 4
    assert all(hole.prefix + hole.middle + hole.suffix == go.text for hole in holes)


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        (Measurement(0.2, 2.0), Measurement(0.2, 1.9), True),
        (Measurement(0.2, 2.0), Measurement(0.3, 1.9), True),
        (Measurement(0.2, 2.0), Measurement(0.1, 1.5), False),
        (Measurement(0.2, 2.0), Measurement(0.3, 2.1), False),
        (Measurement(0.2, 2.0), Measurement(0.2, 2.0), False),
    ],
)
def test_a_better_result_has_a_lower_loss_and_no_fewer_exact_lines(
    before: Measurement, after: Measurement, better: bool
) -> None:
    assert after.is_better_than(before) is better


def architecture(name: str, **sizes: int) -> Architecture:
    config = CONFIGS[name]().to_dict()
    return require_architecture(config | sizes)


STARCODER = architecture(
    "gpt-bigcode", n_embd=6144, n_inner=24576, n_layer=40, n_head=48, n_positions=8192
)


def test_the_memory_estimate_grows_with_the_trained_weights() -> None:
    adapter = estimate_memory_bytes(STARCODER, TuneOptions())
    assert estimate_memory_bytes(STARCODER, TuneOptions(full=True)) > 200e9
    assert 31e9 < estimate_memory_bytes(STARCODER, TuneOptions(rows_per_step=1)) < adapter


def test_activations_are_those_of_the_paper_for_an_mlp_of_four_times_the_width() -> None:
    every_head = replace(STARCODER, kv_heads=STARCODER.heads, vocab_size=0)
    estimates = [estimate_memory_bytes(every_head, TuneOptions(rows_per_step=n)) for n in (1, 2)]
    assert estimates[1] - estimates[0] == 1024 * 40 * 34 * 6144


@pytest.mark.parametrize("name", CONFIGS)
def test_the_estimate_counts_the_parameters_of_the_adapter(name: str, tmp_path: Path) -> None:
    base = read_trainable(name, make_architecture(tmp_path / "base", name))
    model = add_adapter(load_base_model(base.path), base.architecture, TuneOptions(rank=5))
    assert model.get_nb_trainable_parameters()[0] == base.architecture.num_adapter_parameters(5)


def test_the_learning_rate_depends_on_the_size_of_the_model() -> None:
    tiny = architecture("llama", vocab_size=400)
    assert learning_rate(tiny, TuneOptions()) == 2e-3
    assert learning_rate(STARCODER, TuneOptions()) == 3e-4
    assert learning_rate(STARCODER, TuneOptions(full=True)) == pytest.approx(3e-5)
    assert learning_rate(tiny, TuneOptions(learning_rate=0.5, full=True)) == 0.5


def tune_code(repository: Path, model: Path, *options: str) -> Result:
    arguments = ["tune", "code", str(repository), "--model", str(model)]
    return CliRunner().invoke(app, [*arguments, *options])


def test_the_command_serves_an_improved_adapter(
    repository: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    result = tune_code(repository, tiny_checkpoint, "--steps", "25", "--learning-rate", "0.01")
    assert result.exit_code == 0, result.output
    (adapter,) = adapters()
    assert adapter.name == "project"
    assert adapter.note.fingerprint == fingerprint(tiny_checkpoint)
    report = adapter.note.report
    assert report["after"]["nats_per_token"] < report["before"]["nats_per_token"]
    assert '"starcoder.adapter": "project"' in result.output
    card = (adapter.path / "README.md").read_text()
    for text in (card, " ".join(result.output.split())):
        assert "vLLM would silently ignore a part of this adapter" in text
        assert "starcoder-lsp tune merge project FOLDER" in text
    assert "| lines of held-out files completed exactly |" in card
    listed = CliRunner().invoke(app, ["tune", "list"])
    assert "project" in listed.output
    assert CliRunner().invoke(app, ["tune", "remove", "project"]).exit_code == 0
    assert list(adapters()) == []
    assert CliRunner().invoke(app, ["tune", "remove", "project"]).exit_code == 1


def test_the_command_does_not_serve_an_adapter_without_improvement(
    repository: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_ADAPTERS", str(tmp_path / "adapters"))
    # At this learning rate the model practically does not change.
    result = tune_code(repository, tiny_checkpoint, "--steps", "1", "--learning-rate", "1e-7")
    assert result.exit_code == 1, result.output
    assert "not served" in result.output
    assert list(adapters()) == []


def test_bad_input_gives_a_clear_message(tmp_path: Path, tiny_checkpoint: Path) -> None:
    other = make_architecture(tmp_path / "other", "llama")
    edit_json(other / "config.json", model_type="gpt2")
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    cases: tuple[tuple[tuple[Path, Path, *tuple[str, ...]], str], ...] = (
        ((tmp_path / "none", tiny_checkpoint), "not a folder"),
        ((tmp_path, tiny_checkpoint, "--name", "../up"), "cannot name"),
        ((tmp_path, tmp_path / "nothing"), "no directory"),
        ((tmp_path, other), "architecture gpt2"),
        ((tmp_path, gguf), "original model"),
        ((tmp_path, tiny_checkpoint, "--rows-per-step", "100000000"), "is free"),
    )
    for arguments, words in cases:
        result = tune_code(*arguments)
        assert result.exit_code == 1, result.output
        assert words in " ".join(result.output.split())


def test_full_tuning_writes_a_checkpoint(
    repository: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned"
    report = tune(
        read_trainable("tiny", tiny_checkpoint),
        repository,
        out,
        TuneOptions(steps=20, full=True, lines=20, learning_rate=3e-3),
    )
    assert report.after.nats_per_token < report.before.nats_per_token
    assert json.loads((out / "config.json").read_text())["model_type"] == "gpt_bigcode"
    assert (out / "tokenizer.json").exists()
    assert fingerprint(out) != fingerprint(tiny_checkpoint)
