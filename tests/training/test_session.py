"""What a rented machine returns is enough to continue at home."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.checkpoint import join_parts, load_checkpoint, split_file
from training.session import receive

OPTIONS = "--width 64 --layers 2 --length 128 --rows-per-step 2 --workers 1 --cpu"


def command(corpus: Path, tmp_path: Path, minutes: float, *more: str) -> list[str]:
    folders = ["--pack", corpus, "--folder", tmp_path / "run", "--out", tmp_path / "out"]
    options = [*OPTIONS.split(), "--minutes", str(minutes), *more]
    return [sys.executable, "-m", "training", "gpu-run", *map(str, folders), *options]


def test_a_session_returns_weights_and_reports(corpus: Path, tmp_path: Path) -> None:
    arguments = command(corpus, tmp_path, 0.4, "--evaluate", "8")
    process = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    home = tmp_path / "home"
    receive(tmp_path / "out", home)
    trained = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    received = load_checkpoint(home / "checkpoint.pt")
    assert received.step == trained.step > 0
    assert received.progress == 1.0
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(received.model.state_dict()[name], tensor.bfloat16().float()), name
    assert {file.name for file in home.iterdir()} == {
        "checkpoint.pt",
        "evaluation.json",
        "loss.jsonl",
        "loss.png",
    }


def test_a_session_that_was_ended_returns_its_last_checkpoint(corpus: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(corpus, tmp_path, 60, "--evaluate", "0"))
    log = tmp_path / "run" / "loss.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    receive(tmp_path / "out", tmp_path / "home")
    assert 0 < load_checkpoint(tmp_path / "home" / "checkpoint.pt").progress < 1


def test_parts_are_small_and_a_wrong_one_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(1000))
    parts = split_file(file, tmp_path, part_bytes=90)
    assert len(parts) == 12
    assert max(part.stat().st_size for part in parts) == 90
    join_parts(tmp_path, "weights", tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == file.read_bytes()
    parts[3].write_bytes(b"other")
    with pytest.raises(ValueError, match="do not give the file"):
        join_parts(tmp_path, "weights", tmp_path / "joined")
