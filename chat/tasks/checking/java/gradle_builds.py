"""Reads a project of Gradle, from its files alone, which are not run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chat.tasks.checking.java.class_path import ClassPath, Module, Resolver
from chat.tasks.checking.java.maven_models import Dependency, Key, Model, Models
from chat.tasks.checking.java.repositories import Library, Repositories
from chat.tasks.checking.runner import CannotRunError
from chat.tasks.dialects.config_files import as_object, parse_toml
from chat.tasks.target import WorkspaceFiles

FILES = ("build.gradle", "build.gradle.kts")
_TOKEN = re.compile(
    r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*|/\*.*?(?:\*/|\Z)""", re.S
)
_CONFIGURATION = (
    r"\b((?:test)?(?:implementation|compileOnly|runtimeOnly|api|compile|runtime)"
    r"|test(?:Implementation|CompileOnly|RuntimeOnly|Compile|Runtime)|compileOnlyApi)\b"
)
_DEPENDENCY = re.compile(
    _CONFIGURATION + r"""\s*\(?\s*(?:(platform|enforcedPlatform)\s*\(?\s*)?"""
    r"""(?:["']([^"'\n]+)["']|(libs\.[\w.]+)|project\s*\(\s*(?:path\s*[:=]\s*)?["']([^"']+)["'])"""
)
_PARTS = re.compile(
    _CONFIGURATION
    + r"""\s*\(?\s*group\s*[:=]\s*["']([^"']+)["']\s*,\s*name\s*[:=]\s*["']([^"']+)["']"""
    r"""(?:\s*,\s*version\s*[:=]\s*["']?([^"'\s)]+)["']?)?"""
)
_VARIABLE = re.compile(
    r"""(?<![\w.])(\w[\w.]{0,80})["']?\]?(?:\s?[=,]\s?|\s?by extra\()["']([^"'\n]{1,200})["']"""
)
_SPACE = re.compile(r"\s+")
_PLACEHOLDER = re.compile(r"\$\{?([\w.]+)\}?")
_SUITE = re.compile(r"""\buseJUnitJupiter\s*\(\s*(?:["']([^"']+)["'])?\s*\)""")
_PROCESSORS = re.compile(
    r"\b(?:annotationProcessor|testAnnotationProcessor|kapt|ksp)\s*[('\"]|lombok"
)
_VERSION = (
    re.compile(r"\brelease(?:\.set\s*\(|\s*=)\s*(\d+)"),
    re.compile(r"\blanguageVersion(?:\.set\s*\(|\s*=)\s*JavaLanguageVersion\.of\s*\(\s*(\d+)"),
    re.compile(
        r"\bsourceCompatibility\s*(?:=|\s)\s*(?:JavaVersion\.VERSION_)?[\"']?(?:1[._])?(\d+)"
    ),
)
_MAX_MODULES = 200
_WITH_VERSION = 3
"""Number of parts of a dependency with a version."""


class GradleBuild:
    """A project of Gradle, read through the files of the workspace."""

    def __init__(self, files: WorkspaceFiles, repositories: Repositories) -> None:
        self._files, self._repositories = files, repositories
        self._models = Models(repositories)
        self._models_read: dict[Path, Model] = {}

    def class_path(self, folder: Path, framework: str) -> tuple[ClassPath, Sequence[str]]:
        """Return what the tests of a module need, and the options of the compiler."""
        text = self._text(folder)
        if _PROCESSORS.search(text):
            raise CannotRunError(
                "This project has annotation processors, which add code when it is compiled. Tests "
                "of such projects are not run."
            )
        model = self._model(folder)
        modules = {
            (each.library.group, each.library.name): Module(path, each)
            for path, each in self._models_read.items()
            if path != folder
        }
        resolver = Resolver(self._repositories, self._models, "Gradle", modules, takes_newest=True)
        options = []
        version = next((match[1] for each in _VERSION if (match := each.search(text))), "")
        if version:
            options = ["--release", version]
        return resolver.class_path(model, framework), options

    def _text(self, folder: Path) -> str:
        """Return the build file of a folder, and the parts of others that apply to it."""
        texts = [self._own_text(folder)]
        for each in folder.parents:
            if not each.is_relative_to(self._files.root):
                break
            above = self._own_text(each)
            if re.search(r"\b(?:subprojects|allprojects)\b", above):
                texts.append(above)
        return "\n".join(texts)

    def _own_text(self, folder: Path) -> str:
        """Return a build file without comments. No pattern has to try long runs of spaces."""
        texts = (self._files.read(folder / name) for name in FILES)
        code = _TOKEN.sub(lambda match: match[1] or " ", next((each for each in texts if each), ""))
        return _SPACE.sub(lambda match: "\n" if "\n" in match[0] else " ", code)

    def _top(self, folder: Path) -> Path:
        above = [
            each for each in (folder, *folder.parents) if each.is_relative_to(self._files.root)
        ]
        names = ("settings.gradle", "settings.gradle.kts")
        tops = (each for each in above if any(self._files.read(each / name) for name in names))
        return next(tops, folder)

    def _model(self, folder: Path) -> Model:
        """Return the model of a module, and remember those of the modules that it needs."""
        self._models_read[folder] = Model(_library_of(folder))
        text, top = self._text(folder), self._top(folder)
        names = {**_properties(self._files.read(top / "gradle.properties") or "")}
        names |= {match[1]: match[2] for match in _VARIABLE.finditer(self._own_text(top))}
        names |= {match[1]: match[2] for match in _VARIABLE.finditer(text)}
        catalog = parse_toml(self._files.read(top / "gradle" / "libs.versions.toml"))
        dependencies: list[Dependency] = []
        managed: dict[Key, Dependency] = {}
        for scope, platform, notation, alias, project in _DEPENDENCY.findall(text):
            if project and len(self._models_read) < _MAX_MODULES:
                inner = top.joinpath(*filter(None, project.split(":")))
                if inner not in self._models_read:
                    self._model(inner)
                dependencies.append(Dependency(_library_of(inner), _scope(scope)))
            libraries = [_library(_filled(notation, names))] if notation else []
            libraries += _of_catalog(alias, catalog) if alias else []
            for library in libraries:
                if platform:
                    managed |= self._models.imported(library)
                else:
                    dependencies.append(Dependency(library, _scope(scope)))
        dependencies += [
            Dependency(Library(group, name, _filled(version, names)), _scope(scope))
            for scope, group, name, version in _PARTS.findall(text)
        ]
        dependencies += self._suites(text)
        own = [each for each in dependencies if each.library.name != "junit-platform-launcher"]
        self._models_read[folder] = Model(_library_of(folder), tuple(own), managed)
        return self._models_read[folder]

    def _suites(self, text: str) -> Iterator[Dependency]:
        for version in _SUITE.findall(text):
            newest = self._repositories.newest("org.junit.jupiter", "junit-jupiter")
            default = newest.version if newest is not None else ""
            yield Dependency(Library("org.junit.jupiter", "junit-jupiter", version or default))


def _scope(configuration: str) -> str:
    """Return the scope of Maven that a configuration is like."""
    is_test, is_inner = configuration.startswith("test"), configuration.startswith("compileOnly")
    return "test" if is_test else "provided" if is_inner else "compile"


def _library_of(folder: Path) -> Library:
    """Return the coordinates of a module, which no library has."""
    return Library("", str(folder), "")


def _library(notation: str) -> Library:
    parts = (*notation.partition("@")[0].split(":"), "", "", "")
    return Library(parts[0], parts[1], parts[2].removesuffix("!!"), parts[_WITH_VERSION])


def _filled(text: str, names: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return names.get(match[1]) or names.get(match[1].rpartition(".")[2]) or match[0]

    text = (
        names.get(text.rpartition(".")[2], text) if re.fullmatch(r"[a-zA-Z][\w.]*", text) else text
    )
    return _PLACEHOLDER.sub(value, text)


def _properties(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}


def _of_catalog(alias: str, catalog: Mapping[str, Any]) -> list[Library]:
    """Return the libraries that a name such as `libs.junit.jupiter` means."""
    name = alias.removeprefix("libs.").removesuffix(".get")
    libraries = as_object(catalog.get("libraries"))
    if name.startswith("bundles."):
        bundles = {_dotted(key): each for key, each in as_object(catalog.get("bundles")).items()}
        names = bundles.get(name.removeprefix("bundles."))
        chosen = [str(each) for each in names] if isinstance(names, list) else []
    else:
        chosen = [key for key in libraries if _dotted(key) == name]
    versions = as_object(catalog.get("versions"))
    return [_of_entry(libraries.get(key), versions) for key in chosen]


def _of_entry(entry: object, versions: Mapping[str, Any]) -> Library:
    if isinstance(entry, str):
        return _library(entry)
    fields = as_object(entry)
    module = str(fields.get("module") or f"{fields.get('group', '')}:{fields.get('name', '')}")
    version = fields.get("version")
    if isinstance(version, dict):
        version = versions.get(str(version.get("ref")))
    group, _, name = module.partition(":")
    return Library(group, name, version if isinstance(version, str) else "")


def _dotted(name: str) -> str:
    return re.sub(r"[-_]", ".", name)
