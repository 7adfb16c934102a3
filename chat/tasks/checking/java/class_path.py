"""Finds the files of all libraries that a project needs to be tested, without running its build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chat.tasks.checking.java.maven_models import Dependency, Key, Model, Models
from chat.tasks.checking.java.repositories import Library, Repositories, version_key
from chat.tasks.checking.runner import CannotRunError

_JUPITER, _PLATFORM = "org.junit.jupiter", "org.junit.platform"
_MAX_LIBRARIES = 1000
_KINDS = ("jar", "test-jar", "bundle", "maven-plugin", "ejb")
_PROCESSORS = {
    ("org.projectlombok", "lombok"),
    ("org.mapstruct", "mapstruct"),
    ("org.immutables", "value"),
    ("com.google.auto.value", "auto-value"),
}
"""Libraries whose annotations mean nothing without their annotation processor."""


@dataclass(frozen=True, slots=True)
class Module:
    """A part of a build that others of its parts may depend on."""

    folder: Path
    model: Model


@dataclass(frozen=True, slots=True)
class ClassPath:
    """What the tests of a module need."""

    jars: tuple[Path, ...]
    modules: tuple[Path, ...]
    """The folders of the other modules that it needs."""


@dataclass(slots=True)
class Resolver:
    """Resolves the dependencies of one module."""

    repositories: Repositories
    models: Models
    tool: str
    """The name of the build tool."""
    modules: Mapping[tuple[str, str], Module]
    """The modules of the build, by their group and name."""
    takes_newest: bool
    """Whether the newest of several versions is used, else that of the nearest dependency."""

    def class_path(self, model: Model, framework: str) -> ClassPath:
        """Return the class path of tests. Raises CannotRunError if a library is missing."""
        chosen = self._chosen(model.dependencies, model.managed)
        is_junit_5 = framework == "junit5"
        if is_junit_5 and (engine := self._engine(chosen)) is not None:
            chosen = self._chosen((*model.dependencies, engine), model.managed)
        libraries = [
            each for each in chosen.values() if (each.group, each.name) not in self.modules
        ]
        _refuse_processors(libraries)
        jars = list(map(self._jar, libraries))
        needed = (_JUPITER, "junit-jupiter-api", "") if is_junit_5 else ("junit", "junit", "")
        if needed not in chosen:
            version = 5 if is_junit_5 else 4
            raise CannotRunError(f"The build file has no dependency on JUnit {version}.")
        if is_junit_5:
            jars.append(self._jar(self._launcher(chosen)))
        folders = [module.folder for key, module in self.modules.items() if (*key, "") in chosen]
        return ClassPath(tuple(dict.fromkeys(jars)), tuple(folders))

    def _jar(self, library: Library) -> Path:
        jar = self.repositories.jar(library)
        if jar is None:
            raise CannotRunError(
                f"{library} is not in {self.repositories}. Run the project's tests once with "
                f"{self.tool}, which downloads it."
            )
        return jar

    def _engine(self, chosen: Mapping[Key, Library]) -> Dependency | None:
        """Return the engine of JUnit 5, which Maven adds if a project has only its interface."""
        api = chosen.get((_JUPITER, "junit-jupiter-api", ""))
        if api is None or (_JUPITER, "junit-jupiter-engine", "") in chosen:
            return None
        return Dependency(Library(_JUPITER, "junit-jupiter-engine", api.version))

    def _launcher(self, chosen: Mapping[Key, Library]) -> Library:
        """Return the launcher, which Maven and Gradle add, in the version of the engine."""
        engine = chosen.get((_PLATFORM, "junit-platform-engine", ""))
        version = engine.version if engine is not None else ""
        launcher = Library(_PLATFORM, "junit-platform-launcher", version)
        if engine is not None and self.repositories.jar(launcher) is None:
            minor = version.rpartition(".")[0] + "."
            return self.repositories.newest(_PLATFORM, launcher.name, minor) or launcher
        return launcher

    def _chosen(
        self, dependencies: Sequence[Dependency], managed: Mapping[Key, Dependency]
    ) -> dict[Key, Library]:
        """Return the versions of all libraries, in the order of the class path."""
        chosen: dict[Key, Library] = {}
        pending = [(each, frozenset[tuple[str, str]](), True) for each in dependencies]
        count = 0
        while pending and count < _MAX_LIBRARIES:
            count += 1
            dependency, excluded, is_own = pending.pop(0)
            version = managed.get(dependency.key)
            library = dependency.library
            if version is not None and (not library.version or not is_own):
                library = replace(library, version=version.library.version)
                scope = dependency.scope or version.scope
                exclusions = dependency.exclusions | version.exclusions
                dependency = replace(dependency, scope=scope, exclusions=exclusions)
            if dependency.kind not in _KINDS or (not is_own and not _is_inherited(dependency)):
                continue
            if not self._is_better(library, chosen.get(dependency.key)):
                continue
            chosen[dependency.key] = library
            excluded |= dependency.exclusions
            pending += [
                (each, excluded, False)
                for each in self._model(library).dependencies
                if not _is_excluded(each.library, excluded)
            ]
        return chosen

    def _is_better(self, library: Library, other: Library | None) -> bool:
        if other is None:
            return True
        newer = version_key(library.version) > version_key(other.version)
        return self.takes_newest and newer

    def _model(self, library: Library) -> Model:
        """Return the model of a library, with versions for its dependencies."""
        module = self.modules.get((library.group, library.name))
        if module is not None:
            model = module.model
        else:
            self._check(library)
            model = self.models.of_library(library)
        return replace(
            model, dependencies=tuple(_with_version(each, model) for each in model.dependencies)
        )

    def _check(self, library: Library) -> None:
        if not library.is_valid:
            name = f"{library.group}:{library.name}"
            raise CannotRunError(
                f"The version of {name} cannot be found in the build file, which was not run."
            )


def _with_version(dependency: Dependency, model: Model) -> Dependency:
    managed = model.managed.get(dependency.key)
    if managed is None or dependency.library.version:
        return dependency
    library = replace(dependency.library, version=managed.library.version)
    exclusions = dependency.exclusions | managed.exclusions
    scope = dependency.scope or managed.scope
    return replace(dependency, library=library, scope=scope, exclusions=exclusions)


def _is_inherited(dependency: Dependency) -> bool:
    """Whether a dependency of a library is needed by those who use the library."""
    return dependency.scope in ("", "compile", "runtime") and not dependency.is_optional


def _is_excluded(library: Library, excluded: frozenset[tuple[str, str]]) -> bool:
    names = ((library.group, library.name), (library.group, "*"), ("*", library.name), ("*", "*"))
    return any(each in excluded for each in names)


def _refuse_processors(libraries: Sequence[Library]) -> None:
    for library in libraries:
        if (library.group, library.name) in _PROCESSORS:
            raise CannotRunError(
                f"{library} changes or adds code when the project is compiled. Tests of such "
                "projects are not run."
            )
