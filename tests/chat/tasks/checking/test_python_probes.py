"""Calls of Python functions with other arguments than those of given tests."""

from pathlib import Path

import pytest

from chat.tasks.checking.python.literals import with_double_quotes
from chat.tasks.checking.python.probes import probe_tests
from chat.tasks.checking.python.samples import SampleCall, constants_in, sample_calls
from chat.tasks.dialects.base import Snippet, Subject
from syntax.symbols import enclosing_symbol


def subject(code: str, cursor: str = "def ") -> Subject:
    start = code.index(cursor) + len(cursor)
    symbol = enclosing_symbol(code, "python", start, start)
    assert symbol is not None
    return Subject(symbol, Path("mod.py"), code, "python")


def probes(code: str, test: str, framework: str = "pytest", cursor: str = "def ") -> str:
    tests = (Snippet("test_f", test),)
    return "\n".join(t.text for t in probe_tests(tests, subject(code, cursor), framework).tests)


def test_calls_of_the_tests_are_varied() -> None:
    text = probes(
        "def f(n, word):\n    return n\n", "def test_f():\n    assert f(5, word='ab') == 1\n"
    )
    for call in ('f(0, word="ab")', 'f(-5, word="ab")', 'f(5, word="")', 'f(5, word="AB")'):
        assert f"assert {call} == ...\n" in text + "\n"
    assert 'f(5, word="ab")' not in text


def test_each_probe_has_another_name() -> None:
    names = [
        t.name for t in probe_tests((), subject("def f(a, b):\n    return a\n"), "pytest").tests
    ]
    assert len(names) == len(set(names)) > 10
    assert "test_f_of_3_and_3" in names
    assert "test_f_of_3_and_text" in names


def test_arguments_that_are_no_literals_are_left_alone() -> None:
    code = "def f(n: int):\n    return n\n"
    text = probes(code, "def test_f():\n    x = 2\n    assert f(x) == 2\n    assert f(*[3]) == 3\n")
    assert "f(x)" not in text
    assert "f(3)" in text  # a sample of the annotation


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("n: int", [(3,), (0,), (-2,), (10,)]),
        ("flag: bool", [(True,), (False,)]),
        ("words: list[str]", [(["b", "a", "b"],), ([],), (["x"],)]),
        ("text: str | None", [("Hello World",), ("",), ("a1, b2",), ("x",), (None,)]),
        ("n: int, rate: float = 2.0", [(3,), (0,), (-2,), (10,)]),
        ("", [()]),
        ("*, n", []),
        ("a, b, c, d, e", []),
    ],
)
def test_samples_fit_the_signature(signature: str, expected: list[tuple[object, ...]]) -> None:
    code = f"def f({signature}):\n    return 1\n"
    assert [call.values for call in sample_calls(subject(code))] == expected


def test_samples_of_methods_create_the_object() -> None:
    code = (
        "class Box:\n    def __init__(self, size: int):\n        self.size = size\n\n"
        "    def grow(self, by: int):\n        return self.size + by\n"
    )
    calls = list(sample_calls(subject(code, "def grow")))
    assert calls[0] == SampleCall("Box(3).grow", (3,))
    # All arguments with the first object, and all objects with the first arguments.
    assert SampleCall("Box(3).grow", (-2,)) in calls
    assert SampleCall("Box(-2).grow", (3,)) in calls
    assert SampleCall("Box(0).grow", (0,)) in calls
    assert not list(sample_calls(subject(code.replace("size: int", "*, size"), "def grow")))


def test_an_object_of_a_test_is_used() -> None:
    code = "class Box:\n    def grow(self, by):\n        return by\n"
    test = "def test_f():\n    box = Box()\n    assert box.grow(4) == 1\n"
    assert "assert Box().grow(5) == ...\n" in probes(code, test, cursor="def grow")


def test_functions_that_print_and_that_read_files() -> None:
    text = probes("def f(name: str):\n    print(name)\n", "")
    assert 'def test_f_of_text(capsys):\n    f("Hello World")\n' in text
    assert "    assert capsys.readouterr().out == ..." in text
    text = probes("def f(path):\n    return open(path).read()\n", "")
    assert 'def test_f_of_a_file(tmp_path):\n    path = tmp_path / "input.txt"\n' in text
    text = probes("def f(name: str):\n    print(name)\n", "", "unittest")
    assert "with contextlib.redirect_stdout(output):\n        f(" in text
    text = probes("def f(path):\n    return 1\n", "", "unittest")
    assert (
        "def test_f_of_a_file(self):\n    with tempfile.TemporaryDirectory() as folder:\n"
        '        path = pathlib.Path(folder, "input.txt")\n'
        '        path.write_text("first line\\nsecond line\\n")\n'
        "        self.assertEqual(f(path), ...)"
    ) in text
    assert 'path.write_text("a = 1\\n' in text


def test_the_borders_of_constants_are_tried() -> None:
    assert constants_in("def f(n):\n    return 'a' if n > 10 else True\n") == ("a", 10, 11, 9)
    text = probes("def f(n):\n    return n > 42\n", "def test_f():\n    assert f(5) == 1\n")
    assert "f(42)" in text
    assert "f(43)" in text
    assert "f(41)" in text


@pytest.mark.parametrize("code", ["def f(", "x = (" * 200, "def f(n): return n"])
def test_broken_tests_give_no_error(code: str) -> None:
    assert "f(4)" not in probes("def f(n):\n    return n\n", code)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("'a'", '"a"'),
        ("['a', 'b c']", '["a", "b c"]'),
        ("'a\\n'", '"a\\n"'),
        ('"it\'s"', '"it\'s"'),
        ("""["it's", 'a']""", """["it's", "a"]"""),
        ("""'say "x"'""", """'say "x"'"""),
        ("""["it's, and 'x"]""", """["it's, and 'x"]"""),
        ("{'k': b'v'}", '{"k": b"v"}'),
        ("3.5", "3.5"),
    ],
)
def test_literals_get_double_quotes(literal: str, expected: str) -> None:
    assert with_double_quotes(literal) == expected


def test_names_say_what_the_arguments_are() -> None:
    code = "def f(rate: float, day: date):\n    return 1\n"
    text = probes(code, "")
    assert "def test_f_of_2_point_5_and_date():" in text
    assert "def test_f_of_minus_1_point_5_and_date():" in text
    assert "def test_f_of_a_function():" in probes(
        "def f(g: Callable[[int], int]):\n    return 1\n", ""
    )


def test_the_methods_of_a_class_share_the_calls() -> None:
    methods = "".join(f"    def m{i}(self, n: int):\n        return n\n\n" for i in range(3))
    calls = list(sample_calls(subject(f"class Box:\n{methods}", "class ")))
    names = [call.before for call in calls]
    assert [names.count(f"Box().m{i}") for i in range(3)] == [4, 4, 4]
