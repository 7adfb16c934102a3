"""Python source files and their tests: by imports, and by pytest's configuration."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from chat.tasks.dialects.config_files import as_words, parse_ini, parse_toml, table
from chat.tasks.dialects.layout import TEST_FOLDERS, Imported, Layout
from chat.tasks.target import WorkspaceFiles

_DEFAULT_NAMES = ("test_*.py", "*_test.py")
_USUAL_STEM = re.compile(r"tests?_(.+)|(.+)_tests?")
_MAX_IMPORTING_TESTS = 50


@dataclass(frozen=True, slots=True)
class PytestSettings:
    """The settings of pytest that decide which files are tests."""

    names: tuple[str, ...] = _DEFAULT_NAMES
    """Patterns of the names of test files (`python_files`)."""
    folders: tuple[str, ...] = ()
    """Folders with tests, relative to the project (`testpaths`)."""
    is_configured: bool = False
    """Whether the project has a configuration of pytest."""
    uses_importlib: bool = False
    """Whether test files in different folders may have the same name."""


def read_pytest_settings(project: Path, files: WorkspaceFiles) -> PytestSettings:
    """Return the settings of pytest in a project's root folder; the defaults if there are none."""
    toml = parse_toml(files.read(project / "pyproject.toml"))
    candidates = [
        table(parse_ini(files.read(project / "pytest.ini")), "pytest"),
        table(parse_toml(files.read(project / "pytest.toml")), "pytest"),
        table(toml, "tool", "pytest", "ini_options"),
        table(toml, "tool", "pytest"),
        table(parse_ini(files.read(project / "tox.ini")), "pytest"),
        table(parse_ini(files.read(project / "setup.cfg")), "tool:pytest"),
    ]
    values = next((candidate for candidate in candidates if candidate), None)
    if values is None:
        return PytestSettings()
    return PytestSettings(
        names=tuple(as_words(values.get("python_files"))) or _DEFAULT_NAMES,
        folders=tuple(folder.strip("/") for folder in as_words(values.get("testpaths"))),
        is_configured=True,
        uses_importlib="importlib" in " ".join(as_words(values.get("addopts"))),
    )


class PythonLayout(Layout):
    """The Python files of a workspace."""

    project_files = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini"})

    def __init__(self, source: Path, files: WorkspaceFiles) -> None:
        super().__init__(source, files)
        self.pytest = read_pytest_settings(self.project, files)

    def is_test(self, path: Path) -> bool:
        if path.suffix != ".py" or path.name == "conftest.py":
            return False
        is_usual = any(fnmatchcase(path.name, name) for name in _DEFAULT_NAMES)
        return is_usual or path.name == "tests.py" or self.has_configured_name(path.name)

    def has_configured_name(self, name: str) -> bool:
        """Whether pytest collects a file of this name."""
        return any(fnmatchcase(name, pattern.split("/")[-1]) for pattern in self.pytest.names)

    def is_source(self, path: Path) -> bool:
        return path.suffix == ".py" and path.name != "conftest.py"

    def tested_stems(self, test: Path) -> tuple[str, ...]:
        stems = [match[1] or match[2] for match in [_USUAL_STEM.fullmatch(test.stem)] if match]
        for pattern in self.pytest.names:
            prefix, star, suffix = pattern.removesuffix(".py").partition("*")
            if star and test.stem.startswith(prefix) and test.stem.endswith(suffix):
                stems.append(test.stem[len(prefix) : len(test.stem) - len(suffix)])
        return tuple(dict.fromkeys(stem.strip("_") for stem in stems if stem.strip("_")))

    def stems_of(self, source: Path) -> tuple[str, ...]:
        folder = source.parent.name
        if source.name == "__init__.py":
            return (folder, "init")
        stem = source.stem.strip("_")
        outer = [f"{outer}_{stem}" for outer in _dotted_outer_names(source)]
        return (stem, *outer)

    def read_imports(self, test: Path) -> Imported:
        imported_files: set[Path] = set()
        packages: set[Path] = set()
        stems: set[str] = set()
        for module in imported_modules(self.files.read(test) or "", test):
            stems.add(module.rsplit(".", 1)[-1])
            for path in self.files_of_module(module):
                imported_files.add(path)
                if path.name == "__init__.py":
                    packages.add(path.parent)
        return Imported(frozenset(imported_files), frozenset(packages), frozenset(stems))

    def files_of_module(self, module: str) -> list[Path]:
        """Return the files of the workspace that a dotted name may mean."""
        parts = tuple(module.split("."))
        matches = [
            path
            for path in self._files_by_name.get(parts[-1], [])
            if module_parts(path)[-len(parts) :] == parts
        ]
        exact = [path for path in matches if self._full_name(path) == module]
        if exact or len(matches) == 1:
            return exact or matches
        return [path for path in matches if self._package_depth(path) < len(parts)]

    def _full_name(self, path: Path) -> str:
        parts = module_parts(path)
        return ".".join(parts[len(parts) - self._package_depth(path) - 1 :])

    def _package_depth(self, path: Path) -> int:
        """Return the number of packages around a module."""
        folder = path.parent.parent if path.name == "__init__.py" else path.parent
        depth = 0
        while folder / "__init__.py" in self.known_files:
            depth, folder = depth + 1, folder.parent
        return depth

    @cached_property
    def _files_by_name(self) -> dict[str, list[Path]]:
        named: dict[str, list[Path]] = {}
        for path in sorted(self.known_files):
            if path.suffix == ".py":
                named.setdefault(module_parts(path)[-1], []).append(path)
        return named

    def import_root(self) -> Path | None:
        """Return the folder from which most tests of the project import; None if none does."""
        votes: Counter[Path] = Counter()
        tests = [test for test in self.tests if self._covers(test)]
        for test in tests[:_MAX_IMPORTING_TESTS]:
            roots = set()
            for module in imported_modules(self.files.read(test) or "", test, absolute_only=True):
                for path in self.files_of_module(module):
                    depth = len(module.split(".")) + (path.name == "__init__.py")
                    roots.add(path.parents[depth - 1])
            votes.update(root for root in roots if self.source.is_relative_to(root))
        best = votes.most_common(1)
        return best[0][0] if best else None


def module_parts(path: Path) -> tuple[str, ...]:
    """Return the folders of a module and its name; a package has the name of its folder."""
    return path.parent.parts if path.name == "__init__.py" else (*path.parent.parts, path.stem)


def _dotted_outer_names(source: Path) -> Iterator[str]:
    """Yield the names of the outer folders, joined by underscores: `core`, then `shop_core`."""
    name = ""
    for folder in source.parents[:3]:
        if not folder.name or folder.name in TEST_FOLDERS:
            return
        name = f"{folder.name}_{name}" if name else folder.name
        yield name


def imported_modules(code: str, path: Path, *, absolute_only: bool = False) -> list[str]:
    """Return the dotted names of the modules that a file may import, also inside functions.

    `from a import b` gives `a.b` and `a`, because `b` may be a module. Relative imports become
    absolute names of the folders around the file.
    """
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        modules = re.findall(r"^[ \t]*(?:from|import) ([\w.]+)", code, re.M)
        return [module for module in modules if not module.startswith(".")]
    names: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not (node.level and absolute_only):
            outer = path.parent.parts[1 : len(path.parent.parts) + 1 - node.level]
            parts = [*(outer if node.level else ()), *([node.module] if node.module else [])]
            names += [".".join([*parts, alias.name]) for alias in node.names]
            names += [".".join(parts)] if parts else []
    return names
