"""Libraries that Maven and Gradle have downloaded before."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from workspace.files import read_bytes

_NAME = re.compile(r"\w[\w.+-]*")
_MAX_BYTES = 2_000_000
_MAX_POMS = 600
_NUMBER = re.compile(r"\d+|[a-zA-Z]+")


@dataclass(frozen=True, slots=True)
class Library:
    """The coordinates of a library."""

    group: str
    name: str
    version: str
    classifier: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.group, self.name, self.version) if part)

    @property
    def is_valid(self) -> bool:
        """Whether the coordinates can be parts of a path that does not leave its folder."""
        parts = (self.group, self.name, self.version, self.classifier or "none")
        return all(_NAME.fullmatch(part) for part in parts)

    def file_name(self, suffix: str) -> str:
        """Return the name of the library's file, for `.jar` or `.pom`."""
        classifier = f"-{self.classifier}" if self.classifier and suffix == ".jar" else ""
        return f"{self.name}-{self.version}{classifier}{suffix}"


class Repositories:
    """The folders in which libraries are searched, the first ones first."""

    def __init__(self, maven: Sequence[Path], gradle: Sequence[Path] = ()) -> None:
        self._maven, self._gradle = tuple(maven), tuple(gradle)
        self._num_read = 0

    def __str__(self) -> str:
        return " or ".join(map(str, (*self._gradle, *self._maven)))

    def jar(self, library: Library) -> Path | None:
        """Return the file of a library, None if it is not there."""
        return self._file(library, ".jar")

    def pom(self, library: Library) -> str:
        """Return the description of a library, empty if it is not there."""
        path = self._file(library, ".pom")
        self._num_read += 1
        if path is None or self._num_read > _MAX_POMS:
            return ""
        try:
            return read_bytes(path, _MAX_BYTES).decode("utf-8-sig", "replace")
        except OSError:
            return ""

    def newest(self, group: str, name: str, prefix: str = "") -> Library | None:
        """Return the newest version of a library that is there and begins with a prefix."""
        folders = [*(folder / group for folder in self._gradle)]
        folders += (folder / group.replace(".", "/") for folder in self._maven)
        versions = {path.name for folder in folders for path in folder.glob(f"{name}/*")}
        chosen = sorted((each for each in versions if each.startswith(prefix)), key=version_key)
        libraries = (Library(group, name, version) for version in reversed(chosen))
        return next((each for each in libraries if self.jar(each) is not None), None)

    def _file(self, library: Library, suffix: str) -> Path | None:
        if not library.is_valid:
            return None
        return next(self._files(library, library.file_name(suffix)), None)

    def _files(self, library: Library, name: str) -> Iterator[Path]:
        for folder in self._gradle:
            yield from (folder / library.group / library.name / library.version).glob(f"*/{name}")
        for folder in self._maven:
            own = folder / library.group.replace(".", "/") / library.name / library.version / name
            if own.is_file():
                yield own


def own_repositories(*, with_gradle: bool) -> Repositories:
    """Return the folders of this user."""
    home = Path.home()
    gradle = Path(os.environ.get("GRADLE_USER_HOME") or home / ".gradle")
    caches = [gradle / "caches" / "modules-2" / "files-2.1"] if with_gradle else []
    return Repositories([_maven_repository(home)], [each for each in caches if each.is_dir()])


def _maven_repository(home: Path) -> Path:
    default = home / ".m2" / "repository"
    try:
        text = read_bytes(home / ".m2" / "settings.xml", _MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return default
    root = parse_xml(text)
    chosen = child_text(root, "localRepository") if root is not None else ""
    path = Path(chosen.replace("${user.home}", str(home)))
    return path if path.is_absolute() else default


def parse_xml(text: str) -> ElementTree.Element | None:
    """Return the root of an XML document without namespaces; None for an invalid one.

    A document with a document type is refused: its entities may be larger than the memory.
    """
    if "<!DOCTYPE" in text:
        return None
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return None
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def child_text(element: ElementTree.Element | None, name: str) -> str:
    """Return the text of an inner element, empty without one."""
    inner = element.find(name) if element is not None else None
    return (inner.text or "").strip() if inner is not None else ""


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key by which versions are sorted; `1.0-M1` comes before `1.0`."""
    parts = _NUMBER.findall(version)
    return (*((1, int(p[:9]), "") if p.isdigit() else (-1, 0, p) for p in parts), (0, 0, ""))
