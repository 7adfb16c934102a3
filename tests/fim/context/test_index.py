"""The index of a project: similar chunks, and definitions by name."""

import threading

import pytest

from fim.context.definitions import definitions, imported
from fim.context.gather import find_excerpts
from fim.context.index import Index, chunks
from fim.context.words import last_words, words
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
    index = Index()
    index.add("shapes.py", "python", SHAPES)
    index.add("kitchen/bread.py", "python", BREAD)
    return index


def test_names_are_split_into_words() -> None:
    assert words("parseHTTPHeader(self, max_size2)") == ["parse", "http", "header", "max", "size"]
    assert words("größe_öffnen") == ["größe", "öffnen"]
    assert last_words("alpha beta alpha gamma", 2) == ["gamma", "alpha"]


def test_long_definitions_are_reduced_to_their_signatures() -> None:
    texts = {item.name: item.text for item in definitions(SHAPES, "python")}
    assert set(texts) == {"UNIT", "Circle", "largest_circle"}
    assert texts["UNIT"] == "UNIT = 1.0"
    assert texts["largest_circle"] == (
        "def largest_circle(circles: list[Circle]) -> Circle:  # Return the one with most area."
    )
    assert texts["Circle"].split("\n") == [
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
    assert [definition.name for definition in definitions(text, language)] == names


def test_imported_names_are_recognised() -> None:
    text = "import os.path\nfrom shapes import Circle as C, UNIT\nx = 1\n"
    assert imported(text, "python") >= {"os", "path", "shapes", "Circle", "C", "UNIT"}
    assert "x" not in imported(text, "python")
    assert imported("import { a, b } from './c'\nlet d = 1\n", "typescript") >= {"a", "b"}
    assert imported("x", "unknown") == frozenset()


def test_chunks_end_at_empty_lines_and_lose_nothing() -> None:
    text = "\n".join(f"a{n}" if n % 11 else "" for n in range(100))
    pieces = chunks(text)
    assert all(len(piece.split("\n")) <= 16 for piece in pieces)
    kept = [line for piece in pieces for line in piece.split("\n") if line]
    assert kept == [line for line in text.split("\n") if line]
    assert chunks("") == []
    assert chunks("x" * 5000) == []  # data


def test_similar_chunks_of_other_files_match(index: Index) -> None:
    (match,) = index.similar(["dough", "oven"], "shapes.py", 3)
    assert match.excerpt.path == "kitchen/bread.py"
    assert match.score > 0
    assert index.similar(["dough"], "kitchen/bread.py", 3) == []
    assert index.similar([], "x", 3) == []
    assert index.similar(['" OR x; drop table files --'], "x", 3) == []


def test_a_file_can_be_replaced_and_removed(index: Index) -> None:
    size = index.num_characters
    index.add("kitchen/bread.py", "python", "def toast(): pass\n")
    assert index.similar(["dough"], "x", 3) == []
    assert index.definitions_of("bake_bread", "x") == []
    assert [excerpt.path for excerpt in index.definitions_of("toast", "x")] == ["kitchen/bread.py"]
    index.remove("kitchen/bread.py")
    index.remove("never/there.py")
    assert index.definitions_of("toast", "x") == []
    assert index.num_characters == size - len(BREAD)


def test_the_index_has_a_maximum_size() -> None:
    small = Index(max_characters=len(BREAD) + 10)
    assert small.add("a.py", "python", BREAD)
    assert not small.add("b.py", "python", BREAD)
    assert small.add("a.py", "python", BREAD)  # replaces the earlier version
    assert small.num_characters == len(BREAD)


def test_threads_may_search_while_others_add_files(index: Index) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                index.add(f"f{number}.py", "python", f"def f{number}_{turn}():\n    dough()\n")
                assert index.similar(["dough"], "x", 3)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_imported_definitions_come_before_similar_chunks(index: Index) -> None:
    text = "from shapes import largest_circle\n\ndough = oven\nx = largest_circle("
    snapshot = Snapshot("u", "python", text, len(text), path="main.py")
    excerpts = find_excerpts(snapshot, index)
    assert excerpts[0].text.startswith("def largest_circle(circles")
    assert "kitchen/bread.py" in [excerpt.path for excerpt in excerpts]
    assert len(set(excerpts)) == len(excerpts)
    assert find_excerpts(Snapshot("u", "python", "", 0, path="main.py"), index) == ()


def test_open_files_have_a_higher_weight() -> None:
    index = Index()
    index.add("a.py", "python", "dough = oven(flour)\n" * 3)
    index.add("b.py", "python", "dough = oven(flour)\n" * 3)
    snapshot = Snapshot("u", "python", "dough = oven(", 13, path="main.py")
    for path in ("a.py", "b.py"):
        assert find_excerpts(snapshot, index, {path})[0].path == path
