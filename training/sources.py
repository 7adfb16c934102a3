"""Download the packages that the recipe learns from: pinned lists, so that others get the same.

Python packages come by pip, without their dependencies and each to a folder of its own; npm's with
their dependencies, which are source too. Nothing of them is run. Go, Rust and C are read where
Debian's packages put them (`training.collect.TREES`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LISTS = Path(__file__).parent / "lists"

_AT_ONCE = 6


def download(folder: Path, say: Callable[[str], None] = print) -> None:
    """Fill `folder` with `python/NAME` and `node/node_modules`; what is there already is kept.

    Packages that cannot be had are named and left out.
    """
    pins = (LISTS / "python.txt").read_text(encoding="utf-8").split()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        missing = [name for name in pool.map(lambda pin: _python(folder, pin), pins) if name]
    if missing:
        say(f"not to be had, left out: {', '.join(missing)}")
    _node(folder / "node", say)


def _python(folder: Path, pin: str) -> str:
    """Return the name of a package that could not be had, else nothing."""
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
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
    return pin if done.returncode else ""


def _node(folder: Path, say: Callable[[str], None]) -> None:
    if (folder / "node_modules").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        say("npm is not installed: no JavaScript or TypeScript")
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
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"npm install failed, JavaScript and TypeScript are left out: {done.stderr.strip()}")
