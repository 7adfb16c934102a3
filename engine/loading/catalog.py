"""The checkpoints on this machine, and which of them `auto` takes. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from engine.loading.model_size import HEADROOM, Memory, cache_bytes, human, parameter_count
from engine.settings import DEMO_MODEL

EMBEDDED_DIR = Path(__file__).parents[1] / "embedded"
"""The demo model that comes with the package."""

MODEL_TYPE = "gpt_bigcode"
CPU_PARAMETER_LIMIT = 400_000_000
"""Without a GPU, `auto` takes nothing larger: a suggestion would come after the next keystrokes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A StarCoder-family model whose files are all here."""

    name: str
    path: Path
    config: dict[str, Any]
    bytes_on_disk: int
    is_demo: bool = False

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return parameter_count(self.config)

    @property
    def context_window(self) -> int:
        """Positions it was trained with."""
        return int(self.config["n_positions"])

    def bytes_needed(self, bytes_per_value: int) -> int:
        """Weights and one full KV cache, with headroom."""
        cache = cache_bytes(self.config, self.context_window, bytes_per_value)
        return int(HEADROOM * (self.parameters * bytes_per_value + cache))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether `auto` would take a checkpoint, and why not."""

    checkpoint: Checkpoint
    eligible: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` takes, and what it looked at."""

    checkpoint: Checkpoint
    reason: str
    verdicts: tuple[Verdict, ...]


def read_checkpoint(path: Path, name: str, *, is_demo: bool = False) -> Checkpoint | None:
    """Return the checkpoint in a directory, None if it is not a whole one of StarCoder's family."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        weights = list(path.glob("*.safetensors"))
        if config.get("model_type") != MODEL_TYPE or not weights:
            return None
        size = sum(file.stat().st_size for file in weights)
        if not has_all_shards(path) or not (path / "tokenizer.json").exists():
            return None
        found = Checkpoint(name, path, config, size, is_demo)
        return found if found.parameters > 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_all_shards(path: Path) -> bool:
    """Whether every file that a sharded checkpoint's index names is there."""
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return True
    names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((path / name).exists() for name in names)


def embedded() -> Checkpoint | None:
    """Return the demo model; None in a source tree where it has not been made."""
    return read_checkpoint(EMBEDDED_DIR, DEMO_MODEL, is_demo=True)


def in_hub_cache(cache_dir: Path | None = None) -> Iterator[Checkpoint]:
    """Yield the StarCoder-family models in the hub's cache, the newest revision of each."""
    try:
        cache = scan_cache_dir(cache_dir)
    except (CacheNotFound, OSError):
        return
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        revisions = sorted(repo.revisions, key=lambda revision: -revision.last_modified)
        for revision in revisions if repo.repo_type == "model" else ():
            if found := read_checkpoint(Path(revision.snapshot_path), repo.repo_id):
                yield found
                break


def on_disk(cache_dir: Path | None = None) -> list[Checkpoint]:
    """Return every usable checkpoint, largest first; the demo model is among them."""
    found = list(in_hub_cache(cache_dir))
    if demo := embedded():
        found.append(demo)
    return sorted(found, key=lambda checkpoint: -checkpoint.parameters)


def judge(checkpoint: Checkpoint, memory: Memory) -> Verdict:
    """Return whether `auto` would take a checkpoint on a machine with this free memory."""
    if checkpoint.is_demo:
        return Verdict(checkpoint, True, "always fits; a demo model, for want of a real one")
    on_gpu = checkpoint.bytes_needed(2)
    if memory.gpus:
        if on_gpu <= memory.largest_gpu:
            return Verdict(checkpoint, True, f"fits a GPU: needs {human(on_gpu)}")
        return Verdict(
            checkpoint,
            False,
            f"needs {human(on_gpu)} of GPU memory, {human(memory.largest_gpu)} is free",
        )
    if checkpoint.parameters > CPU_PARAMETER_LIMIT:
        return Verdict(checkpoint, False, "too slow without a GPU; name it to use it all the same")
    needed = checkpoint.bytes_needed(4)
    if needed > memory.cpu:
        return Verdict(checkpoint, False, f"needs {human(needed)}, {human(memory.cpu)} is free")
    return Verdict(checkpoint, True, f"answers in time on a CPU: needs {human(needed)}")


def choose(checkpoints: Sequence[Checkpoint], memory: Memory) -> Choice | None:
    """Return the largest checkpoint that fits; None when there is none at all."""
    verdicts = tuple(judge(checkpoint, memory) for checkpoint in checkpoints)
    eligible = [verdict for verdict in verdicts if verdict.eligible]
    if not eligible:
        return None
    best = max(eligible, key=lambda v: (not v.checkpoint.is_demo, v.checkpoint.parameters))
    return Choice(best.checkpoint, best.reason, verdicts)
