"""Finds the tools that build and run compiled languages, without starting anything."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sandbox.interpreters import Interpreter, in_path, text_of
from sandbox.layout import contains_home, stores_of

_CHANNEL = re.compile(r"^\s*channel\s*=\s*[\"']([\w.-]+)[\"']", re.M)
_DEFAULT = re.compile(r"^default_toolchain\s*=\s*\"([\w.-]+)\"", re.M)
_NAME = re.compile(r"[\w.-]+")


def cargo_of(folder: Path, boundary: Path) -> Interpreter | None:
    """Return Cargo for a folder: the toolchain that its files or rustup's settings name.

    Files above `boundary` are not read. The result is None if there is no such toolchain.
    """
    for program in in_path("cargo"):
        real = Path(os.path.realpath(program))
        if real.name == "rustup":
            cargo = _started_by_rustup(folder, boundary)
            if cargo is not None:
                return cargo
            continue
        prefix = real.parent.parent
        if (prefix / "lib" / "rustlib").is_dir() and not contains_home(prefix):
            return Interpreter(real, (prefix, *stores_of(real)))
    return None


def go_of_path() -> Interpreter | None:
    """Return the Go of PATH, None if there is none."""
    for program in in_path("go"):
        real = Path(os.path.realpath(program))
        prefix = real.parent.parent
        if (prefix / "src" / "runtime").is_dir() and not contains_home(prefix):
            return Interpreter(real, (prefix, *stores_of(real)))
    return None


def java_of_path() -> Interpreter | None:
    """Return the Java of JAVA_HOME or PATH that has a compiler, None if there is none."""
    home = os.environ.get("JAVA_HOME", "")
    own = [Path(home, "bin", "java")] if os.path.isabs(home) else []
    for program in (*own, *in_path("javac"), *in_path("java")):
        prefix = Path(os.path.realpath(program)).parent.parent
        is_installation = (prefix / "bin" / "javac").is_file() and (
            prefix / "lib/modules"
        ).is_file()
        if is_installation and not contains_home(prefix):
            # Debian keeps its configuration elsewhere, and Java does not start without it.
            links = sorted((prefix / "conf").rglob("*.*"))
            real = {Path(os.path.realpath(each)) for each in links if each.is_symlink()}
            readable = (prefix, *sorted(each for each in real if each.is_file()))
            return Interpreter(prefix / "bin" / "java", (*readable, *stores_of(prefix)))
    return None


def _started_by_rustup(folder: Path, boundary: Path) -> Interpreter | None:
    """Return the Cargo that rustup would start in a folder."""
    home = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
    names = [*_toolchains_of(folder, boundary), *_DEFAULT.findall(text_of(home / "settings.toml"))]
    for name in names:
        # A name may lack the machine, as in `stable`.
        for prefix in sorted((home / "toolchains").glob(f"{name}*")):
            if (prefix / "bin" / "cargo").is_file():
                return Interpreter(prefix / "bin" / "cargo", (prefix,))
    return None


def _toolchains_of(folder: Path, boundary: Path) -> list[str]:
    for parent in (folder, *folder.parents):
        if not parent.is_relative_to(boundary):
            break
        if match := _CHANNEL.search(text_of(parent / "rust-toolchain.toml")):
            return [match[1]]
        text = text_of(parent / "rust-toolchain")
        if match := _CHANNEL.search(text) or _NAME.search(text):
            return [match[match.lastindex or 0]]
    return []
