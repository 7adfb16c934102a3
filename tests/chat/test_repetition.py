"""A loop in an answer is detected, and code that repeats itself for good reason is not one."""

import random
import time

import pytest

from chat.repetition import Loop, LoopDetector, without_loop

LONG = "This sentence is much longer than the others, as in prose. " * 5 + "\n"


def find(text: str) -> Loop | None:
    return LoopDetector().feed(text)


@pytest.mark.parametrize(
    ("before", "lines", "num_first", "num_needed"),
    [
        ("", "a\n", 1, 16),
        ("x\n", "a\n", 2, 17),
        ("a\n\n", "a\nb\n", 4, 19),
        ("b\n", "a\nb\n", 2, 17),  # the first two lines, "b" and "a", repeat
        ("x\n", "a\n\nb\n", 4, 19),
        ("x\n", "a\nb\nc\nd\n", 5, 20),
        ("x\n", "a\nb\nc\nd\ne\n", 6, 21),
        ("x\n", "".join(f"{number}\n" for number in range(8)), 9, 33),
        ("x\n", LONG, 2, 5),
        ("x\n", "a\n" + LONG, 3, 9),
        ("x\n", "\n", 2, 17),
    ],
)
def test_many_equal_lines_are_a_loop(
    before: str, lines: str, num_first: int, num_needed: int
) -> None:
    """It ends with the line that makes it long enough. The numbers of lines are those of `Loop`."""
    text = before + lines * 20 + "more\n"
    ends = [0, *(index + 1 for index, character in enumerate(text) if character == "\n")]
    loop = find(text)
    assert loop == Loop(ends[num_first], ends[num_needed])
    assert find(text[: loop.end]) == loop
    assert find(text[: loop.end - 1]) is None
    assert without_loop(text) == text[: loop.first_end]


@pytest.mark.parametrize("repeated", ["a", "not a list, ", LONG[:60] + "and another. " * 6])
def test_many_characters_that_repeat_within_a_line_are_a_loop(repeated: str) -> None:
    before = "\n".join(map(str, range(100))) + "\nThis is "
    text = before + repeated * (2000 // len(repeated)) + "\n"
    loop = find(text)
    assert loop is not None
    start = len(before)
    assert start + 800 <= loop.end < start + 900
    assert start + len(repeated) <= loop.first_end < start + len(repeated) + 100
    assert without_loop(text) == text[: loop.first_end]
    assert find(text[: loop.end - 1]) is None


BOARD = "    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n" * 15,
        "a\n" * 15 + "a",
        "-" * 700 + "\n",
        "x = [" + ", ".join(map(str, range(2000))) + "]",
        "".join(f"word{number % 38} " for number in range(200)),
        "board = [\n" + BOARD * 10 + "]\n",
        "    counter.increment()\n" * 10 + "    assert counter.value == 10\n",
        "|---|\n" + "| | |\n" * 12,
        '  {\n    "name": "",\n    "size": 0\n  },\n' * 3,
        "".join(f"    assert double({n}) == {2 * n}\n" for n in range(200)),
        "".join(f"| {n} | same |\n|---|---|\n" for n in range(200)),
        "".join(f"def test_{n}():\n    run()\n    check()\n\n\n" for n in range(200)),
        "a\na\na\nb\n" * 3 + "c\n",
        LONG * 3,
    ],
)
def test_code_that_repeats_lines_is_no_loop(text: str) -> None:
    assert find(text) is None
    assert without_loop(text) == text


def test_the_pieces_of_a_text_do_not_matter() -> None:
    rng = random.Random(0)
    for _ in range(200):
        lines = [rng.choice(["a", "bb", "", "ä"]) for _ in range(rng.randrange(1, 6))]
        separator = rng.choice(["\n", "\n", ", "])
        text = "start\nbb\n" + (separator.join(lines) + separator) * rng.randrange(3, 500)
        detector, offset, loop = LoopDetector(), 0, None
        while offset < len(text) and loop is None:
            size = rng.choice([0, 1, 3, 6, 150])
            loop = detector.feed(text[offset : offset + size])
            offset += size
        assert loop == find(text)


def test_the_time_is_linear_in_the_text() -> None:
    """A line that arrives in many pieces, and many lines, take milliseconds."""
    detector = LoopDetector()
    started = time.process_time()
    for _ in range(200_000):
        detector.feed("abcde")
    for number in range(50_000):
        detector.feed(f"{number}\n")
    assert time.process_time() - started < 5
