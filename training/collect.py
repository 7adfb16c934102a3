"""Collect permissively licensed source: Python first, some of other languages.

Python comes from the standard library of the running interpreter and from packages, JavaScript and
TypeScript from npm packages, each where its metadata names a permissive licence and no other; Go,
Rust and C from the source packages of a Linux distribution, where they are installed.
`training.sources` downloads the packages that the recipe names.
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
"""Projects that no training step sees. The split is by project: files of one project share code."""

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
"""Languages by the end of a file's name."""

TREES = (
    ("go", "BSD-3-Clause", "/usr/share", "go-*/src"),
    ("rust", "MIT OR Apache-2.0", "/usr/src", "rustc-*/library"),
    ("stb", "MIT OR Unlicense", "/usr/include", "stb"),
)
"""Name, licence and place of source that Debian's golang-src, rust-src and libstb-dev install."""

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
_NO_SOURCE = (".min.js", ".d.ts", ".d.mts", ".bundle.js", ".min.css", "package-lock.json")


@dataclass(frozen=True, slots=True)
class Document:
    """One source file."""

    project: str
    """Normalised name of the package, or `python` for the standard library."""
    path: str
    """Path within the project, with forward slashes."""
    text: str

    @property
    def language(self) -> str:
        """The language, by the end of the name."""
        return LANGUAGES[Path(self.path).suffix]


@dataclass(frozen=True, slots=True)
class Source:
    """A project and where its files are."""

    project: str
    licence: str
    files: tuple[Path, ...]
    root: Path
    tests: tuple[Path, ...] = ()
    """Its Python tests, which only the dialogues use."""
    notebooks: tuple[Path, ...] = ()


def licence_of(distribution: metadata.Distribution) -> str:
    """Return the licence as the metadata names it, on one line, empty if it does not."""
    fields = distribution.metadata
    named = [str(value) for value in fields.get_all("License-Expression") or ()]
    named += [
        str(value).rsplit("::", 1)[-1].strip()
        for value in fields.get_all("Classifier") or ()
        if str(value).startswith("License ::")
    ]
    # The old free-text field sometimes holds the whole licence: its first line names it.
    named += [
        str(value).strip().splitlines()[0]
        for value in fields.get_all("License") or ()
        if str(value).strip()
    ]
    return named[0] if named else ""


def is_permissive(licence: str) -> bool:
    """Whether a licence's name is of the permissive kind, and only of it."""
    return bool(PERMISSIVE.search(licence)) and not RESTRICTIVE.search(licence)


def sources(downloads: Path | None = None) -> Iterator[Source]:
    """Yield every project with a permissive licence: each once, the first that is found.

    `downloads` is what `training.sources.download` filled; the standard library, the running
    environment's packages and the distribution's source trees are read in any case.
    """
    seen = set[str]()
    python = (downloads / "python").iterdir() if downloads else ()
    node = downloads / "node" / "node_modules" if downloads else None
    found = [_standard_library(), *_python_packages([*map(str, python)] or None), *_trees()]
    for source in [*found, *_python_packages(None), *(_node_packages(node) if node else ())]:
        if source.project not in seen and is_permissive(source.licence) and source.files:
            seen.add(source.project)
            yield source


def _standard_library() -> Source:
    root = Path(sysconfig.get_path("stdlib"))
    files = [file for file in root.rglob("*.py") if "test" not in file.relative_to(root).parts]
    return _source("python", "PSF-2.0", files, root)


def _python_packages(folders: list[str] | None) -> Iterator[Source]:
    for distribution in metadata.distributions(path=sorted(folders) if folders else sys.path):
        name = distribution.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        root = Path(str(distribution.locate_file("")))
        listed = (root / str(file) for file in distribution.files or ())
        yield _source(name, licence_of(distribution), listed, root)


def _node_packages(root: Path) -> Iterator[Source]:
    for manifest in sorted([*root.glob("*/package.json"), *root.glob("@*/*/package.json")]):
        fields = json.loads(manifest.read_text(encoding="utf-8"))
        folder = manifest.parent
        licence = fields.get("license", "")
        named = licence if isinstance(licence, str) else str(licence.get("type", ""))
        yield _source(str(fields.get("name", folder.name)), named, folder.rglob("*"), folder)


def _trees() -> Iterator[Source]:
    for name, licence, parent, pattern in TREES:
        for root in sorted(Path(parent).glob(pattern))[-1:]:
            yield _source(name, licence, root.rglob("*"), root)


def _source(name: str, licence: str, files: Iterable[Path], root: Path) -> Source:
    wanted, tests, notebooks = list[Path](), list[Path](), list[Path]()
    for file in sorted(files):
        if file.suffix == ".ipynb":
            notebooks.append(file)
        if root not in file.parents or file.suffix not in LANGUAGES:
            continue
        inner = file.relative_to(root)
        if _TEST_FILE.search(inner.as_posix()):
            tests.append(file)
        elif not _SKIPPED_PARTS.intersection(inner.parts) and not file.name.endswith(_NO_SOURCE):
            wanted.append(file)
    return Source(name, licence, tuple(wanted), root, tuple(tests), tuple(notebooks))


def documents(source: Source, files: Iterable[Path] | None = None) -> Iterator[Document]:
    """Yield the readable UTF-8 files of a source, line ends as `\\n`; its tests if asked for."""
    for file in source.files if files is None else files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        yield Document(source.project, file.relative_to(source.root).as_posix(), text)
