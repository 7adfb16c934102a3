"""JUnit 5 and JUnit 4, with the real JDK in the real sandbox."""

import time
from pathlib import Path

import pytest

from chat.tasks.checking.java.repositories import Library, own_repositories
from chat.tasks.checking.runner import CannotRunError, Run
from sandbox.toolchains import java_of_path
from syntax.mutations import Mutation
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
        method("parse", 'assertEquals(1, Integer.parseInt("x"));'),
    ]
    files = {SOURCE: CLAMP.replace("\n", "\r\n"), "pom.xml": pom}
    with opened(root, files, "return low", "java", *tests) as project:
        repaired = project.runner.repair(project.job, project.generated)
        plain, *mutants = project.runner.run(project.job, repaired, [None, *project.mutations])
    assert "parse" not in {test.name for test in repaired.tests}  # the error is its own
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
    monkeypatch.setattr("chat.tasks.checking.java.runner._SECONDS", 5.0)
    loop = "for (int i = 0; i < 1 << 18; i++) {"
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
    assert mutant.failed  # a test that needs too long ends the others of a mutation
    assert mutant.passed | mutant.failed <= plain.passed


def test_a_mutation_that_makes_a_loop_endless_is_detected(tmp_path: Path) -> None:
    branch = "if (x < low) {\n            return low;"
    source = CLAMP.replace(branch, "while (x < low) {\n            x++;")
    files = {SOURCE: source, "pom.xml": POM}
    test = method("counts", "assertEquals(7, Prices.clamp(1, 7, 9));")
    with opened(tmp_path, files, "return high", "java", test) as project:
        start = source.index("x++")
        endless = Mutation(start, start + 3, "x += 0", 5, "")
        after = source.index("return high")
        other = Mutation(after, after + 11, "return low", 8, "")
        begin = time.monotonic()
        plain, mutant, after_it = project.runner.run(
            project.job, project.generated, [None, endless, other]
        )
        taken = time.monotonic() - begin
    assert plain.passed == mutant.failed == {"counts"}
    assert after_it.passed == {"counts"}
    assert taken < 60


def test_modules_resources_other_classes_and_existing_tests(tmp_path: Path) -> None:
    files = {
        SOURCE: CLAMP.replace("return x;", "return Other.same(x);"),
        "src/main/java/shop/Other.java": "package shop;\n\nclass Other {\n    static int same(int x) { return x; }\n}\n",
        "src/main/java/module-info.java": "module shop { exports shop; }",
        "src/main/resources/name.txt": "shop",
        "src/test/java/shop/Base.java": "package shop;\n\nclass Base {\n    static final int THREE = 3;\n}\n",
        "src/test/java/shop/PricesTest.java": "package shop;\n\nimport static org.junit.jupiter.api.Assertions.assertEquals;\n\n"
        "import org.junit.jupiter.api.Test;\n\nclass PricesTest extends Base {\n    @Test\n    void old() {\n        assertEquals(1, 2);\n    }\n}\n",
        "pom.xml": POM,
    }  # fmt: skip
    resource = 'assertTrue(Prices.class.getResource("/name.txt") != null);'
    tests = [
        method("uses", "assertEquals(THREE, Prices.clamp(3, 1, 5));", resource),
        method(
            "reads", 'assertTrue(java.nio.file.Files.exists(java.nio.file.Path.of("pom.xml")));'
        ),
    ]
    with opened(tmp_path, files, "return low", "java", *tests) as project:
        assert run(project) == Run(passed=frozenset({"uses", "reads"}))


def test_a_project_of_gradle_in_java_11(tmp_path: Path) -> None:
    gradle = (
        "sourceCompatibility = '11'\ndependencies {\n"
        "    testImplementation 'org.junit.jupiter:junit-jupiter:5.10.2'\n}\n"
    )
    switch = method("newer", "assertEquals(1, switch (1) { case 1 -> 1; default -> 2; });")
    with opened(tmp_path, {SOURCE: CLAMP, "build.gradle": gradle}, "return low", "java",
                method("works", RIGHT), switch) as project:  # fmt: skip
        result = run(project)
    assert result.passed == {"works"}
    assert result.failed == {"newer"}


def test_a_source_that_does_not_compile(tmp_path: Path) -> None:
    files = {SOURCE: CLAMP.replace("return x;", "return nothing;"), "pom.xml": POM}
    with opened(tmp_path, files, "return low", "java", method("works", RIGHT)) as project:
        result = run(project)
    assert not result.passed | result.failed
    assert "nothing" in result.problem


def test_other_arguments_expect_what_was_observed(tmp_path: Path) -> None:
    source = """package shop;

import java.util.ArrayList;
import java.util.List;

public class Prices {
    public List<Double> halves(List<Integer> prices) {
        List<Double> result = new ArrayList<>();
        for (int price : prices) {
            if (price < 0) {
                throw new IllegalArgumentException("no price");
            }
            result.add(price / 2.0);
        }
        return result;
    }
}
"""
    with opened(tmp_path, {SOURCE: source, "pom.xml": POM}, "result.add", "java") as project:
        probes = project.runner.probe(project.job, project.generated)
        result, *mutants = project.runner.run(project.job, probes, [None, *project.mutations])
    texts = "\n".join(test.text for test in probes.tests)
    call = "new Prices().halves(Arrays.asList("
    assert f"assertEquals(Arrays.asList(1.5), {call}3)));" in texts
    assert "assertEquals(Arrays.asList(), new Prices().halves(Collections.emptyList()));" in texts
    assert f"assertThrows(IllegalArgumentException.class, () -> {call}-2, 0, 3)));" in texts
    assert "null" not in texts
    assert result.passed == {test.name for test in probes.tests}
    assert sum(bool(mutant.failed) for mutant in mutants) > len(mutants) / 2


def test_without_junit_a_sentence_says_what_is_missing(tmp_path: Path) -> None:
    opening = opened(tmp_path, {SOURCE: CLAMP, "pom.xml": POM.replace("5.10.2", "5.0.77")},
                     "return low", "java", method("works", RIGHT))  # fmt: skip
    with pytest.raises(CannotRunError, match=r"junit-jupiter:5\.0\.77 is not in .*Maven"):
        opening.__enter__()
