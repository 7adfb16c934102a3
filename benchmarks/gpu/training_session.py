"""A short training session on a small pack of this project's own files: part of the rehearsal.

On the day the pack is a large one; the command is the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.results import record
from engine.loading.on_disk import EMBEDDED_DIR
from training.collect import CorpusDocument
from training.corpus import write_json_lines
from training.pack import write_pack

_ROOT = Path(__file__).resolve().parents[2]
_MINUTES = "0.5"
_MAX_FILES = 8
"""Maximum files that such a machine may return."""


def write_corpus(folder: Path) -> None:
    """Write a corpus of the engine's source files, all rows that a run reads, and a tokenizer."""
    documents = [
        CorpusDocument(
            "starcoder-lsp", file.relative_to(_ROOT).as_posix(), file.read_text(encoding="utf-8")
        )
        for file in sorted((_ROOT / "engine").rglob("*.py"))
    ]
    folder.mkdir()
    write_json_lines(folder / "train.jsonl", map(asdict, documents))
    write_json_lines(folder / "held_out.jsonl", map(asdict, documents[:8]))
    for name in ("dialogues", "notebooks", "commits"):
        write_json_lines(folder / f"{name}.jsonl", ())
    (folder / "corpus.json").write_text("{}", encoding="utf-8")
    shutil.copyfile(EMBEDDED_DIR / "tokenizer.json", folder / "tokenizer.json")


def run_session(pack: Path, folder: Path, out: Path) -> None:
    """Run a session on the CPU. Raises CalledProcessError if it fails."""
    options = ["--cpu", "--minutes", _MINUTES, "--evaluate", "0", "--rows-per-step", "4"]
    options += ["--width", "64", "--layers", "1", "--workers", "1"]
    paths = ["--pack", str(pack), "--folder", str(folder), "--out", str(out)]
    _run_training("gpu-run", *paths, *options)


def _run_training(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "training", *arguments], check=True)


def main() -> None:
    """Make a pack, train on it, and join the parts of the weights that came back."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        out, home = root / "out", root / "home"
        write_corpus(root / "corpus")
        files = write_pack(root / "corpus", root / "pack", num_workers=1)
        run_session(root / "pack", root / "run", out)
        _run_training("join", str(out), "--folder", str(home))
        sizes = [file.stat().st_size for file in out.iterdir()]
        record("training", pack_files=len(files), files=len(sizes), bytes=sum(sizes))
        if not (home / "checkpoint.pt").exists() or len(sizes) > _MAX_FILES:
            raise SystemExit(f"no checkpoint came back in at most {_MAX_FILES} files: {sizes}")


if __name__ == "__main__":
    main()
