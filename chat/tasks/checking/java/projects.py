"""A Java project whose tests can be compiled and run: its folders, libraries and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from chat.tasks.checking.java.class_path import ClassPath, Resolver
from chat.tasks.checking.java.gradle_builds import FILES, GradleBuild
from chat.tasks.checking.java.maven_builds import FILE, MavenBuild
from chat.tasks.checking.java.maven_models import Dependency, Model, Models
from chat.tasks.checking.java.repositories import Library, own_repositories
from chat.tasks.checking.runner import CannotRunError
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.java import package_of
from chat.tasks.target import WorkspaceFiles
from workspace.files import regular_file_stat

_OTHER_LANGUAGES = {".kt": "Kotlin", ".scala": "Scala", ".groovy": "Groovy"}
_MAX_JARS = 200


@dataclass(frozen=True, slots=True)
class JavaProject:
    """A module, and what its tests need."""

    java: Path
    folder: Path
    """The folder in which tests run."""
    test_file: Path
    framework: str
    package: str
    roots: tuple[Path, ...]
    """The folders in which packages begin."""
    resources: tuple[Path, ...]
    jars: tuple[Path, ...]
    options: tuple[str, ...]
    """Options of the compiler."""


def java_project(
    java: Path, subject: Subject, test_file: Path, framework: str, files: WorkspaceFiles
) -> JavaProject:
    """Return the project of a subject. Raises CannotRunError if it cannot be compiled here."""
    folder = _module_of(subject.path, files)
    class_path, options = _class_path(folder, framework, files)
    package = package_of(subject.text)
    roots = [_root_of(subject.path, package), _root_of(test_file, package)]
    resources = []
    for each in (folder, *class_path.modules):
        sources = [each / "src" / name for name in ("main", "test", "testFixtures")]
        is_own = each == folder
        roots += [path / "java" for path in (sources if is_own else sources[::2])]
        roots += sorted(each.glob("target/generated-sources/*"))
        resources += [path / "resources" for path in (reversed(sources[:2]) if is_own else sources)]
    _refuse_other_languages(folder, class_path.modules, files)
    return JavaProject(
        java=java,
        folder=folder,
        test_file=test_file,
        framework=framework,
        package=package,
        roots=tuple(path for path in dict.fromkeys(roots) if path.is_dir()),
        resources=tuple(path for path in dict.fromkeys(resources) if path.is_dir()),
        jars=class_path.jars,
        options=("-proc:none", "-nowarn", "-parameters", *options),
    )


def _class_path(
    folder: Path, framework: str, files: WorkspaceFiles
) -> tuple[ClassPath, Sequence[str]]:
    if files.read(folder / FILE) is not None:
        return MavenBuild(files, own_repositories(with_gradle=False)).class_path(folder, framework)
    repositories = own_repositories(with_gradle=True)
    if any(files.read(folder / name) is not None for name in FILES):
        class_path, options = GradleBuild(files, repositories).class_path(folder, framework)
        return ClassPath((*class_path.jars, *_own_jars(folder, files)), class_path.modules), options
    jupiter = ("org.junit.jupiter", "junit-jupiter")
    junit = Library(*(jupiter if framework == "junit5" else ("junit", "junit")), "")
    newest = repositories.newest(junit.group, junit.name)
    if newest is None:
        raise CannotRunError(f"{junit} is not in {repositories}.")
    model = Model(Library("", "", ""), (Dependency(newest),))
    resolver = Resolver(repositories, Models(repositories), "Maven", {}, takes_newest=False)
    class_path = resolver.class_path(model, framework)
    return ClassPath((*class_path.jars, *_own_jars(folder, files)), ()), ()


def _own_jars(folder: Path, files: WorkspaceFiles) -> list[Path]:
    """Return the libraries in a project, without links to files that a sandbox must not show."""
    jars = (path for name in ("lib", "libs") for path in sorted((folder / name).glob("*.jar")))
    own = (path for path in jars if regular_file_stat(path, inside=files.root) is not None)
    return list(islice(own, _MAX_JARS))


def _module_of(source: Path, files: WorkspaceFiles) -> Path:
    """Return the folder of the nearest build file, else the folder of the workspace."""
    for folder in source.parents:
        if not folder.is_relative_to(files.root):
            break
        if any(files.read(folder / name) is not None for name in (FILE, *FILES)):
            return folder
    return files.root


def _root_of(file: Path, package: str) -> Path:
    """Return the folder in which the package of a file begins."""
    parts = package.split(".") if package else []
    is_usual = file.parent.parts[len(file.parent.parts) - len(parts) :] == tuple(parts)
    return file.parents[len(parts)] if is_usual else file.parent


def _refuse_other_languages(folder: Path, modules: Sequence[Path], files: WorkspaceFiles) -> None:
    """Raise CannotRunError if classes of these modules may be written in other languages."""
    mains = [each / "src" / "main" for each in (folder, *modules)]
    for path in files.paths():
        language = _OTHER_LANGUAGES.get(path.suffix)
        if language and any(path.is_relative_to(main) for main in mains):
            raise CannotRunError(
                f"{path.name} is written in {language}, which is not compiled here. Tests of such "
                "projects are not run."
            )
