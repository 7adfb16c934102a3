"""Reads the files of Maven: what a project or a library depends on, with all that it inherits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from chat.tasks.checking.java.repositories import Library, Repositories, child_text, parse_xml

_PLACEHOLDER = re.compile(r"\$\{([^${}]+)\}")
_MAX_DEPTH = 12
"""Maximum number of parents, and of lists that include each other."""
_MAX_ROUNDS = 8
_MAX_CHARACTERS = 1000

Key = tuple[str, str, str]
"""The group, name and classifier of a library."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a project or library depends on."""

    library: Library
    scope: str = ""
    kind: str = "jar"
    is_optional: bool = False
    exclusions: frozenset[tuple[str, str]] = frozenset()

    @property
    def key(self) -> Key:
        """What is the same for all versions."""
        return (self.library.group, self.library.name, self.library.classifier)


@dataclass(frozen=True, slots=True)
class Model:
    """A project or library with all that it inherits."""

    library: Library
    dependencies: tuple[Dependency, ...] = ()
    managed: Mapping[Key, Dependency] = field(default_factory=dict)
    """The versions that it chooses for libraries."""
    properties: Mapping[str, str] = field(default_factory=dict)
    elements: tuple[ElementTree.Element, ...] = ()
    """The roots of its file and of those that it inherits from, in this order."""

    def text(self, path: str) -> str:
        """Return the first text at a path of elements, with values in place of names."""
        texts = (child_text(root, path) for root in self.elements)
        return interpolated(next((text for text in texts if text), ""), self.properties)

    def with_versions(self, managed: Mapping[Key, Dependency]) -> Model:
        """Return the model with further choices of versions, which count less."""
        return replace(self, managed={**managed, **self.managed})


class Models:
    """Makes models. `parent_of` returns the root of a parent that is in the workspace."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._models_read: dict[Library, Model] = {}

    def of_library(self, library: Library, depth: int = 0) -> Model:
        """Return the model of a library; one without dependencies if it is not described."""
        if library not in self._models_read:
            self._models_read[library] = Model(library)  # for a list that includes itself
            root = parse_xml(self._repositories.pom(library))
            if root is not None:
                self._models_read[library] = self.of_root(root, lambda _: None, depth)
        return self._models_read[library]

    def of_root(
        self,
        root: ElementTree.Element,
        parent_of: Callable[[ElementTree.Element], ElementTree.Element | None],
        depth: int = 0,
    ) -> Model:
        """Return the model of a file."""
        roots = list(self._lineage(root, parent_of))
        properties: dict[str, str] = {}
        for each in reversed(roots):
            for element in each.iterfind("properties/*"):
                properties[element.tag] = (element.text or "").strip()[:_MAX_CHARACTERS]
        own = _coordinates(roots)
        for prefix in ("project.", "pom.", ""):
            properties |= {
                f"{prefix}groupId": own.group,
                f"{prefix}artifactId": own.name,
                f"{prefix}version": own.version,
            }
        properties["project.parent.version"] = child_text(root, "parent/version")
        library = _interpolated_library(own, properties)
        dependencies: dict[Key, Dependency] = {}
        for element in _elements(roots, "dependencies/dependency"):
            dependency = _dependency(element, properties)
            dependencies.setdefault(dependency.key, dependency)
        managed = self._managed(roots, properties, depth)
        return Model(library, tuple(dependencies.values()), managed, properties, tuple(roots))

    def imported(self, library: Library, depth: int = 0) -> Mapping[Key, Dependency]:
        """Return the versions that a list of versions (BOM) chooses."""
        return self.of_library(library, depth).managed if depth < _MAX_DEPTH else {}

    def _managed(
        self, roots: Sequence[ElementTree.Element], properties: Mapping[str, str], depth: int
    ) -> dict[Key, Dependency]:
        managed: dict[Key, Dependency] = {}
        lists: list[Library] = []
        for element in _elements(roots, "dependencyManagement/dependencies/dependency"):
            dependency = _dependency(element, properties)
            if dependency.scope == "import":
                lists.append(dependency.library)
            else:
                managed.setdefault(dependency.key, dependency)
        for each in lists:
            managed = {**self.imported(each, depth + 1), **managed}
        return managed

    def _lineage(
        self,
        root: ElementTree.Element,
        parent_of: Callable[[ElementTree.Element], ElementTree.Element | None],
    ) -> Iterator[ElementTree.Element]:
        each: ElementTree.Element | None = root
        for _ in range(_MAX_DEPTH):
            if each is None:
                return
            yield each
            parent = each.find("parent")
            if parent is None:
                return
            each = parent_of(each)
            if each is None:
                each = parse_xml(self._repositories.pom(_library(parent)))


def interpolated(text: str, properties: Mapping[str, str]) -> str:
    """Return a text with values in place of `${name}`; unknown names stay."""
    for _ in range(_MAX_ROUNDS):
        if len(text) > _MAX_CHARACTERS:
            break
        new = _PLACEHOLDER.sub(lambda match: properties.get(match[1].strip(), match[0]), text)
        if new == text:
            break
        text = new
    return text


def _elements(roots: Sequence[ElementTree.Element], path: str) -> Iterator[ElementTree.Element]:
    return (element for root in roots for element in root.iterfind(path))


def _library(element: ElementTree.Element) -> Library:
    names = ("groupId", "artifactId", "version", "classifier")
    return Library(*(child_text(element, name) for name in names))


def _coordinates(roots: Sequence[ElementTree.Element]) -> Library:
    own = _library(roots[0])
    parent = roots[0].find("parent")
    inherited = _library(parent) if parent is not None else own
    return Library(own.group or inherited.group, own.name, own.version or inherited.version)


def _dependency(element: ElementTree.Element, properties: Mapping[str, str]) -> Dependency:
    library = _interpolated_library(_library(element), properties)
    kind = child_text(element, "type") or "jar"
    if kind == "test-jar":
        library = replace(library, classifier=library.classifier or "tests")
    return Dependency(
        library,
        interpolated(child_text(element, "scope"), properties),
        kind,
        interpolated(child_text(element, "optional"), properties) == "true",
        frozenset(
            (child_text(each, "groupId"), child_text(each, "artifactId"))
            for each in element.iterfind("exclusions/exclusion")
        ),
    )


def _interpolated_library(library: Library, properties: Mapping[str, str]) -> Library:
    texts = (library.group, library.name, library.version, library.classifier)
    return Library(*(interpolated(text, properties) for text in texts))
