"""Reads a project of Maven: its modules, and what the tests of one module need."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from chat.tasks.checking.java.class_path import ClassPath, Module, Resolver
from chat.tasks.checking.java.maven_models import Model, Models, interpolated
from chat.tasks.checking.java.repositories import Repositories, child_text, parse_xml
from chat.tasks.checking.runner import CannotRunError
from chat.tasks.target import WorkspaceFiles

FILE = "pom.xml"
_MAX_MODULES = 200
_COMPILER = "build/plugins/plugin[artifactId='maven-compiler-plugin']/configuration"
_MANAGED_COMPILER = f"build/pluginManagement/{_COMPILER.removeprefix('build/')}"
_DEFAULT_VERSION = "8"
"""The version of Java that Maven's compiler plugin takes if a project names none."""


class MavenBuild:
    """A project of Maven, read through the files of the workspace."""

    def __init__(self, files: WorkspaceFiles, repositories: Repositories) -> None:
        self._files, self._repositories = files, repositories
        self._models = Models(repositories)
        self._folders: dict[int, Path] = {}
        """The folders of roots of files in the workspace, by their identity."""
        self._kept: list[ElementTree.Element] = []

    def class_path(self, folder: Path, framework: str) -> tuple[ClassPath, Sequence[str]]:
        """Return what the tests of a module need, and the options of the compiler."""
        model = self._model(folder)
        if model is None:
            raise CannotRunError(f"{folder / FILE} is not a valid file of Maven.")
        if any(root.find(".//annotationProcessorPaths") is not None for root in model.elements):
            raise CannotRunError(
                "This project has annotation processors, which add code when it is compiled. Tests "
                "of such projects are not run."
            )
        modules = {
            (module.model.library.group, module.model.library.name): module
            for module in self._modules(folder)
            if module.folder != folder
        }
        resolver = Resolver(self._repositories, self._models, "Maven", modules, takes_newest=False)
        return resolver.class_path(model, framework), _options(model)

    def _model(self, folder: Path) -> Model | None:
        root = self._root(folder / FILE)
        return None if root is None else self._models.of_root(root, self._parent)

    def _root(self, path: Path) -> ElementTree.Element | None:
        root = parse_xml(self._files.read(path) or "")
        if root is not None:
            self._kept.append(root)  # so that no other gets its identity
            self._folders[id(root)] = path.parent
        return root

    def _parent(self, root: ElementTree.Element) -> ElementTree.Element | None:
        """Return the parent of a file in the workspace, if that is there too."""
        folder, parent = self._folders.get(id(root)), root.find("parent")
        if folder is None or parent is None:
            return None
        relative = parent.find("relativePath")
        name = "../pom.xml" if relative is None else (relative.text or "").strip()
        path = Path(os.path.normpath(folder / name))
        if not name or not path.is_relative_to(self._files.root):
            return None
        above = self._root(path if path.suffix == ".xml" else path / FILE)
        same = above is not None and child_text(above, "artifactId") == child_text(
            parent, "artifactId"
        )
        return above if same else None

    def _modules(self, folder: Path) -> list[Module]:
        """Return the modules of the build to which a folder belongs."""
        above = [each for each in folder.parents if each.is_relative_to(self._files.root)]
        top = folder
        for each in above:
            if parse_xml(self._files.read(each / FILE) or "") is not None:
                top = each
        modules: list[Module] = []
        pending = [top]
        while pending and len(modules) < _MAX_MODULES:
            each = pending.pop(0)
            model = self._model(each)
            if model is None:
                continue
            modules.append(Module(each, model))
            names = (element.text or "" for element in model.elements[0].iterfind("modules/module"))
            inner = (Path(os.path.normpath(each / name.strip())) for name in names)
            pending += [path for path in inner if path.is_relative_to(top) and path != each]
        return modules


def _options(model: Model) -> list[str]:
    """Return the options that choose the version of Java."""
    release = _setting(model, "release")
    if release.isdigit():
        return ["--release", release]
    source = re.sub(r"^1\.", "", _setting(model, "source")) or _DEFAULT_VERSION
    target = re.sub(r"^1\.", "", _setting(model, "target")) or source
    return ["-source", source, "-target", target]


def _setting(model: Model, name: str) -> str:
    configured = model.text(f"{_COMPILER}/{name}") or model.text(f"{_MANAGED_COMPILER}/{name}")
    text = configured or model.properties.get(f"maven.compiler.{name}", "")
    return interpolated(text, model.properties)
