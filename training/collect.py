"""Find source code under permissive licences: half of it Python, half other languages.

- Python comes from the standard library of the running interpreter and from packages.
- JavaScript and TypeScript come from npm packages.
- Go, Rust, Java, C and C++ come from source packages of Debian.

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

LISTS = Path(__file__).parent / "lists"
"""Folder with the lists of packages and their licences."""

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|Zlib|CC0|BlueOak|"
    r"BSL-1\.0|PostgreSQL|curl|libpng|blessing)\b",
    re.IGNORECASE,
)
RESTRICTIVE = re.compile(r"\b(L?GPL|AGPL|MPL|EPL|CDDL|Proprietary|Commercial)", re.IGNORECASE)

HELD_OUT = frozenset(
    {"click", "jinja2", "networkx", "starlette", "cachetools", "httpx2", "marked", "commander"}
    | {"zod", "rxjs"}
    | {"golang-github-spf13-cobra-dev", "golang-github-gin-gonic-gin-dev"}
    | {"librust-clap-dev", "librust-serde-json-dev"}
    | {"libcommons-lang3-java", "jsoup"}
)
"""Projects that no training step sees.

The split is by project because files of one project share code.
"""

LANGUAGES = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".tsx": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hpp": "cpp",
    ".hh": "cpp",
    ".hxx": "cpp",
    ".java": "java",
    ".sh": "shell",
    ".bash": "shell",
    ".sql": "sql",
    ".md": "markdown",
    ".html": "html",
    ".css": "css",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""The programming language for each file extension."""

_CPP_HEADER = re.compile(r"^\s*(class|namespace|template|using|constexpr|public:)\b", re.MULTILINE)
"""Pattern of a C++ header: C has none of these keywords."""

_DEBIAN_ROOTS = ("usr/share/gocode/src", "usr/share/cargo/registry")
"""Folders within a Debian package that contain the source code."""

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
        "third_party",
        "thirdparty",
        "3rdparty",
        "external",
        "compiled",
        "deps",
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
        """The programming language, by the file extension; for a header also by its content."""
        suffix = Path(self.path).suffix
        if suffix == ".h" and _CPP_HEADER.search(self.text):
            return "cpp"
        return LANGUAGES[suffix]


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


def find_projects(
    downloads: Path | None = None, *, has_installed: bool = True
) -> Iterator[SourceProject]:
    """Yield every project with a permissive licence; of several with one name the first.

    `downloads` is the folder that `training.sources.download` filled. With `has_installed`, the
    standard library and the packages of the running environment are read too.
    """
    seen = set[str]()
    for project in _all_projects(downloads, has_installed):
        if project.name not in seen and is_permissive(project.licence) and project.files:
            seen.add(project.name)
            yield project


def _all_projects(downloads: Path | None, has_installed: bool) -> Iterator[SourceProject]:
    if has_installed:
        yield _standard_library()
    if downloads and (python := [str(folder) for folder in (downloads / "python").glob("*")]):
        yield from _python_packages(python)
    if has_installed:
        yield from _python_packages(None)
    if downloads:
        yield from _node_packages(downloads / "node" / "node_modules")
        yield from _node_packages(downloads / "npm" / "x")
        yield from _debian_packages(downloads / "debian" / "tree")


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


def _debian_packages(root: Path) -> Iterator[SourceProject]:
    licences = debian_licences()
    for folder in sorted(root.glob("*")):
        inner = (match for pattern in _DEBIAN_ROOTS for match in folder.glob(pattern))
        start = next(inner, folder)
        files = (file for file in start.rglob("*") if not file.is_symlink())
        yield _project(folder.name, licences.get(folder.name, ""), files, start)


def debian_licences() -> dict[str, str]:
    """Return the licence of each Debian package of the recipe, as its copyright file names it."""
    lines = (LISTS / "debian.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split(maxsplit=1) for line in lines)
    return {pin.split("=")[0].removeprefix("src:"): licence for pin, licence in pins}


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
        if document := read_document(project.name, project.root, file):
            yield document


def read_document(project: str, root: Path, file: Path) -> CorpusDocument | None:
    """Read a UTF-8 file of a project with `\\n` as line end; return None if it is none."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return CorpusDocument(project, file.relative_to(root).as_posix(), text)
