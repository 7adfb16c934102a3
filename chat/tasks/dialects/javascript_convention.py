"""Test conventions of JavaScript and TypeScript projects."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import bracex

from chat.tasks.conventions import Convention, find_example
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.javascript import JavaScript
from chat.tasks.dialects.javascript_config import read_runner
from chat.tasks.dialects.javascript_exports import Export, find_export, has_module_syntax
from chat.tasks.dialects.javascript_imports import ModuleImport, Style, read_imports
from chat.tasks.dialects.javascript_layout import JavaScriptLayout
from chat.tasks.dialects.layout import exists
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError

_TEST_CODE = re.compile(r"^\s*(?:describe|it|test)(?:\.\w+)*\(", re.M)
"""What a test file has, and what a module with a name such as `ab-test.ts` has not."""
_TYPESCRIPT = (".ts", ".tsx", ".mts", ".cts")
_PLAIN = {".mjs": ".js", ".cjs": ".js", ".mts": ".ts", ".cts": ".ts"}
"""The suffixes whose tests Jest finds by default, in place of those that it does not find."""
_COMPILED = {".ts": ".js", ".tsx": ".js", ".mts": ".mjs", ".cts": ".cjs"}
_LOADERS = re.compile(r"\b(tsx|ts-node|swc|esbuild|esbuild-register|babel)\b")


def javascript_convention(subject: Subject, files: WorkspaceFiles) -> Convention:
    """Return how tests for a JavaScript or TypeScript file are written.

    Raises RequestError if the file is a test, or if a test cannot import the subject.
    """
    layout = JavaScriptLayout(subject.path, files, subject.framework)
    has_usual_name = subject.path.stem.endswith((".test", ".spec"))
    if layout.is_test(subject.path) and (has_usual_name or _TEST_CODE.search(subject.text)):
        raise RequestError(
            f"{subject.path.name} contains tests. Put the cursor into the code that they test."
        )
    export = _export_of(subject)
    framework = layout.runner.framework
    # A file cannot be run by two frameworks.
    is_usual = subject.framework is None or framework == read_runner(subject.path, files).framework
    own_tests = layout.own_tests() if is_usual else []
    new = (path for path in _new_test_files(layout) if is_usual or not exists(path, files))
    test_file = own_tests[0] if own_tests else next(new)
    required_text = {"node": "node:test", "vitest": "vitest"}.get(framework, "")
    tests = list(dict.fromkeys([*own_tests, *layout.tests]))
    example = find_example(tests, subject.path, files, required_text)
    style = _style(subject, test_file, layout)
    module = _module(subject, test_file, layout, example)
    names = {"node": "node:test", "vitest": "vitest"}
    runner_module = names.get(framework, "")
    if framework == "jest" and "@jest/globals" in example:
        runner_module = "@jest/globals"
    title = {"node": "node:test"}.get(framework, framework)
    own_import = _import_of(subject, export, module, style, uses_assignment=framework == "jest")
    dialect = JavaScript(title, runner_module, own_import, style)
    return Convention(framework, test_file, dialect, example, _note(subject, title))


def _note(subject: Subject, framework: str) -> str:
    """Return a sentence if the user asks for another framework than the package has."""
    requested = subject.framework
    if requested not in ("jest", "vitest") or requested == framework:
        return ""
    return f"This package does not depend on {requested}, so the tests use {framework}."


def _export_of(subject: Subject) -> Export:
    """Return how the subject is exported; raises RequestError if a test cannot use it."""
    name, file = subject.symbol.name, subject.path.name
    if file.endswith((".d.ts", ".d.mts", ".d.cts")):
        raise RequestError(f"{file} contains only declarations, so there is nothing to test.")
    before_name = subject.symbol.text.partition(name)[0]
    if name.startswith("#") or re.search(r"\b(private|protected)\b", before_name):
        raise RequestError(
            f"{name} is private, so a test cannot call it. Put the cursor into a public method "
            "that calls it."
        )
    exported = find_export(subject.text, subject.language, subject.imported_name)
    if exported is None:
        raise RequestError(
            f"{file} does not export {subject.imported_name}, so a test cannot import it. Export "
            "it, or put the cursor into an exported function that calls it."
        )
    return exported


def _import_of(
    subject: Subject, export: Export, module: str, style: Style, *, uses_assignment: bool
) -> ModuleImport:
    """Return the import of the subject in the form in which it is exported."""
    name = subject.imported_name
    if export.form == "named":
        return ModuleImport(module, ((export.name, name),))
    is_whole = export.form.endswith("whole module")
    is_assigned = is_whole and not export.is_commonjs and uses_assignment
    if export.form in ("in default", "in whole module"):
        inner = ((export.name, name),)
        return ModuleImport(module, inner, f"{name}Module", export.name, is_assigned)
    if style == "require" and not is_whole:
        return ModuleImport(module, (("default", name),))
    return ModuleImport(module, whole=name, is_assigned=is_assigned)


def _style(subject: Subject, test_file: Path, layout: JavaScriptLayout) -> Style:
    """Return how the test file imports: by its own imports, its suffix, then the package."""
    existing = read_imports(layout.files.read(test_file) or "", "typescriptreact").style
    if existing is not None:
        return existing
    if test_file.suffix == ".cjs":
        return "require"
    if test_file.suffix in (*_TYPESCRIPT, ".mjs") or layout.runner.framework == "vitest":
        return "import"
    is_module = has_module_syntax(subject.text, subject.language) or subject.path.suffix == ".mjs"
    return "import" if is_module or layout.runner.is_es_package else "require"


def _module(subject: Subject, test_file: Path, layout: JavaScriptLayout, example: str) -> str:
    """Return the relative name by which the test file imports the source file."""
    path = PurePath(os.path.relpath(subject.path, test_file.parent)).as_posix()
    path = path if path.startswith(".") else f"./{path}"
    stem, suffix = os.path.splitext(path)
    if suffix not in _COMPILED:
        return path  # ES modules must be imported with their suffix
    modules = [*_modules_of(subject.text), *_modules_of(example)]
    local = [module for module in modules if module.startswith(".")]
    if any(module.endswith(_TYPESCRIPT) for module in local) or _runs_sources(layout):
        return path
    is_compiled_name = any(module.endswith((".js", ".mjs", ".cjs")) for module in local)
    if is_compiled_name or suffix in (".mts", ".cts") or layout.needs_import_suffix():
        return f"{stem}{_COMPILED[suffix]}"
    return stem


def _modules_of(text: str) -> tuple[str, ...]:
    return read_imports(text, "typescriptreact").modules


def _runs_sources(layout: JavaScriptLayout) -> bool:
    """Whether Node runs the TypeScript files itself, which needs their own suffix in imports."""
    is_node = layout.runner.framework == "node"
    return is_node and not _LOADERS.search(str(layout.runner.package))


def _new_test_files(layout: JavaScriptLayout) -> Iterator[Path]:
    """Yield paths of new test files, the best first, without files of other tests.

    Paths that the test runner does not find come last.
    """
    folders = list(dict.fromkeys(_folders(layout)))
    candidates = [
        *(folder / name for folder in folders for name in _names(layout, folder)),
        *(folder / name for folder in folders for name in _other_names(layout)),
    ]
    for path in sorted(candidates, key=lambda path: not layout.runner.finds(path)):
        if layout.is_free(path):
            yield path
    number = 2
    while True:
        path = candidates[0].with_name(f"{layout.source.stem}-{number}.test{layout.source.suffix}")
        if layout.is_free(path):
            yield path
        number += 1


def _folders(layout: JavaScriptLayout) -> Iterator[Path]:
    source, project = layout.source, layout.project
    for folder in layout.test_folders(own=True):
        yield folder
        if not folder.is_relative_to(source.parent) and source.parent != project:
            yield folder / source.parent.name  # if a file of the other folder has other tests
    if not any(layout.project_of(test) == project for test in layout.tests):
        yield from layout.test_folders(own=False)
        for name in ("test", "tests", "__tests__"):
            if (project / name).is_dir():
                yield project / name
    yield source.parent
    yield source.parent / "__tests__"
    yield from (project / name for name in ("test", "tests", "__tests__"))
    yield from layout.runner.roots
    yield from layout.runner.pattern_folders()


def _names(layout: JavaScriptLayout, folder: Path) -> list[str]:
    """Return the names for a new test file in the form that most tests have."""
    forms = ["{}.test", "{}.spec", "{}-test", "{}_test", "test-{}", "{}"]
    counts = [sum(_has_form(test, form) for test in layout.tests) for form in forms]
    best = forms[counts.index(max(counts))]
    if best == "{}" and folder.name != "__tests__":
        best = forms[0]
    return [best.format(stem) + _suffix(layout) for stem in layout.stems_of(layout.source)]


def _other_names(layout: JavaScriptLayout) -> Iterator[str]:
    """Yield other names for a new test file, also those that the test runner is configured for."""
    for stem in layout.stems_of(layout.source):
        for form in ("{}.test", "{}.spec"):
            yield form.format(stem) + _suffix(layout)
        for pattern in layout.runner.patterns:
            yield from _names_by_pattern(pattern, stem, _suffix(layout))


def _suffix(layout: JavaScriptLayout) -> str:
    suffix = layout.source.suffix
    if layout.runner.framework == "jest" and not any(t.suffix == suffix for t in layout.tests):
        return _PLAIN.get(suffix, suffix)
    return suffix


def _has_form(test: Path, form: str) -> bool:
    before, after = form.split("{}")
    if form == "{}":
        return "__tests__" in test.parts and "." not in test.stem
    return test.stem.startswith(before) and test.stem.endswith(after)


def _names_by_pattern(pattern: str, stem: str, suffix: str) -> Iterator[str]:
    """Yield the names for a stem that a glob pattern such as `*.check.{js,ts}` allows."""
    last = pattern.rsplit("/", 1)[-1]
    try:
        names = bracex.expand(last, limit=20)
    except (bracex.ExpansionLimitException, ValueError):
        return
    for name in names:
        filled = re.sub(
            r"\.\?\([cm|]*\)\[[jt]*\]s(\?\(x\))?$|\.\[[jt]*\]s(\?\(x\))?$", suffix, name
        )
        filled = filled.replace("*", stem, 1)
        if not re.search(r"[*?\[\](){}!+@|]", filled):
            yield filled
