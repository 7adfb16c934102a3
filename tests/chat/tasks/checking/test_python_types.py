"""Arguments without literals: dates, objects, functions and fakes."""

import pytest

from chat.tasks.checking.python.samples import sample_calls
from tests.chat.tasks.checking.test_python_probes import subject

CLASSES = """
from dataclasses import dataclass
from enum import Enum


class Color(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: int
    y: float
    name: str = ""


class Box:
    def __init__(self, size: int, color: str = "red"):
        self.size = size


class Odd:
    def __init__(self, box: Box):
        self.box = box


class Plain:
    pass


"""


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("day: date", ["date(2024, 2, 29)", "date(2024, 3, 4)", "date(2023, 12, 31)"]),
        ("day: datetime.date | None", ["datetime.date(2024, 2, 29)", "None"]),
        ("span: Optional[timedelta]", ["timedelta(days=1)", "timedelta(0)"]),
        ("price: Decimal", ['Decimal("2.50")', 'Decimal("0")']),
        ("color: Color", ["Color.RED", "Color.BLUE"]),
        ("point: Point", ["Point(3, 2.5)"]),
        ('box: "Box"', ["Box(3)"]),
        ("plain: Plain", ["Plain()"]),
        ("f: Callable[[int], int]", ["lambda value: value"]),
        ("f: Callable[[int, str], bool]", ["lambda value, other: True"]),
        ("f: Callable[[], float]", ["lambda: 2.5"]),
        ("f: Callable[..., None]", ["lambda value: value"]),
    ],
)
def test_values_of_types(parameter: str, expected: list[str]) -> None:
    calls = sample_calls(subject(f"{CLASSES}def f({parameter}):\n    return 1\n", "def f"))
    texts = [repr(call.values[0]) for call in calls]
    assert [text for text in texts if text in expected] == expected
    assert not any(text in ("3", "[3, 1, 2]") for text in texts)


def test_a_type_that_is_hard_to_make_gets_plain_values() -> None:
    calls = list(sample_calls(subject(f"{CLASSES}def f(odd: Odd):\n    return 1\n", "def f")))
    assert repr(calls[0].values[0]) == "3"


@pytest.mark.parametrize(
    ("code", "fakes"),
    [
        ("def f(mailer):\n    return mailer.send('x')\n", ("mailer",)),
        ("def f(mailer: Mailer, n: int):\n    return mailer.send(n)\n", ("mailer",)),
        ("def f(mailer: 'app.Mailer'):\n    return mailer.send('x')\n", ("mailer",)),
        ("def f(text):\n    return text.upper()\n", ()),
        ("def f(day):\n    return day.weekday()\n", ()),
        ("def f(items: list):\n    return items.send('x')\n", ()),
        ("def f(n):\n    return other.send(n)\n", ()),
    ],
)
def test_an_argument_with_methods_of_its_own_is_a_fake(code: str, fakes: tuple[str, ...]) -> None:
    assert {call.fakes for call in sample_calls(subject(code))} == {fakes}
