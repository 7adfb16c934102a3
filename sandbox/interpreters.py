"""Finds the programs that run code in a sandbox, and what the sandbox must show for them.

Nothing is started to find out: a folder that somebody opens must not be able to run a program
outside of the sandbox. So a folder is shown only if it looks like an installation.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.layout import contains_home, link_steps, stores_of

_ENVIRONMENTS = (".venv", "venv")
_CONFIGURATION = "pyvenv.cfg"
_MAX_CONFIGURATION_BYTES = 1 << 16
_PYENV_VERSION = re.compile(r"[\w.+-]+")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A program that runs code."""

    path: Path
    """The program. Python finds its environment by this path, so that may be a link."""
    readable: tuple[Path, ...]
    """What a sandbox must be able to read to run it (`Sandbox.readable`)."""


def python_of(folder: Path | None) -> Interpreter:
    """Return the Python of a project's folder: its environment, else that of PATH, else ours."""
    programs = [folder / name / "bin" / "python" for name in _ENVIRONMENTS] if folder else []
    for program in (*programs, *in_path("python3")):
        if (interpreter := _python(_started_by_pyenv(program, folder))) is not None:
            return interpreter
    return Interpreter(Path(sys.executable), ())  # all sandboxes show it


def node_of_path() -> Interpreter | None:
    """Return the Node of PATH, None if there is none."""
    for program in in_path("node"):
        real = Path(os.path.realpath(program))
        if not real.name.startswith("node"):
            continue  # a program of a version manager, which needs the home folder
        prefix = real.parent.parent
        is_installation = (prefix / "include" / "node").is_dir() and not contains_home(prefix)
        return Interpreter(real, (prefix if is_installation else real, *stores_of(real)))
    return None


def in_path(name: str) -> Iterator[Path]:
    """Return the programs with a name in PATH, without those of relative folders."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(folder, name)
        if os.path.isabs(folder) and _is_program(program):
            yield program


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _started_by_pyenv(program: Path, folder: Path | None) -> Path:
    """Return the program that a script of pyenv would start, and any other program as it is."""
    root = program.parent.parent
    if program.parent.name != "shims" or not (root / "versions").is_dir():
        return program
    files = [folder / ".python-version"] if folder else []
    for file in (*files, root / "version"):
        version = next(iter(text_of(file).split()), "")
        chosen = root / "versions" / version / "bin" / program.name
        if _PYENV_VERSION.fullmatch(version) and _is_program(chosen):
            return chosen
    return program


def _python(program: Path) -> Interpreter | None:
    """Return an interpreter, None for a broken link or for a script that only looks for one."""
    if not _is_program(program):
        return None
    steps = [str(program), *link_steps(str(program)), os.path.realpath(program)]
    prefixes = [Path(step).parent.parent for step in steps]
    prefixes += [home.parent for prefix in prefixes if (home := _home_of(prefix)) is not None]
    prefixes = [prefix for prefix in dict.fromkeys(prefixes) if not contains_home(prefix)]
    if not any(map(_is_installation, prefixes)):
        return None
    shown = [each for each in prefixes if _is_installation(each) or _is_environment(each)]
    stores = [store for prefix in shown for store in stores_of(prefix)]
    # A link in a folder that is not shown, such as ~/.local/bin, does not exist in the sandbox.
    visible = next(Path(step) for step in steps if Path(step).parent.parent in shown)
    return Interpreter(visible, tuple(dict.fromkeys([*shown, *stores])))


def _is_installation(prefix: Path) -> bool:
    """Return whether a folder has Python's standard library."""
    return any(
        next(prefix.glob(f"{library}/*3*/os.py"), None) is not None for library in ("lib", "lib64")
    )


def _is_environment(prefix: Path) -> bool:
    return (prefix / _CONFIGURATION).is_file()


def _home_of(prefix: Path) -> Path | None:
    """Return the folder of programs of the installation from which an environment was made."""
    lines = text_of(prefix / _CONFIGURATION).splitlines()
    for key, _, value in (line.partition("=") for line in lines):
        if key.strip() == "home" and os.path.isabs(value.strip()):
            return Path(os.path.normpath(value.strip()))
    return None


def text_of(path: Path) -> str:
    """Return the beginning of a regular file as text, empty if there is none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return ""
        return os.read(file, _MAX_CONFIGURATION_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return ""
    finally:
        os.close(file)
