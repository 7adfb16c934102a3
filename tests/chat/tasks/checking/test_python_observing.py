"""Assertions of Python tests: what they look at, and how wrong ones are corrected."""

import ast
from typing import Any

import pytest

from chat.tasks.checking.python.assertions import find_assertions
from chat.tasks.checking.python.observing import Observation, corrected_test, observed_test


def value(text: str, kind: str = "int", *, right: bool = False, call: str = "") -> Observation:
    return Observation(call, value=text, has_literal=True, kind=kind, right=right)


def raised(name: str, *, plausible: bool = True) -> Observation:
    return Observation(raised=name, plausible=plausible)


@pytest.mark.parametrize(
    ("line", "actual", "check"),
    [
        ("assert f(1) == 2", "f(1)", "seen == (2)"),
        ("assert 2 == f(1)", "f(1)", "seen == (2)"),
        ("assert f(1) != 2", "f(1)", "seen != (2)"),
        ("assert f('é🎉') == {'ß': []}", "f('é🎉')", "seen == ({'ß': []})"),
        ("assert f(1) is None, 'why'", "f(1)", "seen is (None)"),
        ("assert f(1) in (1, 2)", "f(1)", "seen in ((1, 2))"),
        ("assert f(1)", "f(1)", "seen"),
        ("assert not f(1)", "f(1)", "not seen"),
        ("assert 1 < f(1) < 3", "1 < f(1) < 3", "seen"),
        ("assert f(1) == pytest.approx(2)", "f(1)", "seen == (pytest.approx(2))"),
        ("self.assertEqual(f(1), 2)", "f(1)", "seen == (2)"),
        ("self.assertEqual(2, f(1), 'why')", "f(1)", "seen == (2)"),
        ("self.assertTrue(f(1))", "f(1)", "seen"),
        ("self.assertIsNone(f(1))", "f(1)", "seen is None"),
        ("self.assertCountEqual(f(1), [1])", "f(1)", "sorted(seen) == sorted([1])"),
        ("with pytest.raises(ValueError):\n        f(1)", "f(1)", "False"),
        ("with self.assertRaises((KeyError, OSError)) as e:\n        x = f(1)", "f(1)", "False"),
    ],
)
def test_what_an_assertion_looks_at(line: str, actual: str, check: str) -> None:
    text = f"def test_f(self):\n    x = 1\n    {line}\n"
    (assertion,) = find_assertions(text)
    assert (assertion.actual, assertion.check) == (actual, check)
    assert text[assertion.start : assertion.end] == line
    assert find_assertions(text.replace(line, assertion.with_actual("g()")))[0].actual == "g()"


@pytest.mark.parametrize(
    "line",
    [
        "f(1)",
        "x = f(1) == 2",
        "self.assertEqual(*f(1))",
        "self.assertEqual(f(1))",
        "self.check(f(1), 2)",
        "with open('x') as file:\n        pass",
        "with pytest.raises(ValueError):\n        f(1)\n        f(2)",
        "assert f(",
    ],
)
def test_other_statements_are_no_assertions(line: str) -> None:
    assert find_assertions(f"def test_f(self):\n    {line}\n") == []


def test_assertions_in_blocks_are_found_in_their_order() -> None:
    text = (
        "class TestF:\n    def test_a(self):\n        for i in range(2):\n"
        "            assert f(i) == 0\n        with open('x'):\n            assert f(5) == 1\n"
        "        try:\n            pass\n        except OSError:\n            assert f(6) == 2\n"
        "    def test_b(self):\n        assert f(7) == 3\n"
    )
    assert [each.actual for each in find_assertions(text)] == ["f(i)", "f(5)", "f(6)", "f(7)"]


def test_an_observed_test_reports_instead_of_asserting() -> None:
    text = "def test_f():\n    assert f(1) == 2\n    with pytest.raises(OSError):\n        f(2)\n"
    seen = []
    scope: dict[str, Any] = {
        "f": lambda x: x + 10,
        "__starcoder_see__": lambda *a: seen.append((a[0], a[1], a[2](), a[3](11))),
    }
    exec(observed_test("test_f", text), scope)
    scope["test_f"]()
    assert seen == [("test_f", 0, 11, False), ("test_f", 1, 12, False)]


CORRECTIONS = [
    ("assert f(1) == 2", value("3"), "assert f(1) == 3  # current behaviour"),
    ("assert f(1) == 2", value("2", right=True), "assert f(1) == 2"),
    ("assert f(1) == 2", value("True", "bool"), "assert f(1) is True  # current behaviour"),
    ("assert f(1)", value("None", "NoneType"), "assert f(1) is None  # current behaviour"),
    (
        "assert f(1) == 0.3",
        value("0.30000000000000004", "float"),
        "assert f(1) == pytest.approx(0.3)  # current behaviour",
    ),
    ("assert f(1) == 0.3", value("0.25", "float"), "assert f(1) == 0.25  # current behaviour"),
    (
        "assert f(1) == 2",
        raised("ValueError"),
        "with pytest.raises(ValueError):  # current behaviour\n        f(1)",
    ),
    (
        "with pytest.raises(OSError):\n        f(1)",
        raised("ValueError"),
        "with pytest.raises(ValueError):  # current behaviour\n        f(1)",
    ),
    (
        "with pytest.raises(ValueError):\n        f(1)",
        value("3"),
        "assert f(1) == 3  # current behaviour",
    ),
    (
        "with pytest.raises(ValueError):\n        f(1)",
        raised("ValueError"),
        "with pytest.raises(ValueError):\n        f(1)",
    ),
    (
        "assert f(1) == [1]",
        value("[1]", "list", right=True, call="list"),
        "assert list(f(1)) == [1]",
    ),
    (
        "assert f(1) == 1",
        value("2", call="asyncio.run"),
        "assert asyncio.run(f(1)) == 2  # current behaviour",
    ),
]


@pytest.mark.parametrize(("line", "seen", "expected"), CORRECTIONS)
def test_a_wrong_expected_value_is_corrected_and_marked(
    line: str, seen: Observation, expected: str
) -> None:
    text = f"def test_f():\n    {line}\n"
    assert corrected_test(text, {0: [seen]}, "pytest") == f"def test_f():\n    {expected}\n"


@pytest.mark.parametrize(
    ("line", "seen", "expected"),
    [
        ("self.assertEqual(f(1), 2)", value("3"), "self.assertEqual(f(1), 3)"),
        ("self.assertTrue(f(1))", value("False", "bool"), "self.assertFalse(f(1))"),
        ("self.assertEqual(f(1), 2)", value("None", "NoneType"), "self.assertIsNone(f(1))"),
        (
            "self.assertEqual(f(1), 2)",
            value("1.3333333333333333", "float"),
            "self.assertAlmostEqual(f(1), 1.33333, places=4)",
        ),
    ],
)
def test_unittest_has_its_own_idioms(line: str, seen: Observation, expected: str) -> None:
    text = f"def test_f(self):\n    {line}\n"
    expected = f"def test_f(self):\n    {expected}  # current behaviour\n"
    assert corrected_test(text, {0: [seen]}, "unittest") == expected


@pytest.mark.parametrize(
    "seen",
    [
        [Observation(value="<object at 0x7f>", kind="object")],
        [value("x" * 300, "str")],
        [value("1"), value("2")],
        [raised("NameError")],
        [raised("AssertionError")],
        [raised("MemoryError")],
        [raised("ConnectionRefusedError")],
        [value("x" * 201, "str")],
        [raised("TypeError", plausible=False)],
        [raised("shop.NotFound")],
    ],
)
def test_an_assertion_that_cannot_be_corrected_is_removed(seen: list[Observation]) -> None:
    text = "def test_f():\n    assert f(1) == 2\n    assert f(2) == 4\n"
    right = [value("4", right=True)]
    assert corrected_test(text, {0: seen, 1: right}, "pytest") == (
        "def test_f():\n    assert f(2) == 4\n"
    )
    alone = "def test_f():\n    x = 1\n    assert f(1) == 2\n"
    assert corrected_test(alone, {0: seen}, "pytest") is None


def test_values_of_usual_length_are_used() -> None:
    long_value = repr("x" * 198)
    text = "def test_f():\n    assert f(1) == 2\n"
    assert "x" * 198 in (corrected_test(text, {0: [value(long_value, "str")]}, "pytest") or "")


def test_what_the_program_reports_is_read_strictly() -> None:
    data = {"right": True, "plausible": True, "has_literal": True, "value": "3", "kind": "int"}
    assert Observation.of(data) == Observation(
        right=True, plausible=True, has_literal=True, value="3", kind="int"
    )
    assert Observation.of({"right": 1, "plausible": "yes", "raised": 3}) == Observation(raised="3")


def test_a_loop_with_right_values_stays() -> None:
    text = "def test_f():\n    for i in range(2):\n        assert f(i) == i\n"
    seen = [value("0", right=True), value("1", right=True)]
    assert corrected_test(text, {0: seen}, "pytest") == text


def test_a_removed_assertion_never_leaves_an_empty_block() -> None:
    text = "def test_f():\n    if x:\n        assert f(1) == 2\n    assert f(2) == 4\n"
    seen = {0: [raised("NameError")], 1: [value("4", right=True)]}
    assert corrected_test(text, seen, "pytest") is None


def test_a_long_line_gets_its_mark_above() -> None:
    call = f"f({'x' * 80})"
    text = f"def test_f():\n    assert {call} == 2\n"
    assert corrected_test(text, {0: [value("3")]}, "pytest") == (
        f"def test_f():\n    # current behaviour\n    assert {call} == 3\n"
    )


def test_several_lines_and_positions_after_an_emoji() -> None:
    text = "def test_f():\n    x = '🎉'; assert f(\n        1,\n    ) == 2\n    assert f(2) == 5\n"
    corrected = corrected_test(text, {0: [value("3")], 1: [value("6")]}, "pytest")
    assert corrected is not None
    ast.parse(corrected)
    assert "    assert f(2) == 6  # current behaviour\n" in corrected
