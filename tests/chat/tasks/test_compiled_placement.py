"""Tests of Go, Rust and Java go where they compile."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from engine.errors import RequestError
from tests.chat.tasks.placements import Placement, place, propose_in
from tests.chat.tasks.test_write_tests import find_or_skip, run
from tests.conftest import OPTIONAL

GO = "package geo\n\nfunc Total(a int) int {\n\treturn a + 1\n}\n"
GO_ANSWER = (
    '(t *testing.T) {\n\tif got := Total(1); got != 2 {\n\t\tt.Errorf("got %d", got)\n\t}\n}\n'
)
OUTSIDE = (
    'package geo_test\n\nimport (\n\t"testing"\n\n\t"x/geo"\n)\n\n'
    "func TestOld(t *testing.T) { _ = geo.Total }\n"
)
INSIDE = 'package geo\n\nimport "testing"\n\nfunc TestOld(t *testing.T) {}\n'

GO_PLACEMENTS = {
    "outside of the package": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {"go.mod": "module x\n", "geo/m.go": GO, "geo/m_test.go": OUTSIDE},
        ("geo.Total(1)",),
        ("= Total(",),
    ),
    "outside, in a new file": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {
            "go.mod": "// a module\nmodule example.com/x // here\n\ngo 1.22\n",
            "geo/m.go": GO,
            "geo/o_test.go": OUTSIDE,
        },
        ("package geo_test\n", '"example.com/x/geo"', "geo.Total(1)"),
    ),
    "a literal of a type of the package": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {
            "go.mod": "module x\n",
            "geo/m.go": "package geo\n\ntype Box struct{ Side int }\n\n"
            "func Total(b Box) int { return b.Side }\n",
            "geo/m_test.go": OUTSIDE,
        },
        ("geo.Total(geo.Box{Side: 2})",),
        answer="(t *testing.T) {\n\tif Total(Box{Side: 2}) != 2 {\n\t\tt.Fatal()\n\t}\n}\n",
    ),
    "already qualified": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {"go.mod": "module x\n", "geo/m.go": GO, "geo/m_test.go": OUTSIDE},
        ("geo.Total(1)",),
        ("geo.geo.",),
        answer=GO_ANSWER.replace("Total(", "geo.Total("),
    ),
    "imported under another name": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {
            "go.mod": "module x\n",
            "geo/m.go": GO,
            "geo/m_test.go": OUTSIDE.replace('"x/geo"', 'g "x/geo"').replace("geo.T", "g.T"),
        },
        ("g.Total(1)",),
        ("geo.Total",),
    ),
    "imported with a dot": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {
            "go.mod": "module x\n",
            "geo/m.go": GO,
            "geo/m_test.go": OUTSIDE.replace('"x/geo"', '. "x/geo"').replace("geo.T", "T"),
        },
        ("= Total(1)",),
        ("geo.Total",),
    ),
    "not exported, tests outside of the package": Placement(
        "geo/m.go",
        "geo/m_internal_test.go",
        {
            "go.mod": "module x\n",
            "geo/m.go": GO.replace("Total", "total"),
            "geo/m_test.go": OUTSIDE,
        },
        ("package geo\n", "= total(1)"),
        answer=GO_ANSWER.replace("Total(", "total("),
    ),
    "no go.mod": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {"geo/m.go": GO, "geo/m_test.go": OUTSIDE},
        ("geo.Total(1)",),
    ),
    "package main": Placement(
        "cmd/main.go",
        "cmd/main_test.go",
        {"go.mod": "module x\n", "cmd/main.go": GO.replace("geo", "main")},
        ("package main\n", "= Total(1)"),
    ),
    "a build constraint": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {"go.mod": "module x\n", "geo/m.go": "//go:build integration\n\n" + GO},
        ("//go:build integration\n\npackage geo\n",),
    ),
    "a build constraint that the existing test does not have": Placement(
        "geo/m.go",
        "geo/m_internal_test.go",
        {"go.mod": "module x\n", "geo/m.go": "//go:build linux\n\n" + GO, "geo/m_test.go": INSIDE},
        ("//go:build linux\n\npackage geo\n",),
    ),
    "the name of the operating system": Placement(
        "geo/m_linux.go", "geo/m_linux_test.go", {"go.mod": "module x\n", "geo/m_linux.go": GO}
    ),
    "a name that another file of the package has": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {
            "go.mod": "module x\n",
            "geo/m.go": GO,
            "geo/o_test.go": INSIDE.replace("TestOld", "TestTotal"),
        },
        ("func TestTotal_2(",),
    ),
    "the word package in a comment": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {"go.mod": "module x\n", "geo/m.go": "/*\npackage wrong\n*/\n" + GO},
        ("package geo\n",),
    ),
    "go.mod is broken": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {"go.mod": b"\xff\x00", "geo/m.go": GO, "geo/m_test.go": INSIDE},
        ("= Total(1)",),
    ),
    "an import on one line": Placement(
        "geo/m.go",
        "geo/m_test.go",
        {
            "go.mod": "module x\n",
            "geo/m.go": GO,
            "geo/m_test.go": INSIDE.replace('"testing"', '("testing")'),
        },
        ('import ("testing"\n\t"reflect"\n)',),
        answer=GO_ANSWER.replace("got != 2", "!reflect.DeepEqual(got, 2)"),
    ),
}


@pytest.mark.parametrize("name", GO_PLACEMENTS)
async def test_go_tests_are_in_a_package_that_sees_the_function(name: str, tmp_path: Path) -> None:
    await place(GO_PLACEMENTS[name], tmp_path, GO_ANSWER)


RUST = "pub fn total(a: i32) -> i32 {\n    a\n}\n"
RUST_ANSWER = "() {\n    assert_eq!(total(1), 1);\n}\n"
CARGO = '[package]\nname = "my-shop"\nversion = "0.1.0"\nedition = "2021"\n'
OLD = "use super::*;\n\n#[test]\nfn old() {\n    assert_eq!(total(2), 2);\n}\n"

RUST_PLACEMENTS = {
    "mod tests; in lib.rs": Placement(
        "src/lib.rs",
        "src/tests.rs",
        {"src/lib.rs": RUST + "\n#[cfg(test)]\nmod tests;\n", "src/tests.rs": OLD},
        ("fn old()", "fn test_total()"),
    ),
    "mod tests; in a module": Placement(
        "src/prices.rs",
        "src/prices/tests.rs",
        {
            "src/lib.rs": "pub mod prices;\n",
            "src/prices.rs": RUST + "\n#[cfg(test)]\nmod tests;\n",
            "src/prices/tests.rs": OLD,
        },
    ),
    "mod tests; in mod.rs": Placement(
        "src/prices/mod.rs",
        "src/prices/tests/mod.rs",
        {
            "src/lib.rs": "pub mod prices;\n",
            "src/prices/mod.rs": RUST + "\n#[cfg(test)]\nmod tests;\n",
            "src/prices/tests/mod.rs": OLD,
        },
    ),
    "mod tests; without its file": Placement(
        "src/lib.rs",
        "src/tests.rs",
        {"src/lib.rs": RUST + "\n#[cfg(test)]\nmod tests;\n"},
        ("use super::*;\n\n#[test]\nfn test_total()",),
    ),
    "the attribute path": Placement(
        "src/prices.rs",
        "src/checks/prices.rs",
        {
            "src/lib.rs": "pub mod prices;\n",
            "src/prices.rs": RUST + '\n#[cfg(test)]\n#[path = "checks/prices.rs"]\nmod tests;\n',
            "src/checks/prices.rs": "//! Checks.\n#![allow(dead_code)]\n",
        },
        ("#![allow(dead_code)]\nuse super::*;\n",),
    ),
    "mod test": Placement(
        "src/lib.rs",
        "src/lib.rs",
        {"src/lib.rs": RUST + "\n#[cfg(test)]\nmod test {\n}\n"},
        ("mod test {\n    use super::*;\n",),
        ("mod tests",),
    ),
    "a test module that imports other names": Placement(
        "src/lib.rs",
        "src/lib.rs",
        {
            "src/lib.rs": RUST + "pub fn o() {}\n\n#[cfg(test)]\nmod tests {\n    use super::o;\n\n"
            "    #[test]\n    fn old() {\n        o();\n    }\n}\n"
        },
        ("    use super::*;\n", "    use super::o;\n"),
    ),
    "a test module on one line": Placement(
        "src/lib.rs", "src/lib.rs", {"src/lib.rs": RUST + "\n#[cfg(test)]\nmod tests {}\n"}
    ),
    "a module named tests that is no test module": Placement(
        "src/lib.rs",
        "src/lib.rs",
        {"src/lib.rs": RUST + "\npub mod tests {\n    pub fn o() {}\n}\n"},
        ("#[cfg(test)]\nmod test {",),
    ),
    "a function in an inner module": Placement(
        "src/lib.rs",
        "src/lib.rs",
        {
            "src/lib.rs": "pub mod inner {\n    fn total(a: i32) -> i32 {\n        a\n    }\n\n"
            "    pub fn o() -> i32 {\n        total(1)\n    }\n}\n\n"
            "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"
        },
        ("    #[cfg(test)]\n    mod tests {\n        use super::*;\n",),
    ),
    "names of the standard library": Placement(
        "src/lib.rs",
        "src/lib.rs",
        {"src/lib.rs": RUST + "\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"},
        ("    use std::collections::HashMap;\n",),
        answer="() {\n    let mut m = HashMap::new();\n    m.insert(1, total(1));\n"
        "    assert_eq!(m[&1], 1);\n}\n\nuse std::collections::HashMap;\n",
    ),
    "an integration test of the module": Placement(
        "src/prices.rs",
        "tests/prices.rs",
        {
            "src/lib.rs": "pub mod prices;\n",
            "src/prices.rs": RUST + "\npub fn o() {}\n",
            "tests/prices.rs": "use my_shop::prices::o;\n\n#[test]\nfn old() {\n    o();\n}\n",
        },
        ("use my_shop::prices::total;\n",),
    ),
    "an integration test that cannot see the function": Placement(
        "src/prices.rs",
        "src/prices.rs",
        {
            "src/lib.rs": "pub mod prices;\n",
            "src/prices.rs": RUST[4:] + "\npub fn o() -> i32 {\n    total(1)\n}\n",
            "tests/prices.rs": "use my_shop::prices::o;\n\n#[test]\nfn old() {\n    o();\n}\n",
        },
    ),
    "a module that other crates cannot see": Placement(
        "src/prices.rs",
        "src/prices.rs",
        {
            "src/lib.rs": "mod prices;\npub use prices::total as sum;\n",
            "src/prices.rs": RUST,
            "tests/prices.rs": "#[test]\nfn old() {}\n",
        },
    ),
    "a program": Placement(
        "src/main.rs",
        "src/tests.rs",
        {
            "src/main.rs": RUST + "\nfn main() {\n    total(1);\n}\n\n#[cfg(test)]\nmod tests;\n",
            "src/tests.rs": OLD,
        },
    ),
    "one of several programs": Placement(
        "src/bin/tool/main.rs",
        "src/bin/tool/checks.rs",
        {
            "src/bin/tool/main.rs": RUST + "\nfn main() {\n    total(1);\n}\n\n#[cfg(test)]\n"
            "mod checks;\n",
            "src/bin/tool/checks.rs": OLD,
        },
    ),
    "a library at another path": Placement(
        "src/shop.rs",
        "src/tests.rs",
        {
            "Cargo.toml": CARGO + '[lib]\npath = "src/shop.rs"\n',
            "src/shop.rs": RUST + "\n#[cfg(test)]\nmod tests;\n",
            "src/tests.rs": OLD,
        },
    ),
    "CR LF": Placement(
        "src/lib.rs",
        "src/tests.rs",
        {
            "src/lib.rs": (RUST + "\n#[cfg(test)]\nmod tests;\n").replace("\n", "\r\n"),
            "src/tests.rs": OLD.replace("\n", "\r\n"),
        },
    ),
}


@pytest.mark.parametrize("name", RUST_PLACEMENTS)
async def test_rust_tests_are_in_the_test_module(name: str, tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text(CARGO)
    await place(RUST_PLACEMENTS[name], tmp_path, RUST_ANSWER)


@pytest.mark.parametrize("name", RUST_PLACEMENTS)
async def test_cargo_runs_the_tests(name: str, tmp_path: Path) -> None:
    cargo = find_or_skip("cargo")
    (tmp_path / "Cargo.toml").write_text(CARGO)
    await place(RUST_PLACEMENTS[name], tmp_path, RUST_ANSWER)
    output = run([cargo, "test", "--offline", "--tests"], tmp_path)
    assert re.search(r"test_total \.\.\. ok", output)


JAVA = (
    "package com.main;\n\npublic class Box {\n    public static int total(int a) {\n"
    "        return a;\n    }\n}\n"
)
JAVA_ANSWER = "() {\n        assertEquals(2, Box.total(2));\n    }\n}\n"
JUNIT_5 = "import org.junit.jupiter.api.Test;\nimport static org.junit.jupiter.api.Assertions.*;\n"
JUNIT_4 = "import org.junit.Test;\nimport static org.junit.Assert.*;\n"
POM_4 = "<project><dependency><artifactId>junit</artifactId></dependency></project>"


def java_test(name: str, imports: str = JUNIT_5, package: str = "com.main") -> str:
    return (
        f"package {package};\n\n{imports}\npublic class {name} {{\n    @Test\n"
        "    public void old() {\n        assertEquals(1, 1);\n    }\n}\n// }\n"
    )


JAVA_PLACEMENTS = {
    "a package named main": Placement(
        "app/src/main/java/com/main/Box.java",
        "app/src/test/java/com/main/BoxTest.java",
        {"app/src/main/java/com/main/Box.java": JAVA},
    ),
    "a folder named main above the project": Placement(
        "main/src/main/java/com/main/Box.java",
        "main/src/test/java/com/main/BoxTest.java",
        {"main/src/main/java/com/main/Box.java": JAVA},
    ),
    "another source set": Placement(
        "src/debug/java/com/main/Box.java",
        "src/test/java/com/main/BoxTest.java",
        {"src/debug/java/com/main/Box.java": JAVA},
    ),
    "a class of the same name in another package": Placement(
        "src/main/java/com/main/Box.java",
        "src/test/java/com/main/BoxTest.java",
        {
            "pom.xml": "<project/>",
            "src/main/java/com/main/Box.java": JAVA,
            "src/test/java/com/other/BoxTest.java": java_test("BoxTest", package="com.other"),
        },
        absent=("old()",),
    ),
    "an existing test": Placement(
        "src/main/java/com/main/Box.java",
        "src/test/java/com/main/BoxTests.java",
        {
            "src/main/java/com/main/Box.java": JAVA,
            "src/test/java/com/main/BoxTests.java": java_test("BoxTests"),
        },
        ("    }\n\n    @Test\n    public void total() {", "}\n// }\n"),
    ),
    "the other module of a build": Placement(
        "one/src/main/java/com/main/Box.java",
        "one/src/test/java/com/main/BoxTest.java",
        {
            "pom.xml": "<project/>",
            "one/pom.xml": "<project/>",
            "two/pom.xml": "<project/>",
            "one/src/main/java/com/main/Box.java": JAVA,
            "two/src/test/java/com/main/BoxTest.java": java_test("BoxTest"),
        },
        absent=("old()",),
    ),
    "src and test": Placement(
        "src/com/main/Box.java",
        "test/com/main/BoxTest.java",
        {"src/com/main/Box.java": JAVA, "test/com/main/OTest.java": java_test("OTest")},
    ),
    "a configured folder": Placement(
        "src/com/main/Box.java",
        "checks/com/main/BoxTest.java",
        {
            "pom.xml": "<project><testSourceDirectory>${project.basedir}/checks"
            "</testSourceDirectory></project>",
            "src/com/main/Box.java": JAVA,
        },
    ),
    "the default package": Placement(
        "src/main/java/Box.java",
        "src/test/java/BoxTest.java",
        {"src/main/java/Box.java": JAVA.replace("package com.main;\n\n", "")},
        absent=("package",),
    ),
    "tests whose name begins with Test": Placement(
        "src/main/java/com/main/Box.java",
        "src/test/java/com/main/TestBox.java",
        {
            "src/main/java/com/main/Box.java": JAVA,
            "src/test/java/com/main/TestOther.java": java_test("TestOther"),
        },
    ),
    "JUnit 4 runs only public classes": Placement(
        "src/main/java/com/main/Box.java",
        "src/test/java/com/main/BoxTest.java",
        {"pom.xml": POM_4, "src/main/java/com/main/Box.java": JAVA},
        (
            "public class BoxTest",
            "public void total()",
            "    public void more()",
            "org.junit.Assert",
        ),
        answer="() {\n        assertEquals(2, Box.total(2));\n    }\n\n    @Test\n    void more() {\n"
        "        assertEquals(3, Box.total(3));\n    }\n}\n",
    ),
    "an existing test of JUnit 4": Placement(
        "src/main/java/com/main/Box.java",
        "src/test/java/com/main/BoxTest.java",
        {
            "src/main/java/com/main/Box.java": JAVA,
            "src/test/java/com/main/BoxTest.java": java_test("BoxTest", JUNIT_4),
            "src/test/java/com/main/OTest.java": java_test("OTest"),
        },
        absent=("jupiter",),
    ),
    "a nested class": Placement(
        "src/main/java/com/main/Box.java",
        "src/test/java/com/main/BoxTest.java",
        {
            "src/main/java/com/main/Box.java": "package com.main;\n\nclass Box {\n"
            "    static class Inner {\n        static int total(int a) {\n            return a;\n"
            "        }\n    }\n}\n"
        },
        answer="() {\n        assertEquals(2, Box.Inner.total(2));\n    }\n}\n",
    ),
    "CR LF": Placement(
        "src/main/java/com/main/Box.java",
        "src/test/java/com/main/BoxTest.java",
        {
            "src/main/java/com/main/Box.java": JAVA.replace("\n", "\r\n"),
            "src/test/java/com/main/BoxTest.java": java_test("BoxTest").replace("\n", "\r\n"),
        },
        ("\r\n\r\n    @Test\r\n    public void total() {\r\n",),
    ),
}


@pytest.mark.parametrize("name", JAVA_PLACEMENTS)
async def test_java_tests_are_in_the_package_of_the_class(name: str, tmp_path: Path) -> None:
    await place(JAVA_PLACEMENTS[name], tmp_path, JAVA_ANSWER)


def junit_jars() -> list[Path]:
    """The jars of JUnit that Maven has downloaded on this machine."""
    repository = Path(os.environ.get("MAVEN_REPOSITORY", Path.home() / ".m2" / "repository"))
    patterns = (
        "org/junit/jupiter/junit-jupiter-api/5.*/*.jar",
        "org/apiguardian/apiguardian-api/*/*.jar",
        "org/opentest4j/opentest4j/*/*.jar",
        "org/junit/platform/junit-platform-commons/1.*/*.jar",
        "junit/junit/4.*/*.jar",
    )
    return [next(iter(sorted(repository.glob(pattern))), Path()) for pattern in patterns]


@pytest.mark.parametrize("name", JAVA_PLACEMENTS)
async def test_javac_compiles_the_tests(name: str, tmp_path: Path) -> None:
    javac, jars = find_or_skip("javac"), junit_jars()
    if Path() in jars:
        pytest.skip(f"{OPTIONAL}JUnit is not in the repository of Maven")
    placement = JAVA_PLACEMENTS[name]
    await place(placement, tmp_path, JAVA_ANSWER)
    classpath = os.pathsep.join(map(str, jars))
    sources = [placement.source, placement.test_file]
    command = [javac, "-proc:none", "-d", "out", "-cp", classpath, *sources]
    run(command, tmp_path)


@pytest.mark.parametrize(
    ("name", "code", "match"),
    [
        ("geo/m_test.go", GO, "m_test.go contains tests"),
        ("geo/m.go", "package geo\n\nfunc init() { total() }\n", "Go calls init itself"),
        ("src/lib.rs", "#[test]\nfn total() {}\n", "total belongs to the tests"),
        ("src/lib.rs", "#[cfg(test)]\nmod t {\n    fn total() {}\n}\n", "belongs to the tests"),
        ("build.rs", RUST, "runs no tests in build.rs"),
        (
            "src/main/java/A.java",
            "class A {\n    private int total() {\n    }\n}\n",
            "total is private",
        ),
        ("src/test/java/ATest.java", java_test("ATest").replace("old", "total"), "contains tests"),
    ],
)
async def test_what_a_test_cannot_call_is_an_error_before_the_model_is_asked(
    name: str, code: str, match: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=match):
        await propose_in(Placement(name, "", {name: code}), tmp_path, "")


async def test_testng_is_an_error(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "src/main/java/com/main/Box.java": JAVA,
        "src/test/java/com/main/OTest.java": java_test(
            "OTest", "import org.testng.annotations.Test;"
        ),
    }
    placement = Placement("src/main/java/com/main/Box.java", "", files)
    with pytest.raises(RequestError, match="TestNG"):
        await propose_in(placement, tmp_path, JAVA_ANSWER)


async def test_a_test_that_needs_unexported_names_is_not_put_outside_of_the_package(
    tmp_path: Path,
) -> None:
    files: dict[str, str | bytes] = {
        "go.mod": "module x\n",
        "geo/m.go": GO + "\nfunc twice(a int) int { return 2 * a }\n",
        "geo/m_test.go": OUTSIDE,
    }
    answer = GO_ANSWER.replace("got != 2", "got != twice(1)")
    with pytest.raises(RequestError, match="no test of Total that can be used"):
        await propose_in(Placement("geo/m.go", "", files, cursor="Total"), tmp_path, answer)
