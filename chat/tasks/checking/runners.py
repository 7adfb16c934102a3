"""Chooses the runner for the tests of a project."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from chat.tasks.checking.build_runner import BuiltProject
from chat.tasks.checking.command_runner import package_root
from chat.tasks.checking.go.runner import GoHome, GoRunner
from chat.tasks.checking.java.projects import java_project
from chat.tasks.checking.java.runner import JUnitRunner
from chat.tasks.checking.javascript.commands import JavaScriptProject, node_options
from chat.tasks.checking.javascript.runner import JavaScriptRunner
from chat.tasks.checking.overlays import Overlays
from chat.tasks.checking.python.runner import PythonProject, PythonRunner
from chat.tasks.checking.runner import CannotRunError, Runner
from chat.tasks.checking.rust.runner import CargoRunner
from chat.tasks.conventions import Convention
from chat.tasks.dialects.base import Destination, Subject
from chat.tasks.dialects.config_files import parse_json, table
from chat.tasks.dialects.go import Go
from chat.tasks.dialects.javascript import JavaScript
from chat.tasks.dialects.python import PythonDialect
from chat.tasks.dialects.rust import Cargo
from chat.tasks.target import WorkspaceFiles
from sandbox.command import PRIVATE_FOLDER, Limits
from sandbox.interpreters import node_of_path, python_of, text_of
from sandbox.layout import contains_home
from sandbox.sandbox import Sandbox
from sandbox.toolchains import cargo_of, go_of_path, java_of_path

LIMITS = Limits(
    cpu_seconds=60,
    memory_bytes=8 << 30,  # libraries reserve much more address space than they use
    total_memory_bytes=2 << 30,
    processes=64,
    output_bytes=4 << 20,
)
"""Limits for all tests of one function together. The time is set for each run."""
_NODE_LIMITS = replace(
    LIMITS,
    memory_bytes=1 << 40,  # Node reserves 10 GB for each module of WebAssembly, and uses little
    processes=256,
    open_files=1024,
)
_BUILD_LIMITS = replace(
    LIMITS,
    memory_bytes=64 << 30,
    total_memory_bytes=4 << 30,
    cpu_seconds=600,
    processes=256,
    open_files=1024,
    file_bytes=512 << 20,
    folder_bytes=2 << 30,
    folder_files=200_000,
)
"""Compilers write large files, which are kept in memory."""
_PROJECT_MARKS = ("pyproject.toml", "pytest.ini", "setup.cfg", "setup.py", "tox.ini", ".git")
_SCRIPTS = (".js", ".ts", ".mjs", ".cjs", ".mts", ".cts", ".json")


@contextmanager
def open_runner(
    subject: Subject, convention: Convention, files: WorkspaceFiles, box: Sandbox
) -> Iterator[Runner]:
    """Return the runner for tests of a subject. Raises CannotRunError if there is none."""
    folder = Path(os.path.realpath(files.root))
    destination = Destination(convention.test_file, files.read(convention.test_file))
    originals = {destination.path: destination.text, subject.path: subject.text}
    make, limits, readable = _chosen(subject, convention, files, folder)
    with Overlays(replace(box, limits=limits, readable=(folder, *readable)), originals) as overlays:
        yield make(overlays)


_Chosen = tuple[Callable[[Overlays], Runner], Limits, tuple[Path, ...]]
"""What makes a runner, its limits, and what it must be able to read besides the workspace."""


def _chosen(
    subject: Subject, convention: Convention, files: WorkspaceFiles, folder: Path
) -> _Chosen:
    if isinstance(convention.dialect, PythonDialect):
        return _python(subject, convention, convention.dialect, folder)
    if isinstance(convention.dialect, JavaScript):
        return _javascript(convention, folder)
    if isinstance(convention.dialect, Cargo):
        return _cargo(convention, folder)
    if isinstance(convention.dialect, Go):
        return _go(convention, folder)
    return _junit(subject, convention, replace(files, root=folder))


def _python(
    subject: Subject, convention: Convention, dialect: PythonDialect, folder: Path
) -> _Chosen:
    python, test_file = python_of(folder), _real(convention.test_file)
    project = PythonProject(
        root=_project_root(test_file, folder),
        python=python.path,
        framework=convention.framework,
        import_root=_import_root(_real(subject.path), dialect.module),
        test_file=test_file,
    )
    return (lambda overlays: PythonRunner(project, overlays)), LIMITS, python.readable


def _javascript(convention: Convention, folder: Path) -> _Chosen:
    node, test_file = node_of_path(), _real(convention.test_file)
    if node is None:
        raise CannotRunError("Node is not installed, or not in the PATH of the language server.")
    framework = convention.framework
    package = package_root(test_file, ("package.json",), folder)
    names = {"jest": ("jest",), "vitest": ("vitest", "vite")}.get(framework, ())
    configurations = [f"{name}.config{suffix}" for name in names for suffix in _SCRIPTS]
    root = package_root(test_file, configurations, folder)
    has_configuration = any((root / name).is_file() for name in configurations)
    scripts = table(parse_json(text_of(package / "package.json")), "scripts")
    project = JavaScriptProject(
        framework=framework,
        node=node.path,
        root=root if has_configuration else package,
        folder=folder,
        test_file=test_file,
        options=node_options(scripts, framework),
    )
    return (lambda overlays: JavaScriptRunner(project, overlays)), _NODE_LIMITS, node.readable


def _cargo(convention: Convention, folder: Path) -> _Chosen:
    test_file = _real(convention.test_file)
    package = package_root(test_file, ("Cargo.toml",), folder)
    cargo = cargo_of(package, folder)
    if cargo is None:
        raise CannotRunError("Cargo is not installed, or not in the PATH of the language server.")
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    # Other files there may have passwords.
    sources = tuple(path for name in ("registry", "git") if (path := home / name).is_dir())
    cargo_home = home if sources else Path(PRIVATE_FOLDER, "cargo")
    project = BuiltProject(_cargo_root(package, folder), package, test_file)
    return (
        lambda overlays: CargoRunner(project, cargo.path, cargo_home, overlays),
        _BUILD_LIMITS,
        (*cargo.readable, *sources),
    )


def _cargo_root(package: Path, folder: Path) -> Path:
    """Return the folder with all that a package needs: its workspace, or what it refers to."""
    if re.search(r"""path\s*=\s*["']\.\./""", text_of(package / "Cargo.toml")):
        return folder
    above = [each for each in package.parents if each.is_relative_to(folder)]
    workspaces = [each for each in above if "[workspace" in text_of(each / "Cargo.toml")]
    return workspaces[-1] if workspaces else package


def _go(convention: Convention, folder: Path) -> _Chosen:
    go, test_file = go_of_path(), _real(convention.test_file)
    if go is None:
        raise CannotRunError("Go is not installed, or not in the PATH of the language server.")
    root = package_root(test_file, ("go.mod",), folder)
    workspace = package_root(test_file, ("go.work",), folder)
    if (workspace / "go.work").is_file() or "../" in text_of(root / "go.mod"):
        root = folder
    modules = Path(os.environ.get("GOPATH") or Path.home() / "go", "pkg", "mod")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "go-build")
    home = GoHome(go.path, _folder("GOMODCACHE", modules), _folder("GOCACHE", cache))
    sources = tuple(each for each in (home.modules, home.cache) if each is not None)
    project = BuiltProject(root, root, test_file)
    return (
        lambda overlays: GoRunner(project, home, overlays),
        _BUILD_LIMITS,
        (*go.readable, *sources),
    )


def _folder(variable: str, default: Path) -> Path | None:
    """Return the folder that a variable of the environment names, None if it does not exist."""
    path = Path(os.environ.get(variable) or default)
    return path if path.is_dir() and not contains_home(path) else None


def _junit(subject: Subject, convention: Convention, files: WorkspaceFiles) -> _Chosen:
    java, test_file = java_of_path(), _real(convention.test_file)
    if java is None:
        raise CannotRunError(
            "A JDK is not installed, or not in JAVA_HOME or the PATH of the language server."
        )
    real = replace(subject, path=_real(subject.path))
    project = java_project(java.path, real, test_file, convention.framework, files)
    readable = (*java.readable, *project.jars)
    return (lambda overlays: JUnitRunner(project, overlays)), _BUILD_LIMITS, readable


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
