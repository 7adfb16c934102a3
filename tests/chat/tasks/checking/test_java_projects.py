"""The class path of Maven's and Gradle's projects, from a small local repository."""

import time
from pathlib import Path

import pytest

from chat.tasks.checking.java.projects import JavaProject, java_project
from chat.tasks.checking.runner import CannotRunError
from chat.tasks.dialects.base import Subject
from chat.tasks.target import WorkspaceFiles
from syntax.symbols import enclosing_symbol

SOURCE = "package shop;\n\npublic class A {\n    static int f(int x) { return x; }\n}\n"
JUPITER = "org.junit.jupiter:junit-jupiter:5.10.2"
LIBRARIES = {
    JUPITER: ["org.junit.jupiter:junit-jupiter-api:5.10.2"],
    "org.junit.jupiter:junit-jupiter-api:5.10.2": [],
    "org.junit.jupiter:junit-jupiter-engine:5.10.2": ["org.junit.platform:junit-platform-engine:1.10.2"],
    "org.junit.platform:junit-platform-engine:1.10.2": [],
    "org.junit.platform:junit-platform-launcher:1.10.3": [],
    "junit:junit:4.13.2": ["org.hamcrest:hamcrest-core:1.3"],
    "org.hamcrest:hamcrest-core:1.3": [],
    "a:top:1.0": ["a:inner:1.0", "a:optional:1.0!"],
    "a:inner:1.0": [],
    "a:inner:2.0": [],
    "a:other:1.0": ["a:inner:2.0"],
}  # fmt: skip
SCOPE = "<scope>test</scope>"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    repository = tmp_path / ".m2" / "repository"
    for name, inner in LIBRARIES.items():
        add(repository, name, pom_of(name, "".join(map(dependency, inner))))
    bom = f"<dependencyManagement><dependencies>{dependency(JUPITER)}</dependencies></dependencyManagement>"
    add(repository, "a:bom:1", f"{pom_of('a:bom:1', '').removesuffix('</project>')}{bom}</project>")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GRADLE_USER_HOME", raising=False)
    return tmp_path


def add(repository: Path, name: str, pom: str) -> None:
    group, artifact, version = name.split(":")
    folder = repository / group.replace(".", "/") / artifact / version
    folder.mkdir(parents=True)
    (folder / f"{artifact}-{version}.pom").write_text(pom)
    (folder / f"{artifact}-{version}.jar").write_text("")


def dependency(name: str, more: str = "") -> str:
    group, artifact, *version = name.rstrip("!").split(":")
    more += "<optional>true</optional>" if name.endswith("!") else ""
    inner = f"<version>{version[0]}</version>" if version else ""
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>{inner}{more}"
        "</dependency>"
    )


def pom_of(name: str, dependencies: str, more: str = "") -> str:
    group, artifact, version = name.split(":")
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0">'
        f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        f"{more}<dependencies>{dependencies}</dependencies></project>"
    )


def opened(root: Path, files: dict[str, str], source: str = "src/main/java/shop/A.java",
           framework: str = "junit5") -> JavaProject:  # fmt: skip
    for name, text in {source: SOURCE, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    symbol = enclosing_symbol(SOURCE, "java", SOURCE.index("return"))
    assert symbol is not None
    subject = Subject(symbol, root / source, SOURCE, "java")
    test = root / source.replace("main", "test").replace("A.java", "ATest.java")
    return java_project(Path("/java"), subject, test, framework, WorkspaceFiles(root))


def names(project: JavaProject) -> set[str]:
    return {path.name.removesuffix(".jar") for path in project.jars}


JUNIT_5 = {
    "junit-jupiter-5.10.2", "junit-jupiter-api-5.10.2", "junit-jupiter-engine-5.10.2",
    "junit-platform-engine-1.10.2", "junit-platform-launcher-1.10.3",
}  # fmt: skip


def test_a_project_of_maven(home: Path) -> None:
    properties = "<properties><v>1.0</v><inner>${v}</inner><maven.compiler.source>1.8</maven.compiler.source></properties>"
    dependencies = (
        dependency(JUPITER, SCOPE) + dependency("a:top:${inner}") + dependency("a:other:1.0")
    )
    files = {"pom.xml": pom_of("g:shop:1", dependencies, properties), "src/main/resources/x": ""}
    project = opened(home / "w", files)
    assert names(project) == {*JUNIT_5, "top-1.0", "inner-1.0", "other-1.0"}
    assert project.options[-4:] == ("-source", "8", "-target", "8")
    assert project.roots == (home / "w/src/main/java",)
    assert project.resources == (home / "w/src/main/resources",)


def test_parents_lists_of_versions_and_other_modules(home: Path) -> None:
    bom = dependency("a:bom:1", "<type>pom</type><scope>import</scope>")
    managed = f"<dependencyManagement><dependencies>{bom}{dependency('a:inner:2.0')}</dependencies></dependencyManagement>"
    modules = "<modules><module>core</module><module>app</module></modules>"
    release = "<properties><maven.compiler.release>17</maven.compiler.release><v>9</v></properties>"
    parent = "<parent><groupId>g</groupId><artifactId>all</artifactId><version>1</version></parent>"
    app = dependency("g:core:${project.version}") + dependency(JUPITER.rpartition(":")[0], SCOPE)
    files = {
        "pom.xml": pom_of("g:all:1", "", managed + modules + release),
        "core/pom.xml": pom_of(
            "g:core:1", dependency("a:top:${v}"), parent + "<properties><v>1.0</v></properties>"
        ),
        "core/src/main/java/core/B.java": "package core;",
        "app/pom.xml": pom_of("g:app:1", app, parent),
    }
    project = opened(home / "w", files, "app/src/main/java/shop/A.java")
    assert names(project) == {*JUNIT_5, "top-1.0", "inner-2.0"}
    assert home / "w/core/src/main/java" in project.roots
    assert project.folder == home / "w/app"
    assert project.options[-2:] == ("--release", "17")


def test_junit_4_and_exclusions(home: Path) -> None:
    excluded = "<exclusions><exclusion><groupId>a</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    dependencies = dependency("junit:junit:4.13.2") + dependency("a:top:1.0", excluded)
    project = opened(home / "w", {"pom.xml": pom_of("g:s:1", dependencies)}, framework="junit4")
    assert names(project) == {"junit-4.13.2", "hamcrest-core-1.3", "top-1.0"}


@pytest.mark.parametrize(
    ("pom", "message"),
    [
        (pom_of("g:s:1", dependency("a:gone:1")), r"^a:gone:1 is not in /.*Run the project's tests once"),
        (pom_of("g:s:1", dependency("a:top")), r"^The version of a:top cannot be found"),
        (pom_of("g:s:1", dependency("a:top:${no}")), r"^The version of a:top cannot be found"),
        (pom_of("g:s:1", dependency("a:../../top:1")), r"^The version of "),
        (pom_of("g:s:1", ""), r"^The build file has no dependency on JUnit 5"),
        (pom_of("g:s:1", dependency(JUPITER), "<annotationProcessorPaths/>"), r"annotation processors"),
        (pom_of("g:s:1", dependency("org.projectlombok:lombok:1.0") + dependency(JUPITER)), r"lombok:1.0 changes or adds"),
        ("<project", r"pom.xml is not a valid file of Maven"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><project>&a;</project>', r"pom.xml is not a valid file"),
    ],
)  # fmt: skip
def test_what_cannot_be_resolved_is_named(home: Path, pom: str, message: str) -> None:
    if "gone" in pom or "lombok" in pom:
        pom = pom.replace("<dependencies>", f"<dependencies>{dependency(JUPITER)}")
    with pytest.raises(CannotRunError, match=message):
        opened(home / "w", {"pom.xml": pom})


def test_files_that_include_themselves_end(home: Path) -> None:
    parent = "<parent><groupId>g</groupId><artifactId>s</artifactId><version>1</version><relativePath>pom.xml</relativePath></parent>"
    laughs = "".join(f"<l{i}>{f'${{l{i + 1}}}' * 10}</l{i}>" for i in range(30))
    more = f"{parent}<properties>{laughs}</properties><modules><module>.</module></modules>"
    dependencies = dependency(JUPITER) + dependency("a:${l0}:1")
    with pytest.raises(CannotRunError, match=r"^The version of a:"):
        opened(home / "w", {"pom.xml": pom_of("g:s:1", dependencies, more)})


@pytest.mark.parametrize(
    "text",
    [
        "/*" * 500_000, "'" * 500_000, "a" * 1_000_000, "api " + " " * 1_000_000, "api(" * 200_000,
        "val a = \"" * 100_000, "testImplementation '$a$a$a" * 50_000, "languageVersion.set" * 50_000,
    ],
)  # fmt: skip
def test_hostile_files_of_gradle_are_read_fast(home: Path, text: str) -> None:
    begin = time.monotonic()
    with pytest.raises(CannotRunError):
        opened(home / "w", {"build.gradle": text})
    assert time.monotonic() - begin < 10


def test_a_hostile_file_of_maven_is_read_fast(home: Path) -> None:
    properties = f"<properties><a>{'x' * 800_000}</a></properties>"
    dependencies = dependency("a:top:" + "${a}" * 200_000)
    deep = "<b>" * 50_000 + "</b>" * 50_000
    begin = time.monotonic()
    with pytest.raises(CannotRunError):
        opened(home / "w", {"pom.xml": pom_of("g:s:1", dependencies, properties + deep)})
    assert time.monotonic() - begin < 10


def test_a_link_that_leaves_the_workspace_is_no_library(home: Path) -> None:
    (home / "w" / "lib").mkdir(parents=True)
    (home / "secret").write_text("")
    (home / "w" / "lib" / "own.jar").symlink_to(home / "secret")
    assert names(opened(home / "w", {}, "src/shop/A.java")) == JUNIT_5


def test_kotlin_is_not_compiled(home: Path) -> None:
    files = {"pom.xml": pom_of("g:s:1", dependency(JUPITER)), "src/main/kotlin/B.kt": ""}
    with pytest.raises(CannotRunError, match=r"^B.kt is written in Kotlin"):
        opened(home / "w", files)


GRADLE = """
plugins { id 'java' } // implementation 'a:gone:1'
def junit = '5.10.2'
java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }
dependencies {
    testImplementation "org.junit.jupiter:junit-jupiter:$junit"
    testRuntimeOnly 'org.junit.platform:junit-platform-launcher'
    implementation group: 'a', name: 'top', version: '1.0'
    implementation libs.other
    implementation project(':core')
}
"""


def test_a_project_of_gradle(home: Path) -> None:
    files = {
        "settings.gradle": "include 'app', 'core'",
        "gradle/libs.versions.toml": '[versions]\nv = "1.0"\n[libraries]\nother = { module = "a:other", version.ref = "v" }\n',
        "app/build.gradle": GRADLE,
        "core/build.gradle.kts": 'dependencies {\n    api(platform("a:bom:1"))\n    api("junit:junit:4.13.2")\n}\n',
        "core/src/main/java/core/B.java": "package core;",
    }
    project = opened(home / "w", files, "app/src/main/java/shop/A.java")
    others = {"top-1.0", "inner-2.0", "other-1.0", "junit-4.13.2", "hamcrest-core-1.3"}
    assert names(project) == {*JUNIT_5, *others}
    assert home / "w/core/src/main/java" in project.roots
    assert project.options[-2:] == ("--release", "17")


def test_the_cache_of_gradle_comes_first(home: Path) -> None:
    folder = home / ".gradle/caches/modules-2/files-2.1/a/top/3/0123"
    folder.mkdir(parents=True)
    (folder / "top-3.jar").write_text("")
    text = f'dependencies {{\n    testImplementation("{JUPITER}")\n    api("a:top:3")\n}}\n'
    project = opened(home / "w", {"build.gradle.kts": text})
    assert folder / "top-3.jar" in project.jars


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("implementation 'a:gone:1'", r"^a:gone:1 is not in .*Gradle"),
        ("implementation 'a:top'", r"^The version of a:top cannot be found"),
        ("annotationProcessor 'a:top:1.0'", r"annotation processors"),
    ],
)
def test_what_gradle_cannot_resolve_is_named(home: Path, line: str, message: str) -> None:
    text = f"dependencies {{\n    testImplementation '{JUPITER}'\n    {line}\n}}\n"
    with pytest.raises(CannotRunError, match=message):
        opened(home / "w", {"build.gradle": text})


def test_a_folder_without_build_file_gets_the_newest_junit(home: Path) -> None:
    files = {"lib/own.jar": ""}
    project = opened(home / "w", files, "src/shop/A.java")
    assert names(project) == {*JUNIT_5, "own"}
    assert project.roots[0] == home / "w/src"


def test_another_repository_of_the_settings(home: Path) -> None:
    (home / ".m2" / "repository").rename(home / "elsewhere")
    settings = "<settings><localRepository>${user.home}/elsewhere</localRepository></settings>"
    (home / ".m2" / "settings.xml").write_text(settings)
    project = opened(home / "w", {"pom.xml": pom_of("g:s:1", dependency(JUPITER))})
    assert all(jar.is_relative_to(home / "elsewhere") for jar in project.jars)
