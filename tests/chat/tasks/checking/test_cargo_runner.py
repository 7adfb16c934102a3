"""Cargo, real and in the real sandbox."""

from pathlib import Path

import pytest

from chat.tasks.checking.rust.observing import corrected_test
from chat.tasks.checking.rust.runner import read_tests
from tests.chat.tasks.checking.running import opened, require_program

CLAMP = """pub fn clamp(x: i32, low: i32, high: i32) -> i32 {
    if x < low {
        return low;
    }
    if x > high { high } else { x }
}
"""
MANIFEST = '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2021"\n'
RIGHT = (
    "works",
    "#[test]\nfn works() {\n    assert_eq!(clamp(5, 1, 3), 3);\n    assert!(clamp(2, 1, 3) == 2);\n}",
)
WRONG = (
    "wrong",
    "#[test]\nfn wrong() {\n    assert_eq!(clamp(0, 1, 3), 0);\n    assert!(clamp(5, 1, 3) > 7);\n}",
)
BROKEN = ("broken", "#[test]\nfn broken() {\n    assert_eq!(clamp(5, 1), 3);\n}")
LOOP = (
    "endless",
    "#[test]\nfn endless() {\n    loop {\n        assert_eq!(clamp(5, 1, 3), 3);\n    }\n}",
)
WRITES = (
    "writes",
    '#[test]\nfn writes() {\n    std::fs::write("@", "x").unwrap();\n    assert_eq!(clamp(5, 1, 3), 3);\n}',
)

EXIT = "    std::process::exit(0);\n    assert!"
BELOW = ("below", "#[test]\nfn below() {\n    assert_eq!(clamp(0, 1, 3), 1);\n}")


@pytest.fixture(autouse=True)
def needs_cargo() -> None:
    require_program("cargo")


def test_right_tests_pass_and_wrong_values_are_corrected(tmp_path: Path) -> None:
    root = tmp_path / "it's 🎉"
    files = {
        "crates/shop/src/geo.rs": CLAMP.replace("\n", "\r\n"),
        "crates/shop/src/lib.rs": "pub mod geo;\npub fn other() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn works() {\n        assert!(false);\n    }\n}\n",
        "crates/shop/Cargo.toml": MANIFEST,
        "Cargo.toml": '[workspace]\nmembers = ["crates/*"]\nresolver = "2"\n',
    }
    writes = ("writes", WRITES[1].replace("@", str(root / "stolen")))
    with opened(root, files, "return low", "rust", RIGHT, WRONG, BROKEN, writes) as project:
        repaired = project.runner.repair(project.job, project.generated)
        plain, *mutants = project.runner.run(project.job, repaired, [None, *project.mutations])
    assert repaired.tests[1].text == (
        "#[test]\nfn wrong() {\n    assert_eq!(clamp(0, 1, 3), 1); // current behaviour\n"
        "    assert!(!(clamp(5, 1, 3) > 7)); // current behaviour\n}"
    )
    assert plain.passed == {"works", "wrong"}
    assert plain.failed == {"broken", "writes"}
    for name in plain.passed:
        assert any(name in mutant.failed for mutant in mutants)
        assert any(name in mutant.passed for mutant in mutants)


def test_an_endless_test_and_an_integration_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.tasks.checking.build_runner._SECONDS", 8.0)
    files = {
        "src/lib.rs": CLAMP,
        "tests/shop.rs": "use shop::clamp;\n\n#[test]\nfn old() {\n    assert_eq!(clamp(1, 2, 3), 2);\n}\n",
        "Cargo.toml": MANIFEST,
    }
    with opened(tmp_path, files, "return low", "rust", LOOP, RIGHT) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"works"}
    assert run.failed == {"endless"}


def test_a_test_that_ends_the_program_fails_and_does_not_stop_others(tmp_path: Path) -> None:
    source = CLAMP.replace("return low;", "return clamp(low, low, high);")
    files = {"src/lib.rs": source, "Cargo.toml": MANIFEST}
    exits = ("exits", RIGHT[1].replace("works", "exits").replace("    assert!", EXIT))
    with opened(tmp_path, files, "return clamp", "rust", exits, BELOW, RIGHT) as project:
        repaired = project.runner.repair(project.job, project.generated)
        endless = next(each for each in project.mutations if each.replacement == "<=")
        plain, mutant = project.runner.run(project.job, project.generated, [None, endless])
    assert "works" in {test.name for test in repaired.tests}
    assert plain.passed == {"works", "below"}
    assert plain.failed == {"exits"}
    assert "below" in mutant.failed  # the stack overflows


def test_a_source_that_does_not_compile(tmp_path: Path) -> None:
    files = {"src/lib.rs": f"use nothing::at_all;\n{CLAMP}", "Cargo.toml": MANIFEST}
    with opened(tmp_path, files, "return low", "rust", RIGHT) as project:
        first, second = project.runner.run(
            project.job, project.generated, [None, project.mutations[0]]
        )
    assert not first.passed | first.failed | second.passed | second.failed
    assert "nothing" in first.problem


def test_the_output_of_rust_tests() -> None:
    output = """
running 5 tests
test geo::tests::m_0 ... ok
test m_1 - should panic ... ok
test a::m_2 ... FAILED
test a::m_3 ... ignored, why
test a::other_7 ... ok
test a::m_4 ... """
    assert read_tests(output, "m") == ({0: True, 1: True, 2: False}, [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("line", "value", "expected"),
    [
        ("assert_eq!(f(), 3);", "-4", "assert_eq!(f(), -4);"),
        ("assert_eq!(f(), 3u8);", "4", "assert_eq!(f(), 4u8);"),
        ("assert_eq!(3, f());", "4", "assert_eq!(f(), 4);"),
        ("assert_eq!(f(), true);", "false", "assert_eq!(f(), false);"),
        ('assert_eq!(f(), "a");', '"é\\n"', 'assert_eq!(f(), "é\\n");'),
        ('assert_eq!(f(), "a".to_string(), "why");', '"b"', 'assert_eq!(f(), "b".to_string());'),
        ('assert_eq!(f(), String::from("a"));', '"b"', 'assert_eq!(f(), String::from("b"));'),
        ("assert_eq!(f(), Some(3));", "None", "assert_eq!(f(), None);"),
        ("assert_eq!(f(), None);", "Some(3)", "assert_eq!(f(), Some(3));"),
        ('assert_eq!(f(), Err("a".into()));', 'Err("b")', 'assert_eq!(f(), Err("b".into()));'),
        ("assert_eq!(f(), vec![1]);", "[1, 2]", "assert_eq!(f(), vec![1, 2]);"),
        ("assert_eq!(f(), 0.3);", "0.30000000000000004", "assert!((f() - (0.3)).abs() < 1e-0);"),
        ("assert!(f());", "false", "assert!(!(f()));"),
    ],
)  # fmt: skip
def test_corrections_in_the_form_of_the_test(line: str, value: str, expected: str) -> None:
    text = f"#[test]\nfn t() {{\n    {line}\n}}"
    corrected = text.replace(line, f"{expected} // current behaviour")
    assert corrected_test(text, {0: [(False, value)]}) == corrected
    assert corrected_test(text, {0: [(True, value)]}) == text


@pytest.mark.parametrize("value", ["Point { x: 1 }", "Ok(3)", "[]", "x" * 300])
def test_other_values_are_removed(value: str) -> None:
    text = "#[test]\nfn t() {\n    assert_eq!(f(), 3);\n    assert_eq!(f(), vec![4]);\n}"
    right = [(True, "4")]
    assert corrected_test(text, {0: [(False, value)], 1: right}) == text.replace(
        "    assert_eq!(f(), 3);\n", ""
    )
    assert corrected_test(text, {0: [(False, value)], 1: [(False, value)]}) is None


def test_a_long_text_is_removed() -> None:
    text = '#[test]\nfn t() {\n    assert_eq!(f(), "a");\n}'
    assert corrected_test(text, {0: [(False, f'"{"x" * 300}"')]}) is None
