"""Records of measurements: what was run, when, and what it printed as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A benchmark with the arguments of its published run."""

    name: str
    module: str
    """The benchmark's module, such as `benchmarks.decode`."""
    arguments: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command for a reader. Paths of programs and models are not part of it."""
        return " ".join(("python -m", self.module, *self.arguments))


@dataclass(frozen=True, slots=True)
class Record:
    """The result of a measurement."""

    date: str
    command: str
    content: dict[str, Any]
    """What the benchmark wrote with `--json`."""

    @property
    def machine(self) -> dict[str, Any]:
        """The facts about the machine and the versions."""
        return dict(self.content["machine"])


def measure(measurement: Measurement, paths: Sequence[str] = ()) -> Record:
    """Run a benchmark in a process of its own. `paths` are further arguments, of this machine only.

    Raises subprocess.CalledProcessError if it fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "result.json"
        command = [sys.executable, "-m", measurement.module, *measurement.arguments, *paths]
        subprocess.run([*command, "--json", str(file)], check=True, cwd=ROOT)
        content = json.loads(file.read_text(encoding="utf-8"))
    return Record(f"{datetime.now(UTC):%Y-%m-%d}", measurement.command, content)


def file_of(name: str, folder: Path = FOLDER) -> Path:
    """Return the file in which the record of a measurement is kept."""
    return folder / f"{name}.json"


def save(name: str, record: Record, folder: Path = FOLDER) -> None:
    """Keep a record as a file of the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    file_of(name, folder).write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def load(name: str, folder: Path = FOLDER) -> Record:
    """Return the record of a measurement. Raises FileNotFoundError if it was never made."""
    return Record(**json.loads(file_of(name, folder).read_text(encoding="utf-8")))
