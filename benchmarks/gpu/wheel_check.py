"""Check that the wheels install and import under the machine's Python: part of the rehearsal.

torch for Python 3.12 is a download of several gigabytes, so the other steps of the rehearsal run
under the Python of the development environment. This step installs the wheels for Python 3.12, with
the small packages that they need and the machine has, and imports every module of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement

from benchmarks.gpu.results import record
from benchmarks.gpu.wheels import applies_to_machine, download, machine_packages, normalized

_VERSION = "3.12"
_IMPORT = """
import importlib, sys
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {error!r}")
print(len(sys.argv) - 1 - len(failed), "modules imported")
sys.exit("; ".join(failed) or 0)
"""


def find_python() -> Path | None:
    """Return a Python of the machine's version on PATH or among pyenv's; None if there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [Path(f"python{_VERSION}"), *sorted(root.glob(f"{_VERSION}.*/bin/python3"))]
    # A name on PATH may be pyenv's, which starts nothing unless the version is selected.
    return next((python for python in candidates if _runs(python)), None)


def _runs(python: Path) -> bool:
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def requirements_on_machine(wheels: Sequence[Path]) -> set[str]:
    """Return the packages that the wheels require and that the machine has."""
    names = set[str]()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            file = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            fields = Parser().parsestr(archive.read(file).decode())
        requirements = map(Requirement, fields.get_all("Requires-Dist") or ())
        names |= {normalized(r.name) for r in requirements if applies_to_machine(r, "")}
    return names & machine_packages()


def top_level_modules(site: Path) -> list[str]:
    """Return the public modules that are installed in a folder."""
    names = {path.name.split(".")[0] for path in site.iterdir() if _is_module(path)}
    return sorted(name for name in names if re.fullmatch(r"[a-z]\w*", name))


def _is_module(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("*.py")) or any(path.glob("*.so"))
    return path.suffix in (".py", ".so")


def check(python: Path, wheels: Sequence[Path], folder: Path) -> None:
    """Install the wheels and import their modules. Raises CalledProcessError if that fails."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    own_python, site = folder / "venv" / "bin" / "python", folder / "site"
    pip: list[str | Path] = [own_python, "-m", "pip", "--disable-pip-version-check"]
    names = sorted(requirements_on_machine(wheels))
    subprocess.run([*pip, "install", "--quiet", "pytest", *names], check=True)
    options = ("--quiet", "--no-index", "--no-deps", "--no-compile", "--target", site)
    subprocess.run([*pip, "install", *options, *wheels], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    modules = top_level_modules(site)
    subprocess.run([own_python, "-c", _IMPORT, *modules], check=True, env=environment)
    record("wheel imports", python=_VERSION, modules=len(modules))


def main(
    target: Annotated[Path, typer.Option(help="Folder for the wheels.")] = Path(".whl"),
) -> None:
    """Download the wheels, and check them if this machine has the right Python."""
    started = time.perf_counter()
    wheels = download(target)
    size = sum(wheel.stat().st_size for wheel in wheels)
    seconds = round(time.perf_counter() - started, 1)
    record("wheels", count=len(wheels), mb=round(size / 1e6, 1), s=seconds)
    python = find_python()
    if python is None:
        record("wheel imports", skipped=f"there is no Python {_VERSION} on this machine")
        return
    with tempfile.TemporaryDirectory() as folder:
        check(python, wheels, Path(folder))


if __name__ == "__main__":
    typer.run(main)
