"""Collect permissively licensed Python that is on the machine anyway.

Sources are the standard library and the packages installed for the running interpreter whose
metadata names a permissive licence. Nothing is downloaded.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|Zlib|CC0)\b",
    re.IGNORECASE,
)
RESTRICTIVE = re.compile(r"\b(L?GPL|AGPL|MPL|EPL|CDDL|Proprietary|Commercial)", re.IGNORECASE)

HELD_OUT = frozenset({"click", "jinja2", "networkx", "starlette", "cachetools", "httpx2"})
"""Projects that no training step sees. The split is by project: files of one project share code."""

_SKIPPED_PARTS = frozenset(
    {"test", "tests", "testing", "idlelib", "lib2to3", "site-packages", "_vendor", "vendor",
     "vendored", "_vendored", "lib-tk", "turtledemo", "__pycache__"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """One source file."""

    project: str
    """Normalised name of the package, or `python` for the standard library."""
    path: str
    """Path within the project, with forward slashes."""
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A project and where its files are."""

    project: str
    licence: str
    files: tuple[Path, ...]
    root: Path


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


def sources() -> Iterator[Source]:
    """Yield the standard library and every installed project with a permissive licence."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    yield Source("python", "PSF-2.0", tuple(_wanted(stdlib.rglob("*.py"), stdlib)), stdlib)
    seen = set()
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"].lower().replace("_", "-")
        licence = licence_of(distribution)
        if name in seen or not is_permissive(licence):
            continue
        seen.add(name)
        root = Path(str(distribution.locate_file("")))
        listed = (root / file for file in distribution.files or () if file.suffix == ".py")
        files = tuple(_wanted(listed, root))
        if files:
            yield Source(name, licence, files, root)


def _wanted(files: Iterator[Path], root: Path) -> Iterator[Path]:
    for file in files:
        if root in file.parents and not _SKIPPED_PARTS.intersection(file.relative_to(root).parts):
            yield file


def documents(source: Source) -> Iterator[Document]:
    """Yield the readable UTF-8 files of a source, line ends as `\\n`."""
    for file in sorted(source.files):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        yield Document(source.project, file.relative_to(source.root).as_posix(), text)
