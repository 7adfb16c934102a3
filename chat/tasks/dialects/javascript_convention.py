"""Test conventions of JavaScript and TypeScript projects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from chat.tasks.conventions import Convention, Framework, find_example, sort_by_distance
from chat.tasks.target import WorkspaceFiles

_SUFFIXES = (".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts")
_TEST_NAME = re.compile(r"(.+)[.](test|spec)[.]\w+$")


def javascript_convention(source: Path, files: WorkspaceFiles) -> Convention:
    """Return how tests for a JavaScript or TypeScript file are written."""
    framework = _framework(source, files)
    tests = [
        path
        for path in files.paths()
        if path.suffix in _SUFFIXES and (_TEST_NAME.match(path.name) or "__tests__" in path.parts)
    ]
    required_text = {"node": "node:test", "vitest": "vitest"}.get(framework, "")
    example = find_example(tests, source, files, required_text)
    existing = [path for path in tests if path.name.split(".")[0] == source.stem]
    if existing:
        return Convention(framework, sort_by_distance(existing, source)[0], example)
    uses_spec = sum(".spec." in path.name for path in tests) > len(tests) / 2
    name = f"{source.stem}.{'spec' if uses_spec else 'test'}{source.suffix}"
    return Convention(framework, _test_folder(source, tests, files.root) / name, example)


def _framework(source: Path, files: WorkspaceFiles) -> Framework:
    """Return the framework that the nearest `package.json` names, else Node's test runner."""
    for folder in source.parents:
        text = files.read(folder / "package.json")
        if text is not None:
            return _framework_in_package(text)
        if folder == files.root:
            break
    return "node"


def _framework_in_package(text: str) -> Framework:
    try:
        package: dict[str, Any] = json.loads(text)
    except ValueError:
        package = {}
    dependencies = {**package.get("dependencies", {}), **package.get("devDependencies", {})}
    scripts = " ".join(map(str, package.get("scripts", {}).values()))
    frameworks: tuple[Framework, ...] = ("vitest", "jest")
    for name in frameworks:
        if name in dependencies or re.search(rf"\b{name}\b", scripts):
            return name
    return "node"


def _test_folder(source: Path, tests: list[Path], root: Path) -> Path:
    """Return the folder for a new test file: where the nearest tests are."""
    folders = {path.parent for path in sort_by_distance(tests, source)[:10]}
    if any(folder.name == "__tests__" for folder in folders):
        return source.parent / "__tests__"
    for name in ("test", "tests"):
        if root / name in folders or (not tests and (root / name).is_dir()):
            return root / name
    return source.parent
