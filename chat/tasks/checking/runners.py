"""Chooses the runner for the tests of a project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.python_runner import PythonProject, PythonRunner
from chat.tasks.checking.runner import CannotRunError, Runner
from chat.tasks.conventions import Convention
from chat.tasks.dialects.base import Destination, Subject
from chat.tasks.dialects.python import PythonDialect
from chat.tasks.target import WorkspaceFiles
from sandbox.command import Limits
from sandbox.interpreters import python_of
from sandbox.sandbox import Sandbox

LIMITS = Limits(
    cpu_seconds=60,
    memory_bytes=8 << 30,  # libraries reserve much more address space than they use
    total_memory_bytes=2 << 30,
    processes=64,
    output_bytes=4 << 20,
)
"""Limits for all tests of one function together. The time is set for each run."""
_PROJECT_MARKS = ("pyproject.toml", "pytest.ini", "setup.cfg", "setup.py", "tox.ini", ".git")


@contextmanager
def open_runner(
    subject: Subject, convention: Convention, files: WorkspaceFiles, box: Sandbox
) -> Iterator[Runner]:
    """Return the runner for tests of a subject. Raises CannotRunError if there is none."""
    dialect, folder = convention.dialect, Path(os.path.realpath(files.root))
    if not isinstance(dialect, PythonDialect):
        raise CannotRunError(f"Tests with {convention.framework} are not run.")
    python = python_of(folder)
    destination = Destination(convention.test_file, files.read(convention.test_file))
    originals = {destination.path: destination.text, subject.path: subject.text}
    readable = (folder, *python.readable)
    test_file = _real(convention.test_file)
    project = PythonProject(
        root=_project_root(test_file, folder),
        python=python.path,
        framework=convention.framework,
        import_root=_import_root(_real(subject.path), dialect.module),
        test_file=test_file,
    )
    with Overlays(replace(box, limits=LIMITS, readable=readable), originals) as overlays:
        yield PythonRunner(project, overlays)


def _project_root(test_file: Path, folder: Path) -> Path:
    """Return the innermost folder around a test file that looks like a project."""
    for parent in test_file.parents:
        if parent == folder or not parent.is_relative_to(folder):
            break
        if any((parent / mark).exists() for mark in _PROJECT_MARKS):
            return parent
    return folder


def _import_root(source: Path, module: str) -> Path:
    """Return the folder from which a module is imported under its dotted name."""
    path = source.parent if source.stem == "__init__" else source
    return path.parents[module.count(".")]


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path.parent)) / path.name
