"""Files that a command writes: checked before its long work, and written with plain errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConfigurationError, reason_of


def check_output(file: Path | None, option: str) -> None:
    """Raise ConfigurationError if a file cannot be written; creates nothing.

    `option` names the option that takes the file, such as `--out`.
    """
    if file is None:
        return
    if problem := _problem(file):
        raise ConfigurationError(f"{option} {file} cannot be written: {problem}.")


def _problem(file: Path) -> str | None:
    """Return why a file cannot be written, None if nothing speaks against it."""
    try:
        if file.is_dir():
            return "it is a folder. Give the path of a file"
        if file.exists():
            return None if os.access(file, os.W_OK) else "you may not write to it"
        folder = file.parent
        if not folder.is_dir():
            return f"there is no folder {folder}. Create it first"
    except (OSError, ValueError) as error:  # a name that is too long, or with a null character
        return reason_of(error)
    if len(os.fsencode(file.name)) > os.pathconf(folder, "PC_NAME_MAX"):
        return "its name is too long"
    return None if os.access(folder, os.W_OK) else f"you may not write to the folder {folder}"


def check_output_folder(folder: Path | None, option: str) -> None:
    """Raise ConfigurationError if a folder cannot be created or written; creates nothing.

    Unlike the folder of a file, its parents are created too.
    """
    if folder is None:
        return
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        problem = f"{existing} is not a folder"
    elif not os.access(existing, os.W_OK):
        problem = f"you may not write to the folder {existing}"
    else:
        return
    raise ConfigurationError(f"{option} {folder} cannot be written: {problem}.")


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Raise ConfigurationError instead of an OSError while the file is written."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {reason_of(error)}.") from None


def write_output(file: Path, text: str) -> None:
    """Write a text as UTF-8; raises ConfigurationError."""
    with writing(file):
        file.write_text(text, encoding="utf-8")
