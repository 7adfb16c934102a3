"""Test conventions of Go: which test file of a package, inside or outside of the package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from chat.tasks.conventions import Convention, find_example
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.go import Go
from chat.tasks.dialects.go_code import (
    GoPackage,
    build_constraint,
    declared_names,
    imports_of,
    package_of,
)
from chat.tasks.dialects.layout import exists
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError

_MODULE = re.compile(r"^\s*module\s*\(?\s*[\"`]?([^\s\"`()/][^\s\"`()]*)", re.M)
_REQUIRED = re.compile(r"^\s*(?:require\s+)?([\w.\-~/]+\.[\w.\-~/]+)\s+v\d", re.M)
_MAX_SUFFIXES = 9


@dataclass(frozen=True, slots=True)
class _TestFile:
    path: Path
    package: str
    """The package that it declares, or will declare."""


def go_convention(subject: Subject, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Go file are written: in `*_test.go` next to it.

    The tests are in the package of the file, or outside of it (`package x_test`) if the existing
    tests are and the subject is exported. Raises RequestError if no test can call the subject.
    """
    source = subject.path
    _check_callable(subject)
    neighbours = [
        path
        for path in files.paths()
        if path.parent == source.parent and path.suffix == ".go" and path != source
    ]
    texts = {path: files.read(path) or "" for path in neighbours}
    package = package_of(subject.text) or "main"
    module, requirements = _go_module(source, files)
    import_path = _import_path(source, module, package, texts)
    test_file = _choose(subject, package, texts, import_path is not None, files)
    codes = [subject.text, *(text for path, text in texts.items() if not _is_test(path))]
    taken = {
        name
        for path, text in texts.items()
        if path != test_file.path
        and package_of(text) == test_file.package
        and (_is_test(path) or test_file.package == package)
        for name in declared_names(text)
    }
    if test_file.package == package:
        taken |= declared_names(subject.text)
    own = GoPackage(
        name=package,
        import_path=import_path or "",
        is_outside=test_file.package != package,
        declared=frozenset(name for code in codes for name in declared_names(code)),
    )
    tests = [path for path in files.paths() if _is_test(path)]
    example = find_example([test_file.path, *tests], source, files, "func Test")
    dialect = Go(test_file.package, own, frozenset(taken), tuple(requirements))
    return Convention("go", test_file.path, dialect, example)


def _is_test(path: Path) -> bool:
    return path.name.endswith("_test.go")


def _check_callable(subject: Subject) -> None:
    if _is_test(subject.path):
        raise RequestError(
            f"{subject.path.name} contains tests. Put the cursor into the code that they test."
        )
    if not subject.class_name and subject.symbol.name in ("init", "_"):
        raise RequestError(
            "Go calls init itself, so a test cannot call it. Put the cursor into a function that "
            "init calls."
        )


def _choose(
    subject: Subject,
    package: str,
    neighbours: dict[Path, str],
    has_import_path: bool,
    files: WorkspaceFiles,
) -> _TestFile:
    """Return the test file: the one named after the source file, if the tests compile there."""
    source = subject.path
    names = [name for name in (subject.symbol.name, subject.class_name) if name]
    can_be_outside = has_import_path and all(name[0].isupper() for name in names)
    constraint = build_constraint(subject.text)
    stems = [source.stem, f"{source.stem}_internal"]
    stems += [f"{source.stem}_{number}" for number in range(2, _MAX_SUFFIXES)]
    paths = [source.with_name(f"{stem}_test.go") for stem in stems]
    for path in paths:
        text = neighbours.get(path)
        if text is None and not exists(path, files):
            others = [package_of(text) for test, text in neighbours.items() if _is_test(test)]
            is_outside = others.count(f"{package}_test") > len(others) / 2
            is_usual = path == paths[0] and can_be_outside and is_outside
            return _TestFile(path, f"{package}_test" if is_usual else package)
        own_package = package_of(text or "")
        fits = own_package == package or (own_package == f"{package}_test" and can_be_outside)
        if fits and build_constraint(text or "") == constraint:
            return _TestFile(path, own_package)
        if text is not None and not text.strip():
            return _TestFile(path, package)
    raise RequestError(f"{paths[0].name} and similar files exist, but belong to other packages.")


def _go_module(source: Path, files: WorkspaceFiles) -> tuple[tuple[Path, str] | None, list[str]]:
    """Return the folder and the path of the module of a file, and the modules that it requires."""
    for folder in source.parents:
        text = files.read(folder / "go.mod")
        if text is not None:
            match = _MODULE.search(re.sub(r"//.*", "", text))
            return (folder, match[1]) if match else None, _REQUIRED.findall(text)
        if folder == files.root:
            break
    return None, []


def _import_path(
    source: Path, module: tuple[Path, str] | None, package: str, neighbours: dict[Path, str]
) -> str | None:
    """Return the path by which other packages import the package of a file, None if unknown."""
    if module is not None:
        return "/".join((module[1], *source.parent.relative_to(module[0]).parts))
    for path, text in neighbours.items():
        if package_of(text) == f"{package}_test" and _is_test(path):
            for imported in imports_of(text):
                if imported.path.rsplit("/", 1)[-1] in (package, source.parent.name):
                    return imported.path
    return None
