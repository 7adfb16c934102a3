"""Find source code under permissive licences: mostly Python, and some other languages.

- Python comes from the standard library of the running interpreter and from packages.
- JavaScript and TypeScript come from npm packages.
- Go, Rust and C come from source packages of a Linux distribution, if they are installed.

A project is used only if its metadata names a permissive licence and no other. `training.sources`
downloads the packages that the recipe names.
"""

from __future__ import annotations

import json
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|Zlib|CC0|BlueOak)\b",
    re.IGNORECASE,
)
RESTRICTIVE = re.compile(r"\b(L?GPL|AGPL|MPL|EPL|CDDL|Proprietary|Commercial)", re.IGNORECASE)

HELD_OUT = frozenset(
    {"click", "jinja2", "networkx", "starlette", "cachetools", "httpx2", "marked", "commander"}
)
"""Projects that no training step sees.

The split is by project because files of one project share code.
"""

LANGUAGES = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "c",
    ".sh": "shell",
    ".md": "markdown",
    ".html": "html",
    ".css": "css",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""The programming language for each file extension."""

SOURCE_TREES = (
    ("go", "BSD-3-Clause", "/usr/share", "go-*/src"),
    ("rust", "MIT OR Apache-2.0", "/usr/src", "rustc-*/library"),
    ("stb", "MIT OR Unlicense", "/usr/include", "stb"),
)
"""Source trees of Debian's golang-src, rust-src and libstb-dev.

Each has a project name, a licence, a parent folder and a glob pattern within it.
"""

_SKIPPED_PARTS = frozenset(
    {
        "test",
        "tests",
        "testing",
        "testdata",
        "__tests__",
        "idlelib",
        "lib2to3",
        "site-packages",
        "_vendor",
        "vendor",
        "vendored",
        "_vendored",
        "lib-tk",
        "turtledemo",
        "__pycache__",
        "node_modules",
        "stdarch",
        "umd",
        "locale",
        "locales",
    }
)
_TEST_FILE = re.compile(r"(^|/)(test_[^/]*|conftest)\.py$|_test\.(go|py)$|\.(test|spec)\.[jt]sx?$")
_NON_SOURCE_SUFFIXES = (".min.js", ".d.ts", ".d.mts", ".bundle.js", ".min.css", "package-lock.json")


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    """One source file."""

    project: str
    """Normalised name of the package, or `python` for the standard library."""
    path: str
    """Path within the project, with forward slashes."""
    text: str
    """Content of the file."""

    @property
    def language(self) -> str:
        """The programming language, derived from the file extension."""
        return LANGUAGES[Path(self.path).suffix]


@dataclass(frozen=True, slots=True)
class SourceProject:
    """A project and the paths of its files."""

    name: str
    """Normalised name of the package, or `python` for the standard library."""
    licence: str
    """Licence as the project's metadata names it; empty if it names none."""
    files: tuple[Path, ...]
    """Source files without tests and vendored copies."""
    root: Path
    """Folder that the paths of documents are relative to."""
    tests: tuple[Path, ...] = ()
    """The project's tests, which only the mined dialogues use."""
    notebooks: tuple[Path, ...] = ()
    """Jupyter notebooks of the project."""


def read_licence(distribution: metadata.Distribution) -> str:
    """Return the licence that the metadata names, on one line; empty if it names none."""
    fields = distribution.metadata
    names = [str(value) for value in fields.get_all("License-Expression") or ()]
    names += [
        str(value).rsplit("::", 1)[-1].strip()
        for value in fields.get_all("Classifier") or ()
        if str(value).startswith("License ::")
    ]
    # The old free-text field sometimes contains the whole licence: its first line is the name.
    names += [
        str(value).strip().splitlines()[0]
        for value in fields.get_all("License") or ()
        if str(value).strip()
    ]
    return names[0] if names else ""


def is_permissive(licence: str) -> bool:
    """Whether the name of a licence is a permissive one and names no restrictive one."""
    return bool(PERMISSIVE.search(licence)) and not RESTRICTIVE.search(licence)


def find_projects(downloads: Path | None = None) -> Iterator[SourceProject]:
    """Yield every project with a permissive licence; of several with one name the first.

    `downloads` is the folder that `training.sources.download` filled. The standard library, the
    packages of the running environment and the distribution's source trees are always read.
    """
    seen = set[str]()
    python = (downloads / "python").iterdir() if downloads else ()
    node = downloads / "node" / "node_modules" if downloads else None
    projects = [_standard_library(), *_python_packages([*map(str, python)] or None), *_trees()]
    for project in [*projects, *_python_packages(None), *(_node_packages(node) if node else ())]:
        if project.name not in seen and is_permissive(project.licence) and project.files:
            seen.add(project.name)
            yield project


def _standard_library() -> SourceProject:
    root = Path(sysconfig.get_path("stdlib"))
    files = [file for file in root.rglob("*.py") if "test" not in file.relative_to(root).parts]
    return _project("python", "PSF-2.0", files, root)


def _python_packages(folders: list[str] | None) -> Iterator[SourceProject]:
    for distribution in metadata.distributions(path=sorted(folders) if folders else sys.path):
        name = distribution.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        root = Path(str(distribution.locate_file("")))
        files = (root / str(file) for file in distribution.files or ())
        yield _project(name, read_licence(distribution), files, root)


def _node_packages(root: Path) -> Iterator[SourceProject]:
    for manifest in sorted([*root.glob("*/package.json"), *root.glob("@*/*/package.json")]):
        fields = json.loads(manifest.read_text(encoding="utf-8"))
        folder = manifest.parent
        licence = fields.get("license", "")
        name = licence if isinstance(licence, str) else str(licence.get("type", ""))
        yield _project(str(fields.get("name", folder.name)), name, folder.rglob("*"), folder)


def _trees() -> Iterator[SourceProject]:
    for name, licence, parent, pattern in SOURCE_TREES:
        for root in sorted(Path(parent).glob(pattern))[-1:]:
            yield _project(name, licence, root.rglob("*"), root)


def _project(name: str, licence: str, files: Iterable[Path], root: Path) -> SourceProject:
    """Sort the files of a project into source files, tests and notebooks."""
    sources, tests, notebooks = list[Path](), list[Path](), list[Path]()
    for file in sorted(files):
        if file.suffix == ".ipynb":
            notebooks.append(file)
        if root not in file.parents or file.suffix not in LANGUAGES:
            continue
        path = file.relative_to(root)
        if _TEST_FILE.search(path.as_posix()):
            tests.append(file)
        elif not _SKIPPED_PARTS.intersection(path.parts) and not file.name.endswith(
            _NON_SOURCE_SUFFIXES
        ):
            sources.append(file)
    return SourceProject(name, licence, tuple(sources), root, tuple(tests), tuple(notebooks))


def read_documents(
    project: SourceProject, files: Iterable[Path] | None = None
) -> Iterator[CorpusDocument]:
    """Yield the UTF-8 files of a project with `\\n` as line end; others are skipped.

    `files` may name other files of the project, such as its tests.
    """
    for file in project.files if files is None else files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        yield CorpusDocument(project.name, file.relative_to(project.root).as_posix(), text)
