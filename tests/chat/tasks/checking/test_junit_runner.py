"""JUnit 5 and JUnit 4, with the real JDK in the real sandbox."""

import time
from pathlib import Path

import pytest

from chat.tasks.checking.java_repositories import Library, own_repositories
from chat.tasks.checking.runner import CannotRunError, Run
from sandbox.toolchains import java_of_path
from tests.chat.tasks.checking.running import Opened, opened, require_program
from tests.conftest import OPTIONAL

CLAMP = """package shop;

public class Prices {
    public static int clamp(int x, int low, int high) {
        if (x < low) {
            return low;
        }
        if (x > high) {
            return high;
        }
        return x;
    }
}
"""
SOURCE = "src/main/java/shop/Prices.java"
POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId><artifactId>shop</artifactId><version>1</version>
  <properties><maven.compiler.release>17</maven.compiler.release></properties>
  <dependencies>
    <dependency>
      <groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter</artifactId>
      <version>5.10.2</version><scope>test</scope>
    </dependency>
  </dependencies>
</project>
"""
JUNIT_4 = POM.replace("org.junit.jupiter", "junit").replace("junit-jupiter", "junit")
POM_4 = JUNIT_4.replace("5.10.2", "4.13.2")
RIGHT = "assertEquals(3, Prices.clamp(5, 1, 3));"


def method(name: str, *lines: str) -> tuple[str, str]:
    body = "\n        ".join(lines)
    return name, f"@Test\n    void {name}() throws Exception {{\n        {body}\n    }}"


@pytest.fixture(autouse=True)
def needs_junit() -> None:
    require_program("javac")
    repositories = own_repositories(with_gradle=True)
    for library in (
        Library("org.junit.jupiter", "junit-jupiter-engine", "5.10.2"),
        Library("org.junit.platform", "junit-platform-launcher", "1.10.2"),
        Library("junit", "junit", "4.13.2"),
    ):
        if repositories.jar(library) is None or java_of_path() is None:
            pytest.skip(f"{OPTIONAL}{library} is not in {repositories}")


def run(project: Opened) -> Run:
    (result,) = project.runner.run(project.job, project.generated, [None])
    return result


@pytest.mark.parametrize("pom", [POM, POM_4])
def test_right_tests_pass_and_wrong_values_are_corrected(tmp_path: Path, pom: str) -> None:
    root = tmp_path / "it's 🎉"
    writes = f'java.nio.file.Files.writeString(java.nio.file.Path.of("{root}/stolen"), "x");'
    tests = [
        method("works", RIGHT, "assertTrue(Prices.clamp(2, 1, 3) == 2);"),
        method("wrong", "assertEquals(0, Prices.clamp(0, 1, 3));"),
        method("broken", "assertEquals(1, Prices.clamp(5));"),
        method("writes", writes, RIGHT),
    ]
    files = {SOURCE: CLAMP.replace("\n", "\r\n"), "pom.xml": pom}
    with opened(root, files, "return low", "java", *tests) as project:
        repaired = project.runner.repair(project.job, project.generated)
        plain, *mutants = project.runner.run(project.job, repaired, [None, *project.mutations])
    line = "        assertEquals(1, Prices.clamp(0, 1, 3)); // current behaviour\n"
    assert line in repaired.tests[1].text
    assert repaired.tests[0] == project.generated.tests[0]
    assert plain.passed == {"works", "wrong"}
    assert plain.failed == {"broken", "writes"}
    for name in plain.passed:
        assert any(name in mutant.failed for mutant in mutants)
        assert any(name in mutant.passed for mutant in mutants)
    assert not any(mutant.passed & mutant.failed for mutant in mutants)


def test_tests_that_print_exit_hang_or_leave_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.tasks.checking.junit_runner._SECONDS", 4.0)
    loop = "for (int i = 0; i < 1 << 22; i++) {"
    thread = "new Thread(() -> { while (true) { Thread.onSpinWait(); } }).start();"
    tests = [
        method("prints", f'{loop} System.out.print("[0, \\"passed\\", 1]\\n"); }}', RIGHT),
        method("exits", RIGHT, "System.exit(0);"),
        method("hangs", RIGHT, "while (Prices.clamp(1, 1, 1) == 1) { }"),
        method("leaves", thread, RIGHT),
        method("fills", "java.util.List<long[]> all = new java.util.ArrayList<>();",
               "while (true) { all.add(new long[1 << 24]); }"),
        method("reads", "assertEquals(-1, System.in.read());"),
    ]  # fmt: skip
    files = {SOURCE: CLAMP, "pom.xml": POM}
    with opened(tmp_path, files, "return low", "java", *tests) as project:
        plain, mutant = project.runner.run(
            project.job, project.generated, [None, project.mutations[0]]
        )
    assert plain.passed == {"prints", "leaves", "reads"}
    assert plain.failed == {"exits", "hangs", "fills"}
    assert mutant.passed | mutant.failed == plain.passed


def test_a_mutation_that_makes_a_loop_endless_is_detected(tmp_path: Path) -> None:
    source = CLAMP.replace("if (x < low) {", "while (x < low) {\n            x++;")
    files = {SOURCE: source, "pom.xml": POM}
    test = method("counts", "assertEquals(7, Prices.clamp(1, 7, 9));")
    with opened(tmp_path, files, "return low", "java", test) as project:
        start = source.index("x++")
        endless = project.mutations[0].__class__(start, start + 3, "x--;x++", 5, "")
        others = [each for each in project.mutations if each.description][:1]
        begin = time.monotonic()
        plain, mutant, *_ = project.runner.run(
            project.job, project.generated, [None, endless, *others]
        )
        taken = time.monotonic() - begin
    assert plain.passed == mutant.failed == {"counts"}
    assert taken < 60
