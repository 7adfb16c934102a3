"""Tests of Java methods with other arguments."""

from pathlib import Path

import pytest

from chat.tasks.checking.java.probes import observed_probes, probe_tests
from chat.tasks.checking.java.samples import signature_of
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject
from syntax.symbols import enclosing_symbol


def subject(method: str, rest: str = "", head: str = "public class A") -> Subject:
    text = f"{head} {{\n    {rest}\n    {method} {{ int marked; return x == 7 ? 0 : 1; }}\n}}\n"
    symbol = enclosing_symbol(text, "java", text.index("marked"))
    assert symbol is not None
    return Subject(symbol, Path("A.java"), text, "java")


def calls(own: Subject, *tests: str) -> list[str]:
    existing = [Snippet("t", f"@Test\n    void t() {{\n        {each}\n    }}") for each in tests]
    texts = [test.text for test in probe_tests(existing, own).tests]
    return [each.partition("new Object(), ")[2].partition(");")[0] for each in texts]


def test_samples_borders_and_variations() -> None:
    own = subject("static int f(int x, String text)")
    result = calls(own, 'assertEquals(1, A.f(42, "b"));')
    assert 'A.f(3, "Hello World")' in result
    assert 'A.f(8, "b")' in result
    assert 'A.f(6, "b")' in result
    assert 'A.f(42, "")' in result
    assert 'A.f(42, "b")' not in result
    assert len(result) == len(set(result)) <= 32


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("long x", "A.f(-2L)"), ("double x", "A.f(-1.5)"), ("boolean x", "A.f(false)"),
        ("char x", "A.f('Z')"), ("Integer x", "A.f(null)"), ("byte x", "A.f((byte) 0)"),
        ("int[] x", "A.f(new int[] {})"), ("String... x", 'A.f(new String[] {"Hello World"})'),
        ("List<Integer> x", "A.f(Collections.emptyList())"), ("final java.util.List<T> x", "A.f(Arrays.asList(3))"),
        ("Collection<String> x", 'A.f(Arrays.asList("Hello World"))'), ("boolean[] x", "A.f(new boolean[] {true})"),
    ],
)  # fmt: skip
def test_types_of_parameters(parameter: str, expected: str) -> None:
    assert expected in calls(subject(f"static int f({parameter})"))


def test_constants_of_the_class_are_borders() -> None:
    field = "static final Map<Character, Integer> VALUES = Map.of('I', 1, 'V', 5, '\\n', 0);"
    result = calls(subject("static int f(String text)", field))
    assert {'A.f("I")', 'A.f("IV")', 'A.f("VI")', 'A.f("\\n")'} <= set(result)
    assert "A.f('V')" in calls(subject("static int f(char each)", field))


def test_methods_of_new_objects() -> None:
    assert "new A().f(0)" in calls(subject("int f(int x)"))
    assert "new A<>().f(0)" in calls(subject("int f(int x)", "A() { }", "class A<T>"))


@pytest.mark.parametrize(
    ("method", "rest", "head"),
    [
        ("void f(int x)", "", "class A"),
        ("int f(Path x)", "", "class A"),
        ("int f(int a, int b, int c, int d, int x)", "", "class A"),
        ("private int f(int x)", "", "class A"),
        ("int f(int x)", "A(int y) { }", "class A"),
        ("int f(int x)", "private A() { }", "class A"),
        ("int f(int x)", "", "abstract class A"),
    ],
)
def test_what_cannot_be_called_with_samples(method: str, rest: str, head: str) -> None:
    assert not calls(subject(method, rest, head))


def test_names_say_what_is_special() -> None:
    own = subject("static int f(int x, String text)")
    names = {test.name for test in probe_tests((), own).tests}
    assert {"fWithMinus2AndEmptyText", "fWith3AndHelloWorld", "fWith0AndNull"} <= names
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize(
    ("line", "source", "is_kept"),
    [
        ("assertEquals(3, A.f(1));", "", True),
        ("assertEquals(new Object(), A.f(1));", "", False),
        ("assertThrows(IllegalStateException.class, () -> A.f(1));", "", False),
        ("assertThrows(IllegalStateException.class, () -> A.f(1));", "throw new X();", True),
        ("assertThrows(NullPointerException.class, () -> A.f(1));", "throw new X();", False),
    ],
)
def test_which_observations_are_behaviour(line: str, source: str, is_kept: bool) -> None:
    own = subject("static int f(int x)", f"void g() {{ {source} }}")
    probes = GeneratedTests((), (), (Snippet("t", line),))
    assert bool(observed_probes(probes, own).tests) == is_kept


def test_a_constructor_has_no_signature() -> None:
    own = subject("static int f(int x)")
    assert signature_of(own) is not None
    text = "class A {\n    A(int x) { }\n}\n"
    symbol = enclosing_symbol(text, "java", text.index("int x"))
    assert symbol is not None
    assert signature_of(Subject(symbol, Path("A.java"), text, "java")) is None
