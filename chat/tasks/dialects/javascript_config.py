"""The configuration of JavaScript test runners: `package.json`, Jest, Vitest and `tsconfig.json`.

Configuration files that are programs are not run. Literal texts in them are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import bracex
from wcmatch import glob

from chat.tasks.dialects.base import Framework
from chat.tasks.dialects.config_files import as_object, as_words, parse_json, table
from chat.tasks.target import WorkspaceFiles
from syntax.grammars import parse

_SUFFIXES = (".js", ".ts", ".mjs", ".cjs", ".mts", ".cts", ".json")
_FLAGS = glob.GLOBSTAR | glob.EXTGLOB | glob.DOTGLOB
_MAX_PATTERN = 1000
_MAX_STARS = 8
_MAX_BRACES = 50


@dataclass(frozen=True, slots=True)
class TestRunner:
    """A test runner and where it searches for tests."""

    __test__ = False  # pytest must not collect this class

    framework: Framework
    package: dict[str, Any]
    """The content of the nearest `package.json`."""
    patterns: tuple[str, ...] = ()
    """Absolute glob patterns of test files. Without patterns each usual name is a test."""
    expression: str = ""
    """The regular expressions in Jest's `testRegex`. They are only read, never matched, because a
    hostile expression may take for ever."""
    roots: tuple[Path, ...] = ()
    """The folders in which tests are searched, all if it is empty."""

    @property
    def is_es_package(self) -> bool:
        """Whether `.js` files of the package are ES modules."""
        return self.package.get("type") == "module"

    def finds(self, path: Path) -> bool:
        """Whether the runner finds a test file, by the part of its configuration that is known."""
        if self.roots and not any(path.is_relative_to(root) for root in self.roots):
            return False
        if self.expression:
            return _agrees(self.expression, path)
        return not self.patterns or any(_matches(path, pattern) for pattern in self.patterns)

    def pattern_folders(self) -> Iterator[Path]:
        """Yield the folders that the patterns name before their first special character."""
        for pattern in self.patterns:
            parts = pattern.split("/")[:-1]
            plain = takewhile(lambda part: not re.search(r"(?<!\\)[*?\[{(]", part), parts)
            folder = re.sub(r"\\(.)", r"\1", "/".join(plain))
            if folder:
                yield Path(folder)


def read_runner(
    source: Path, files: WorkspaceFiles, requested: Framework | None = None
) -> TestRunner:
    """Return the test runner of a source file's package, else of the workspace; Node's if none.

    `requested` is preferred to others that the package has.
    """
    packages = [
        (folder, parse_json(text))
        for folder in source.parents
        if folder.is_relative_to(files.root)
        and (text := files.read(folder / "package.json")) is not None
    ]
    nearest = packages[0][1] if packages else {}
    if requested == "node":  # it is always there
        return TestRunner("node", nearest)
    for folder, package in packages:
        framework = _framework(folder, package, files, requested)
        if framework is not None:
            return _configured(framework, folder, package, nearest, files)
    return TestRunner("node", nearest)


def _framework(
    folder: Path, package: dict[str, Any], files: WorkspaceFiles, requested: Framework | None
) -> Framework | None:
    keys = ("dependencies", "devDependencies", "peerDependencies")
    dependencies = {name for key in keys for name in table(package, key)}
    scripts = " ".join(map(str, table(package, "scripts").values()))
    frameworks: tuple[Framework, ...] = ("vitest", "jest")
    for name in sorted(frameworks, key=lambda name: name != requested):
        configs = (folder / f"{name}.config{suffix}" for suffix in _SUFFIXES)
        is_used = name in dependencies or name in package or re.search(rf"\b{name}\b", scripts)
        if is_used or any(files.read(config) is not None for config in configs):
            return name
    return "node" if re.search(r"\bnode\b.*--test\b", scripts) else None


def _configured(
    framework: Framework,
    folder: Path,
    package: dict[str, Any],
    nearest: dict[str, Any],
    files: WorkspaceFiles,
) -> TestRunner:
    if framework == "jest":
        return _jest(folder, package, nearest, files)
    if framework == "vitest":
        return _vitest(folder, nearest, files)
    return TestRunner(framework, nearest)


def _jest(
    folder: Path, package: dict[str, Any], nearest: dict[str, Any], files: WorkspaceFiles
) -> TestRunner:
    values = as_object(package.get("jest")) or parse_json(files.read(folder / "jest.config.json"))
    values = values or _literals(_config_text(folder, ("jest",), files))
    root = _folder(next(iter(as_words(values.get("rootDir"))), "."), folder)
    patterns = tuple(_absolute(p, root) for p in as_words(values.get("testMatch")) if p[:1] != "!")
    roots = tuple(_folder(each, root) for each in as_words(values.get("roots")))
    if not roots and root != folder:
        roots = (root,)
    return TestRunner("jest", nearest, patterns, " ".join(as_words(values.get("testRegex"))), roots)


def _vitest(folder: Path, nearest: dict[str, Any], files: WorkspaceFiles) -> TestRunner:
    values = _literals(_config_text(folder, ("vitest", "vite"), files), inside="test")
    patterns = tuple(_absolute(p, folder) for p in as_words(values.get("include")))
    roots = tuple(_folder(each, folder) for each in as_words(values.get("dir")))
    return TestRunner("vitest", nearest, patterns, "", roots)


def _config_text(folder: Path, names: tuple[str, ...], files: WorkspaceFiles) -> str:
    paths = (folder / f"{name}.config{suffix}" for name in names for suffix in _SUFFIXES)
    return next((text for path in paths if (text := files.read(path)) is not None), "")


def _literals(code: str, inside: str = "") -> dict[str, list[str]]:
    """Return the texts of the properties in a program, by the name of the property.

    If `inside` is a name, only the properties of the object in the property of this name count.
    """
    root = parse(code, "typescript")
    values: dict[str, list[str]] = {}
    stack = [(root, "", "")] if root is not None else []
    while stack:
        node, key, outer = stack.pop()
        if node.type in ("string_fragment", "regex_pattern") and (not inside or outer == inside):
            values.setdefault(key, []).append((node.text or b"").decode("utf-8", "replace"))
        name = node.child_by_field_name("key") if node.type == "pair" else None
        if name is not None:
            outer, key = key, (name.text or b"").decode("utf-8", "replace").strip("\"'")
        stack += [(child, key, outer) for child in reversed(node.children) if child != name]
    return values


def _folder(name: str, base: Path) -> Path:
    return Path(os.path.normpath(base / name.replace("<rootDir>", str(base))))


def _absolute(pattern: str, root: Path) -> str:
    base = glob.escape(str(root))
    pattern = pattern.removeprefix("./")
    if "<rootDir>" in pattern:
        return pattern.replace("<rootDir>", base)
    return pattern if pattern.startswith(("/", "**")) else f"{base}/{pattern}"


def _matches(path: Path, pattern: str) -> bool:
    """Whether a path matches a glob pattern. A pattern that may take for ever matches nothing."""
    if len(pattern) > _MAX_PATTERN or pattern.count("*") > _MAX_STARS or pattern.count("(") > 3:
        return False
    try:
        patterns = bracex.expand(pattern, limit=_MAX_BRACES)
        return any(glob.globmatch(str(path), each, flags=_FLAGS) for each in patterns)
    except (bracex.ExpansionLimitException, ValueError, RecursionError, re.error):
        return False


def _agrees(expression: str, path: Path) -> bool:
    """Whether a path has the words for tests that are in a regular expression."""
    name_part = expression.rsplit("/", 1)[-1]
    words = [word for word in ("spec", "test") if word in name_part]
    folders = [name for name in ("__tests__", "test", "tests") if f"{name}/" in expression]
    has_word = not words or any(
        f".{word}." in path.name or f"-{word}." in path.name for word in words
    )
    return has_word and (not folders or "|" in expression or bool({*folders} & {*path.parts}))
