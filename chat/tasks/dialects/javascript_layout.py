"""JavaScript and TypeScript source files and their tests, by names and imports."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from chat.tasks.dialects.base import Framework
from chat.tasks.dialects.config_files import as_words, parse_json, table
from chat.tasks.dialects.javascript_config import TestRunner, read_runner
from chat.tasks.dialects.javascript_imports import read_imports
from chat.tasks.dialects.layout import Imported, Layout
from chat.tasks.target import WorkspaceFiles

SUFFIXES = (".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts")
_TEST_NAME = re.compile(r"(?:(.+)[.\-_](?:test|spec)|test-(.+))")
_HELPERS = re.compile(r"(?:^|[.\-_])(?:setup|helpers?|utils?|mocks?|fixtures?)$", re.I)


class JavaScriptLayout(Layout):
    """The JavaScript and TypeScript files of a workspace."""

    project_files = frozenset({"package.json"})

    def __init__(
        self, source: Path, files: WorkspaceFiles, requested: Framework | None = None
    ) -> None:
        super().__init__(source, files)
        self.runner: TestRunner = read_runner(source, files, requested)
        self._configs: dict[Path, dict[str, Any]] = {}

    def is_test(self, path: Path) -> bool:
        if path.suffix not in SUFFIXES or path.name.endswith(".d.ts"):
            return False
        if _TEST_NAME.fullmatch(path.stem):
            return True
        if self.runner.patterns and self.runner.finds(path):
            return True
        return "__tests__" in self.parts_of(path) and not _HELPERS.search(path.stem)

    def is_source(self, path: Path) -> bool:
        is_config = path.stem.endswith(".config") or path.name.endswith(".d.ts")
        return path.suffix in SUFFIXES and not is_config

    def tested_stems(self, test: Path) -> tuple[str, ...]:
        match = _TEST_NAME.fullmatch(test.stem)
        if match:
            return (match[1] or match[2],)
        # `sum.js` in `__tests__`, or `sum.check.js` by the patterns of the project.
        return tuple(dict.fromkeys((test.stem, test.stem.rpartition(".")[0] or test.stem)))

    def stems_of(self, source: Path) -> tuple[str, ...]:
        folder = source.parent.name
        if source.stem == "index":
            return ("index", folder)
        return (source.stem,)

    def read_imports(self, test: Path) -> Imported:
        modules = read_imports(self.files.read(test) or "", "typescriptreact").modules
        paths = [path for module in modules for path in self._paths_of(module, test)]
        imported = {self._file_at(path) for path in paths}
        packages = {path.parent for path in imported if path and path.stem == "index"}
        stems = {path.name for path in paths} | {Path(path.name).stem for path in paths}
        return Imported(
            frozenset(path for path in imported if path), frozenset(packages), frozenset(stems)
        )

    def _paths_of(self, module: str, importer: Path) -> list[Path]:
        """Return the paths, perhaps without suffix, that an import may mean."""
        if module.startswith("."):
            return [Path(os.path.normpath(importer.parent / module))]
        paths = []
        for folder in (self.project_of(importer), self.files.root):
            options = table(self._config(folder), "compilerOptions")
            base_words = as_words(options.get("baseUrl"))
            base = Path(os.path.normpath(folder / (base_words[0] if base_words else ".")))
            for pattern, targets in table(options, "paths").items():
                prefix, _, suffix = pattern.partition("*")
                is_match = module.startswith(prefix) and module.endswith(suffix)
                if is_match and ("*" in pattern or module == pattern):
                    inner = module[len(prefix) : len(module) - len(suffix)]
                    paths += [base / target.replace("*", inner) for target in as_words(targets)]
            paths += [base / module] if base_words else []
            if module[:1] in "@~#" and "/" in module:
                paths += [folder / "src" / module.split("/", 1)[1]]
        return [Path(os.path.normpath(path)) for path in paths]

    def _config(self, folder: Path) -> dict[str, Any]:
        if folder not in self._configs:
            names = ("tsconfig.json", "jsconfig.json")
            texts = (self.files.read(folder / name) for name in names)
            text = next((text for text in texts if text is not None), None)
            self._configs[folder] = parse_json(text)
        return self._configs[folder]

    def needs_import_suffix(self) -> bool:
        """Whether the compiler options ask for the suffix `.js` in imports of ES modules."""
        options = table(self._config(self.project), "compilerOptions")
        names = [*as_words(options.get("module")), *as_words(options.get("moduleResolution"))]
        is_node = any(re.fullmatch("node(16|18|20|next)", name.lower()) for name in names)
        return is_node and self.runner.is_es_package

    def _file_at(self, path: Path) -> Path | None:
        """Return the source file that an import path means, None if it is no file here."""
        without_suffix = path.with_suffix("") if path.suffix in SUFFIXES else path
        for start in dict.fromkeys((path, without_suffix)):
            candidates = [start, *(start.with_name(start.name + suffix) for suffix in SUFFIXES)]
            candidates += [start / f"index{suffix}" for suffix in SUFFIXES]
            for candidate in candidates:
                if candidate in self.known_files:
                    return candidate
        return None
