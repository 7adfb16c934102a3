"""Expected values of JUnit tests are corrected in the framework's own words."""

from pathlib import Path

import pytest

from chat.tasks.checking.java.assertions import find_assertions
from chat.tasks.checking.java.observing import Event, corrected_tests, observed_tests
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject
from syntax.symbols import enclosing_symbol

SOURCE = "package shop;\n\npublic class A {\n    static int f(int x) { return x; }\n}\n"


def subject() -> Subject:
    symbol = enclosing_symbol(SOURCE, "java", SOURCE.index("return"))
    assert symbol is not None
    return Subject(symbol, Path("A.java"), SOURCE, "java")


def code(*lines: str) -> str:
    return "@Test\n    void t() {\n" + "".join(f"        {line}\n" for line in lines) + "    }"


def corrected(text: str, events: dict[int, list[Event]], framework: str = "junit5") -> list[str]:
    tests = GeneratedTests((), (), (Snippet("t", text),))
    result = corrected_tests(tests, {0: events}, subject(), framework)
    return [test.text for test in result.tests]


def wrong(kind: str, value: str | None) -> list[Event]:
    return [("value", [kind, value]), ("failed", ["", False])]


@pytest.mark.parametrize(
    ("line", "kind", "value", "expected"),
    [
        ("assertEquals(3, f());", "int", "-4", "assertEquals(-4, f());"),
        ("assertEquals(f(), 3);", "int", "4", "assertEquals(4, f());"),
        ('assertEquals(3, f(), "why");', "int", "4", "assertEquals(4, f());"),
        ("Assertions.assertEquals(3, f());", "long", "4L", "Assertions.assertEquals(4L, f());"),
        ("assertEquals(3, f());", "double", "2.5", "assertEquals(2.5, f(), 1e-9);"),
        ("assertEquals(3, f(), 0.1);", "double", "0.30000000000000004", "assertEquals(0.3, f(), 1e-0);"),
        ("assertEquals(3, f(), 0.1);", "double", "0.123456789", "assertEquals(0.123457, f(), 1e-5);"),
        ("assertEquals(3, f());", "float", "0.1f", "assertEquals(0.1f, f(), 1e-9f);"),
        ("assertEquals(3, f());", "double", "Double.NaN", "assertEquals(Double.NaN, f(), 1e-9);"),
        ("assertEquals(3, f());", "java.lang.Integer", "4", "assertEquals(4, f());"),
        ("assertEquals(true, f());", "boolean", "false", "assertFalse(f());"),
        ("assertTrue(f());", "boolean", "false", "assertFalse(f());"),
        ("assertEquals(3, f());", "null", "null", "assertNull(f());"),
        ("assertNull(f());", "java.lang.String", '"é\\n"', 'assertEquals("é\\n", f());'),
        ("assertNull(f());", "shop.B", None, "assertNotNull(f());"),
        ("assertEquals(List.of(1), f());", "java.util.ArrayList", "Arrays.asList(1, 2)", "assertEquals(List.of(1, 2), f());"),
        ("assertEquals(x, f());", "java.util.ArrayList", "Arrays.asList(1, 2)", "assertEquals(Arrays.asList(1, 2), f());"),
        ("assertEquals(3, f());", "int[]", "new int[] {1}", "assertArrayEquals(new int[] {1}, f());"),
        ("assertEquals(3, f());", "double[]", "new double[] {1.0}", "assertArrayEquals(new double[] {1.0}, f(), 1e-9);"),
        ("assertEquals(3, f());", "shop.A.Kind", "shop.A.Kind.BIG", "assertEquals(A.Kind.BIG, f());"),
        ("assertNotEquals(4, f());", "int", "4", "assertEquals(4, f());"),
    ],
)  # fmt: skip
def test_corrections_in_the_form_of_the_test(
    line: str, kind: str, value: str | None, expected: str
) -> None:
    text = code(line)
    assert corrected(text, {0: wrong(kind, value)}) == [
        text.replace(line, f"{expected} // current behaviour")
    ]
    right: list[Event] = [("value", [kind, value]), ("held", [])]
    assert corrected(text, {0: right}) == [text]


def test_junit_4_compares_boxed_numbers_as_objects() -> None:
    text = code('assertEquals("why", 3, f());')
    (result,) = corrected(text, {0: wrong("java.lang.Integer", "4")}, "junit4")
    assert "assertEquals(Integer.valueOf(4), f());" in result


@pytest.mark.parametrize(
    ("raised", "is_inside", "expected"),
    [
        ("java.lang.IllegalStateException", True, "assertThrows(IllegalStateException.class, () -> f());"),
        ("java.io.IOException", True, "assertThrows(java.io.IOException.class, () -> f());"),
        ("shop.A.Broken", True, "assertThrows(A.Broken.class, () -> f());"),
        ("java.lang.IllegalStateException", False, ""),
    ],
)  # fmt: skip
def test_errors(raised: str, is_inside: bool, expected: str) -> None:
    text = code("assertEquals(3, f());")
    events: list[Event] = [("failed", [raised, is_inside])]
    line = f"{expected} // current behaviour"
    kept = [text.replace("assertEquals(3, f());", line)] if expected else []
    assert corrected(text, {0: events}) == kept
    text = code("assertThrows(Error.class, () -> f());")
    kept = [text.replace("assertThrows(Error.class, () -> f());", line)] if expected else []
    assert corrected(text, {0: events}) == kept


def test_an_error_that_was_not_raised_becomes_a_value() -> None:
    text = code("assertThrows(Error.class, () -> f(3));")
    (result,) = corrected(text, {0: wrong("int", "3")})
    assert "        assertEquals(3, f(3)); // current behaviour\n" in result


def test_what_cannot_be_corrected_is_removed() -> None:
    text = code("assertEquals(3, f());", "assertEquals(4, f());", "assertEquals(4, f());")
    right: list[Event] = [("value", ["int", "4"]), ("held", [])]
    removed = code("assertEquals(4, f());")
    assert corrected(text, {0: wrong("shop.B", None), 1: right, 2: right}) == [removed]
    assert corrected(text, {0: wrong("int", "1") + wrong("int", "2"), 1: right}) == [removed]
    assert corrected(text, {0: wrong("String", f'"{"x" * 300}"'), 1: right}) == [removed]
    assert corrected(code("assertEquals(3, f());"), {0: wrong("shop.B", None)}) == []


def test_literals_get_the_imports_that_they_need() -> None:
    tests = GeneratedTests((), (), (Snippet("t", code("assertEquals(3, f());")),))
    events = {0: {0: wrong("java.util.Optional", "Optional.of(Arrays.asList(1))")}}
    result = corrected_tests(tests, events, subject(), "junit5")
    assert result.imports == ("import java.util.Arrays;", "import java.util.Optional;")


def test_an_observed_test_keeps_its_lines() -> None:
    text = code("assertEquals(3,", "        f(1));", 'assertThat("é").isNull();')
    tests = GeneratedTests((), (), (Snippet("t", text),))
    (observed,) = observed_tests(tests, subject()).tests
    assert "assertEquals(3,\n                starcoderlsp.Seen.value(0, 0, f(1)));" in observed.text
    assert observed.text.count("\n") == text.count("\n")
    assert len(find_assertions(text)) == 1
