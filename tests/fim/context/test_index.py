"""What is found in other files: what is alike, and what is defined there."""

import threading

import pytest

from fim.context.definitions import definitions, imported
from fim.context.gather import related
from fim.context.index import Index, chunks
from fim.context.words import telling, words
from fim.snapshot import Snapshot

SHAPES = '''"""Shapes."""
import math

UNIT = 1.0


class Circle:
    """Round."""

    def __init__(self, radius: float) -> None:
        """Make one."""
        self.radius = radius

    @property
    def area(self) -> float:
        return math.pi * self.radius ** 2


def largest_circle(circles: list[Circle]) -> Circle:
    """Return the one with most area."""
    best = circles[0]
    for one in circles:
        if one.area > best.area:
            best = one
    return best
'''
BREAD = "def bake_bread(flour, water):\n    dough = knead(flour, water)\n    return oven(dough)\n"


@pytest.fixture
def index() -> Index:
    made = Index()
    made.put("shapes.py", "python", SHAPES)
    made.put("kitchen/bread.py", "python", BREAD)
    return made


def test_words() -> None:
    assert words("parseHTTPHeader(self, max_size2)") == ["parse", "http", "header", "max", "size"]
    assert words("größe_öffnen") == ["größe", "öffnen"]
    assert telling("alpha beta alpha gamma", 2) == ["gamma", "alpha"]


def test_definitions_are_as_short_as_one_needs() -> None:
    found = {one.name: one.text for one in definitions(SHAPES, "python")}
    assert set(found) == {"UNIT", "Circle", "largest_circle"}
    assert found["UNIT"] == "UNIT = 1.0"
    assert found["largest_circle"] == (
        "def largest_circle(circles: list[Circle]) -> Circle:  # Return the one with most area."
    )
    assert found["Circle"].split("\n") == [
        "class Circle:  # Round.",
        "    def __init__(self, radius: float) -> None:  # Make one.",
        "    def area(self) -> float:",
    ]


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("typescript", "export function f(a: number): number {\n  return 1\n}\n", ["f"]),
        ("typescript", "export interface A { b: string }\nconst c = 1\n", ["A", "c"]),
        ("go", "func F(a int) int {\n\treturn 1\n}\n\ntype T struct {\n\ta int\n}\n", ["F", "T"]),
        ("rust", "pub fn f() {}\npub struct S { a: u8 }\n", ["f", "S"]),
        ("java", "class A {\n  int b() {\n    return 1;\n  }\n}\n", ["A"]),
        ("c", "int f(int a) {\n  return a;\n}\n", ["f"]),
        ("unknown", "def f(): pass", []),
    ],
)
def test_definitions_of_other_languages(language: str, text: str, names: list[str]) -> None:
    assert [one.name for one in definitions(text, language)] == names


def test_imports() -> None:
    text = "import os.path\nfrom shapes import Circle as C, UNIT\nx = 1\n"
    assert imported(text, "python") >= {"os", "path", "shapes", "Circle", "C", "UNIT"}
    assert "x" not in imported(text, "python")
    assert imported("import { a, b } from './c'\nlet d = 1\n", "typescript") >= {"a", "b"}
    assert imported("x", "unknown") == frozenset()


def test_pieces_end_where_a_line_is_empty_and_lose_nothing() -> None:
    text = "\n".join(f"a{n}" if n % 11 else "" for n in range(100))
    made = chunks(text)
    assert all(len(piece.split("\n")) <= 16 for piece in made)
    kept = [line for piece in made for line in piece.split("\n") if line]
    assert kept == [line for line in text.split("\n") if line]
    assert chunks("") == []
    assert chunks("x" * 5000) == []  # data


def test_what_is_alike_and_in_another_file(index: Index) -> None:
    (found,) = index.alike(["dough", "oven"], "shapes.py", 3)
    assert found.excerpt.path == "kitchen/bread.py"
    assert found.score > 0
    assert index.alike(["dough"], "kitchen/bread.py", 3) == []
    assert index.alike([], "x", 3) == []
    assert index.alike(['" OR x; drop table files --'], "x", 3) == []


def test_a_file_is_replaced_and_forgotten(index: Index) -> None:
    size = index.characters
    index.put("kitchen/bread.py", "python", "def toast(): pass\n")
    assert index.alike(["dough"], "x", 3) == []
    assert index.defined("bake_bread", "x") == []
    assert [one.path for one in index.defined("toast", "x")] == ["kitchen/bread.py"]
    index.remove("kitchen/bread.py")
    index.remove("never/there.py")
    assert index.defined("toast", "x") == []
    assert index.characters == size - len(BREAD)


def test_memory_is_bounded() -> None:
    small = Index(most_characters=len(BREAD) + 10)
    assert small.put("a.py", "python", BREAD)
    assert not small.put("b.py", "python", BREAD)
    assert small.put("a.py", "python", BREAD)  # in its own place
    assert small.characters == len(BREAD)


def test_many_may_ask_while_it_grows(index: Index) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                index.put(f"f{number}.py", "python", f"def f{number}_{turn}():\n    dough()\n")
                assert index.alike(["dough"], "x", 3)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_imported_names_come_first_then_what_is_alike(index: Index) -> None:
    text = "from shapes import largest_circle\n\ndough = oven\nx = largest_circle("
    snapshot = Snapshot("u", "python", text, len(text), path="main.py")
    found = related(snapshot, index)
    assert found[0].text.startswith("def largest_circle(circles")
    assert "kitchen/bread.py" in [one.path for one in found]
    assert len(set(found)) == len(found)
    assert related(Snapshot("u", "python", "", 0, path="main.py"), index) == ()


def test_what_is_open_counts_more() -> None:
    index = Index()
    index.put("a.py", "python", "dough = oven(flour)\n" * 3)
    index.put("b.py", "python", "dough = oven(flour)\n" * 3)
    snapshot = Snapshot("u", "python", "dough = oven(", 13, path="main.py")
    for recent in ("a.py", "b.py"):
        assert related(snapshot, index, {recent})[0].path == recent
