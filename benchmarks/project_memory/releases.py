"""Download the pairs of releases in releases.txt: `python -m benchmarks.project_memory.releases`.

pip unpacks each release to `FOLDER/USE/PACKAGE/old` or `new`, without its dependencies. No code of
a package is run. Releases that are there already are kept.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("releases.txt")
USES = ("fit", "report")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two releases of a package."""

    use: str
    """`fit` or `report`."""
    package: str
    old: str
    """Version of the older release."""
    new: str
    """Version of the newer release."""


@dataclass(frozen=True, slots=True)
class PairFolders:
    """The unpacked releases of a pair."""

    package: str
    old: Path
    new: Path


def read_pairs(text: str) -> list[Pair]:
    """Return the pairs of a list; raises ValueError with the first line in another format."""
    pairs = []
    for line in text.splitlines():
        fields = line.split("#")[0].split()
        if not fields:
            continue
        if len(fields) != 4 or fields[0] not in USES:
            raise ValueError(f"Not a pair of releases: {line}")
        pairs.append(Pair(*fields))
    return pairs


def find_pairs(folder: Path) -> list[PairFolders]:
    """Return the pairs that are unpacked in a folder such as `FOLDER/report`, by name."""
    pairs = [PairFolders(path.name, path / "old", path / "new") for path in folder.glob("*")]
    present = [pair for pair in pairs if pair.old.is_dir() and pair.new.is_dir()]
    return sorted(present, key=lambda pair: pair.package)


def install_command(requirement: str, target: Path) -> list[str]:
    """Return the command that unpacks a release; it runs no code of the package."""
    return [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-compile", "--only-binary", ":all:", "--ignore-requires-python"),
        *("--target", str(target), requirement),
    ]


def download(
    pairs: Sequence[Pair], folder: Path, install: Callable[[str, Path], bool]
) -> list[str]:
    """Unpack the releases that are missing; return those that could not be installed."""
    missing = []
    for pair in pairs:
        for name, version in (("old", pair.old), ("new", pair.new)):
            target = folder / pair.use / pair.package / name
            requirement = f"{pair.package}=={version}"
            if not target.exists() and not install(requirement, target):
                shutil.rmtree(target, ignore_errors=True)
                missing.append(requirement)
    return missing


def _install(requirement: str, target: Path) -> bool:
    print(requirement, flush=True)
    return subprocess.run(install_command(requirement, target), check=False).returncode == 0


def main() -> None:
    """Download the releases, and fail if some are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    pairs = read_pairs(LIST.read_text(encoding="utf-8"))
    missing = download(pairs, parser.parse_args().folder, _install)
    if missing:
        sys.exit(f"Could not be downloaded: {', '.join(missing)}")


if __name__ == "__main__":
    main()
