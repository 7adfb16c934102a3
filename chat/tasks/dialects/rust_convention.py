"""Test conventions of Rust: the test module of a source file, its file, or `tests/`."""

from __future__ import annotations

import re
from pathlib import Path

from chat.tasks.conventions import Convention, find_example
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.config_files import parse_toml, table
from chat.tasks.dialects.layout import exists
from chat.tasks.dialects.rust import Cargo
from chat.tasks.dialects.rust_modules import Module, RustFile
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError

_ROOT_NAMES = frozenset({"lib.rs", "main.rs", "mod.rs", "build.rs"})
_FOLDERS_OF_ROOTS = frozenset({"bin", "tests", "examples", "benches"})
_USUAL_NAMES = ("tests", "test", "unit_tests")
_PUBLIC = re.compile(r"(?:#\[[^\n]*\n\s*)*pub\s")


def rust_convention(subject: Subject, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Rust file are written.

    They are in the test module next to the subject, in the file of this module, or in an existing
    integration test of the same name. Raises RequestError if the subject is a test itself.
    """
    source = subject.path
    code = RustFile(subject.text)
    around = code.module_around(subject.symbol.start)
    _check_testable(subject, code, around)
    others = [path for path in files.paths() if path.suffix == ".rs" and path != source]
    example = find_example(others, source, files, "#[test]")
    scope = tuple(module.name for module in around)
    modules = code.modules_of(scope)
    test_modules = [module for module in modules if module.is_for_tests]
    test_modules.sort(key=lambda module: module.name not in _USUAL_NAMES)
    if test_modules:
        chosen = test_modules[0]
        if chosen.body_start is None:
            test_file = _file_of(chosen, scope, source, files)
            example = _shown_text(test_file, files) or example
            return Convention("cargo", test_file, Cargo(), example)
        return Convention("cargo", source, Cargo((*scope, chosen.name)), example)
    integration = _integration_test(subject, scope, files)
    if integration is not None:
        test_file, own_import = integration
        return Convention(
            "cargo", test_file, Cargo(None, own_import), _shown_text(test_file, files)
        )
    taken = {module.name for module in modules}
    name = next(name for name in (*_USUAL_NAMES, "tests_of_module") if name not in taken)
    return Convention("cargo", source, Cargo((*scope, name)), example)


def _check_testable(subject: Subject, code: RustFile, around: list[Module]) -> None:
    is_test = code.is_test_function(subject.symbol.end - 1)
    if is_test or any(module.is_for_tests for module in around):
        raise RequestError(
            f"{subject.symbol.name} belongs to the tests. Put the cursor into the code that they "
            "test."
        )
    if subject.path.name == "build.rs":
        raise RequestError(
            "Cargo runs no tests in build.rs. Move the code into a module of the crate, and put "
            "the cursor there."
        )


def _file_of(module: Module, scope: tuple[str, ...], source: Path, files: WorkspaceFiles) -> Path:
    """Return the file of a module that is declared as `mod name;`, by the rules of Rust."""
    if module.path and not scope:
        return _normal(source.parent / module.path)
    is_root = source.name in _ROOT_NAMES or _is_crate_root(source, files)
    folder = (source.parent if is_root else source.with_suffix("")).joinpath(*scope)
    if module.path:
        return _normal(folder / module.path)
    inner = folder / module.name / "mod.rs"
    return inner if exists(inner, files) else folder / f"{module.name}.rs"


def _normal(path: Path) -> Path:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return Path(*parts)


def _is_crate_root(source: Path, files: WorkspaceFiles) -> bool:
    crate = _crate_of(source, files)
    if crate is None:
        return False
    folder, manifest = crate
    targets = [manifest.get("lib"), *(manifest.get(kind) for kind in ("bin", "test", "example"))]
    tables = [
        each for target in targets for each in (target if isinstance(target, list) else [target])
    ]
    named = {
        folder / str(each["path"]) for each in tables if isinstance(each, dict) and "path" in each
    }
    relative = source.parent.relative_to(folder).parts
    is_usual = relative[-1:] and relative[-1] in _FOLDERS_OF_ROOTS and len(relative) <= 2
    return source in named or bool(is_usual)


def _crate_of(source: Path, files: WorkspaceFiles) -> tuple[Path, dict[str, object]] | None:
    """Return the folder and the manifest of the crate of a file."""
    for folder in source.parents:
        text = files.read(folder / "Cargo.toml")
        if text is not None:
            return folder, parse_toml(text)
        if folder == files.root:
            break
    return None


def _integration_test(
    subject: Subject, scope: tuple[str, ...], files: WorkspaceFiles
) -> tuple[Path, str] | None:
    """Return the integration test of the source file, and the import of the subject there.

    None if there is no such test, or if other crates cannot use the subject.
    """
    crate = _crate_of(subject.path, files)
    if crate is None or scope:
        return None
    folder, manifest = crate
    name = table(manifest, "lib").get("name") or table(manifest, "package").get("name")
    library = folder / "src" / "lib.rs"
    modules = _public_modules(subject, library, files)
    if not isinstance(name, str) or modules is None:
        return None
    stem = modules[-1] if modules else name.replace("-", "_")
    for test_file in (folder / "tests" / f"{stem}.rs", folder / "tests" / f"{stem}_test.rs"):
        if "#[test]" in (files.read(test_file) or ""):
            path = "::".join([name.replace("-", "_"), *modules, subject.imported_name])
            return test_file, f"use {path};"
    return None


def _public_modules(subject: Subject, library: Path, files: WorkspaceFiles) -> list[str] | None:
    """Return the modules from the crate to the subject if all are public and the subject is."""
    type_name = re.escape(subject.imported_name)
    is_public_type = re.search(rf"\bpub (?:struct|enum|trait|fn) {type_name}\b", subject.text)
    if not (_PUBLIC.match(subject.symbol.text) and is_public_type):
        return None
    source = subject.path
    if source == library:
        return []
    if not source.is_relative_to(library.parent):
        return None
    relative = source.relative_to(library.parent).with_suffix("")
    modules = [part for part in relative.parts if part != "mod"]
    outer = library
    for index, module in enumerate(modules):
        text = files.read(outer) or ""
        if not re.search(rf"^\s*pub mod {re.escape(module)}\s*;", text, re.M):
            return None
        folder = library.parent.joinpath(*modules[: index + 1])
        outer = folder / "mod.rs" if exists(folder / "mod.rs", files) else folder.with_suffix(".rs")
    return modules


def _shown_text(file: Path, files: WorkspaceFiles) -> str:
    """Return the text of a file for the prompt; empty if no prompt may contain it."""
    return (files.read(file) or "") if files.may_show(file) else ""
