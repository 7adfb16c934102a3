"""Download the packages that the recipe trains on.

The lists are pinned, so every machine gets the same packages. pip installs each Python package into
its own folder without dependencies. npm installs packages with their dependencies, which are source
code too. No code of a package is run. Go, Rust and C are read from the folders that Debian's
packages install (`training.collect.SOURCE_TREES`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LISTS = Path(__file__).parent / "lists"

_NUM_WORKERS = 6


def download(folder: Path, say: Callable[[str], None] = print) -> None:
    """Download to `python/NAME` and `node/node_modules` in `folder`; existing ones are kept.

    Packages that cannot be downloaded are reported and skipped.
    """
    pins = (LISTS / "python.txt").read_text(encoding="utf-8").split()
    with ThreadPoolExecutor(_NUM_WORKERS) as pool:
        missing = [
            name for name in pool.map(lambda pin: _install_python(folder, pin), pins) if name
        ]
    if missing:
        say(f"could not be downloaded, skipped: {', '.join(missing)}")
    _install_node(folder / "node", say)


def _install_python(folder: Path, pin: str) -> str:
    """Install one package; return its name if that failed, else an empty string."""
    target = folder / "python" / pin.split("==")[0]
    if target.exists():
        return ""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--only-binary",
        ":all:",
        "--target",
        str(target),
        pin,
    ]
    process = subprocess.run(command, capture_output=True, check=False)
    if process.returncode:
        shutil.rmtree(target, ignore_errors=True)
    return pin if process.returncode else ""


def _install_node(folder: Path, say: Callable[[str], None]) -> None:
    if (folder / "node_modules").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        say("npm is not installed: JavaScript and TypeScript are skipped")
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LISTS / "package.json", folder / "package.json")
    command = [
        npm,
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--legacy-peer-deps",
        "--loglevel=error",
    ]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if process.returncode:
        say(f"npm install failed: JavaScript and TypeScript are skipped: {process.stderr.strip()}")
