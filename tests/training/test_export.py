"""transformers loads the exported model, and the steps of the command line fit together."""

import json
import random
import shutil
from pathlib import Path

import pytest
import tokenizers
import torch
from accelerate import PartialState
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from tests.training.conftest import CODE
from training.__main__ import app
from training.checkpoint import load_checkpoint
from training.corpus import load_held_out
from training.demo_run import DemoRunOptions, demo_run
from training.export import export
from training.fim import FimIds
from training.holes import code_lines, cut_line
from training.measure import complete_holes, measure_loss, prompt_ids
from training.tokenizer import SPECIAL_TOKENS


@pytest.fixture(scope="module")
def run_folder(
    corpus: Path, tokenizer: tokenizers.Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the files that `pretrain` writes, and a model trained for two steps."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(corpus, folder, dirs_exist_ok=True)
    options = DemoRunOptions(
        folder, folder, width=64, layers=2, length=256, steps=2, rows_per_step=2, workers=0
    )
    with demo_run(options, PartialState(cpu=True)) as run:
        run.advance()
        run.advance()
        run.save(folder / "checkpoint.pt")
    return folder


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run_folder, tmp_path_factory.mktemp("embedded"))


def test_the_exported_folder_has_the_files_of_a_starcoder_repository(exported: Path) -> None:
    names = {file.name for file in exported.iterdir()}
    assert names >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "README.md",
    }
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in exported.iterdir())
    config = json.loads((exported / "config.json").read_text())
    assert config["architectures"] == ["GPTBigCodeForCausalLM"]
    assert config["dtype"] == "bfloat16"
    assert config["multi_query"] is True
    assert config["eos_token_id"] == config["bos_token_id"] == 0


def test_transformers_loads_the_model_with_tied_embeddings(
    run_folder: Path, exported: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(exported)
    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()
    trained = load_checkpoint(run_folder / "checkpoint.pt").model
    for name, tensor in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.to(torch.bfloat16)), name


def test_transformers_reads_the_same_tokenizer(
    exported: Path, tokenizer: tokenizers.Tokenizer
) -> None:
    loaded = AutoTokenizer.from_pretrained(exported)
    assert loaded.eos_token_id == 0
    assert loaded.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(19))
    assert loaded(CODE).input_ids == tokenizer.encode(CODE).ids
    assert len(loaded("2026").input_ids) == 4
    assert loaded.decode(loaded(CODE).input_ids) == CODE


def test_the_model_card_is_complete_without_measurements(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    assert "demo model" in card
    assert "license: apache-2.0" in card
    assert "Not measured yet" in card


def test_measurements_of_another_checkpoint_are_not_exported(
    run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    (folder / "evaluation.json").write_text(json.dumps({"step": 1, "loss": {}}))
    target = export(folder, tmp_path / "embedded")
    assert not (target / "evaluation.json").exists()
    assert "Not measured yet" in (target / "README.md").read_text()


def test_weights_too_large_to_ship_are_refused(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export.MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes"):
        export(run_folder, tmp_path / "embedded")
    assert not (tmp_path / "embedded").exists()


def test_completions_in_a_batch_equal_completions_alone(
    run_folder: Path, tokenizer: tokenizers.Tokenizer
) -> None:
    model = load_checkpoint(run_folder / "checkpoint.pt").model
    for parameter in model.parameters():  # so that greedy has no ties
        parameter.data.mul_(2).add_(torch.randn_like(parameter) * 0.1)
    holes = [cut_line(CODE[: 40 * n + 200], 6, 0.4) for n in range(5)]
    assert complete_holes(model, tokenizer, holes) == [
        complete_holes(model, tokenizer, [hole])[0] for hole in holes
    ]


def test_a_completion_equals_that_of_generate(
    run_folder: Path, tokenizer: tokenizers.Tokenizer
) -> None:
    model = load_checkpoint(run_folder / "checkpoint.pt").model
    hole = cut_line(CODE, code_lines(CODE)[8], 0.5)
    prompt = prompt_ids(tokenizer, FimIds.from_tokenizer(tokenizer), hole)[-(256 - 48) :]
    out = model.generate(torch.tensor([prompt]), max_new_tokens=48, do_sample=False, pad_token_id=0)
    expected = tokenizer.decode(out[0, len(prompt) :].tolist())
    completion = complete_holes(model, tokenizer, [hole])[0]
    assert expected.startswith(completion)
    assert completion or expected == ""


def test_a_model_of_zeros_has_the_loss_of_a_uniform_guess(
    run_folder: Path, tokenizer: tokenizers.Tokenizer
) -> None:
    model = load_checkpoint(run_folder / "checkpoint.pt").model
    for parameter in model.parameters():
        parameter.data.zero_()
    documents = list(load_held_out(run_folder))
    loss = measure_loss(model, tokenizer, documents, 5, random.Random(0))
    guess = torch.log(torch.tensor(float(tokenizer.get_vocab_size())))
    assert loss["nats_per_token"] == pytest.approx(float(guess), abs=1e-3)


def test_the_commands_run_in_their_order(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "run", tmp_path / "embedded"
    shutil.copytree(corpus, folder)
    folder_option = ["--folder", str(folder)]
    human_eval = tmp_path / "absent.jsonl.gz"
    shape = ["--width", "64", "--layers", "2", "--length", "128"]
    monkeypatch.setattr("os.nice", lambda increment: increment)
    for arguments in (
        ["tokenizer", *folder_option, "--vocab-size", "400"],
        ["pretrain", *folder_option, "--steps", "2", "--threads", "1", *shape],
        [
            "evaluate",
            *folder_option,
            "--count",
            "8",
            "--threads",
            "1",
            "--human-eval",
            str(human_eval),
        ],
        ["export", *folder_option, "--target", str(target)],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    numbers = json.loads((target / "evaluation.json").read_text())
    assert numbers["step"] == 2
    assert numbers["rest_of_line line"]["count"] == 8
    assert numbers["fim_form"] in {"line", "suffix-first"}
    assert not any(name.startswith("human_eval") for name in numbers)
    config = json.loads((target / "config.json").read_text())
    assert config["fim_form"] == numbers["fim_form"]
    assert (folder / "loss.png").stat().st_size > 1000
    assert "nats per\ntoken" in (target / "README.md").read_text()
