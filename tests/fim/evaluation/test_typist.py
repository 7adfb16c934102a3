"""Typing passages: what is typed is what the file had, and what is counted happened."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigurationError
from fim.evaluation.faults import breaks_syntax, doubles_bracket, repeats_suffix
from fim.evaluation.files import File
from fim.evaluation.replay import counts_from_json, passages, summarize
from fim.evaluation.typing_rhythm import random_rhythm, recorded_rhythm
from fim.evaluation.typist import (
    AcceptedPart,
    GhostText,
    Passage,
    TypingCounts,
    Typist,
    first_lines,
    first_words,
    keys,
)
from fim.snapshot import Source

TEXT = "def f(a):\n    if a:\n        return a\n    return 0\n\n\nx = f(1)\n"


@dataclass
class Editor:
    """Stands where the scripted editor does; suggests what it is told to."""

    text: str
    cursor: int
    suggest: Callable[[str, str], tuple[str, int] | None]
    """From what is left and right of the cursor to a suggestion and how much it replaces."""
    calls: int = 0
    pressed: list[str] = field(default_factory=list)

    async def press(
        self, key: str, pause: float, *, removed: int = 0, text_after: str = ""
    ) -> GhostText | None:
        rest = self.text[self.cursor + removed :]
        self.text = self.text[: self.cursor] + key + text_after + rest
        self.cursor += len(key)
        self.calls += 1
        self.pressed.append(key)
        found = self.suggest(self.text[: self.cursor], self.text[self.cursor :])
        if found is None:
            return GhostText("", "nothing", 5.0, source=Source.MODEL)
        text, size = found
        replaced = self.text[self.cursor : self.cursor + size]
        return GhostText(text, "model", 5.0, replaced, Source.MODEL)


def by_ends(suggest: dict[str, str]) -> Callable[[str, str], tuple[str, int] | None]:
    def found(before: str, _: str) -> tuple[str, int] | None:
        return next(((text, 0) for end, text in suggest.items() if before.endswith(end)), None)

    return found


async def typed(
    suggest: Callable[[str, str], tuple[str, int] | None],
    accept: AcceptedPart = AcceptedPart.LINE,
    text: str = TEXT,
    begin: str = "    if",
    end: str = "\n\n\nx",
) -> tuple[Editor, TypingCounts]:
    passage = Passage(File("a.py", "python", text), text.index(begin), text.index(end))
    editor = Editor(passage.initial_text, passage.start, suggest)
    counts = await Typist(editor, passage, itertools.repeat(0.0), accept).type()
    assert editor.text == text
    return editor, counts


async def test_without_suggestions_every_key_is_pressed() -> None:
    editor, counts = await typed(by_ends({}))
    assert counts.keys == counts.plain_keys == len(editor.pressed)
    assert "\n        " in editor.pressed  # the editor indents by itself
    assert counts.accepted == {}
    assert counts.shown == []


async def test_what_is_right_is_accepted_and_what_is_wrong_is_not() -> None:
    _, counts = await typed(by_ends({"if": " a:\n        return a", "ret": "wrong("}))
    assert counts.accepted == {"whole": 1}
    assert counts.accepted_characters == len("a:") + len("return a")
    assert [one.kept for one in counts.shown] == [AcceptedPart.WHOLE, AcceptedPart.NONE]
    assert counts.keys == counts.plain_keys - len(" a:\n") - len("return a") + 1


@pytest.mark.parametrize(
    ("accept", "taken"),
    [(AcceptedPart.WHOLE, {}), (AcceptedPart.LINE, {"line": 1}), (AcceptedPart.WORD, {"line": 1})],
)
async def test_the_first_line_alone_may_be_right(
    accept: AcceptedPart, taken: dict[str, int]
) -> None:
    _, counts = await typed(by_ends({"if": " a:\n        raise"}), accept)
    assert counts.accepted == taken
    assert counts.shown[0].kept is AcceptedPart.LINE


async def test_each_word_that_is_taken_is_a_key() -> None:
    _, plain = await typed(by_ends({}), AcceptedPart.WORD)
    _, counts = await typed(by_ends({"if": " a: pass"}), AcceptedPart.WORD)
    assert counts.accepted == {"word": 1}
    assert counts.keys == plain.keys - len(" a:") + 2
    _, line = await typed(by_ends({"if": " a: pass"}), AcceptedPart.LINE)
    assert line.accepted == {}
    assert line.shown[0].kept is AcceptedPart.WORD


async def test_a_bracket_that_the_editor_closed_is_stepped_over() -> None:
    text = "f(\n    [1, 'a'],\n)\ny = g(h(2))\n\n\nx"
    editor, counts = await typed(by_ends({}), text=text, begin="f(")
    assert counts.keys == counts.plain_keys
    assert editor.pressed.count(")") == 3


async def test_a_suggestion_takes_the_closed_bracket_with_it() -> None:
    text = "f(a, b)\n\n\nx"
    for suggestion, taken in (
        (("a, b)", 1), {"whole": 1}),
        (("a, b", 0), {"whole": 1}),
        (("a, b)", 0), {}),
    ):
        _, counts = await typed(
            lambda before, _, one=suggestion: one if before.endswith("(") else None,
            text=text,
            begin="f(",
        )
        assert counts.accepted == taken
        assert counts.shown[0].doubled is (taken == {})


async def test_a_suggestion_that_stays_on_the_screen_is_shown_once() -> None:
    def wrong_but_typed_along(before: str, _: str) -> tuple[str, int] | None:
        begun = before.rpartition("if")[2]
        return (" a:X"[len(begun) :], 0) if " a:".startswith(begun) else None

    _, counts = await typed(wrong_but_typed_along, AcceptedPart.WHOLE)
    assert len(counts.shown) == 1
    assert sum(counts.answers.values()) == counts.keys - len(["    ", "i", "f"])


pieces = st.text(st.sampled_from("ab =()[]{}\"':\n #"), max_size=30)


@given(
    before=pieces,
    passage=pieces,
    after=pieces,
    suggestions=st.lists(pieces, min_size=1),
    takes=st.integers(0, 3),
    accept=st.sampled_from(list(AcceptedPart)[:3]),
)
async def test_whatever_is_suggested_the_file_comes_out(
    before: str, passage: str, after: str, suggestions: list[str], takes: int, accept: AcceptedPart
) -> None:
    """Random text closes brackets in the wrong places; random suggestions are at times right."""
    waiting = itertools.cycle([*suggestions, passage[2:9], passage[5:7], ")"])

    def suggest(_: str, rest: str) -> tuple[str, int] | None:
        text = next(waiting)
        return (text, min(takes, len(rest.split("\n")[0]))) if text.strip() else None

    before, after = before + "\n", "\n" + after
    whole = before + passage + after
    one = Passage(File("a.py", "python", whole), len(before), len(before + passage))
    editor = Editor(one.initial_text, one.start, suggest)
    counts = await Typist(editor, one, itertools.repeat(0.0), accept).type()
    assert editor.text == whole
    assert counts.calls == editor.calls


@given(text=pieces)
def test_keys_make_the_text(text: str) -> None:
    assert "".join(keys(text)) == text


def test_first_parts() -> None:
    assert first_lines("a\nb\nc", "a\nb\nx") == "a\nb"
    assert first_lines("ab", "ab") == ""
    assert first_words("return values[0]", "return value") == "return"
    assert first_words(" a + b", " a + c") == " a +"
    assert first_words("x", "y") == ""


@pytest.mark.parametrize(
    ("text", "suggested", "replaced", "doubled"),
    [
        ("f(|)", "a)", 0, True),
        ("f(|)", "a)", 1, False),
        ("f(a|)", ".b()", 0, False),
        ("g(f(|)", "a)", 0, False),  # the other one is for `g`
        ('f("(", |)', "a)", 0, True),  # a bracket in a string opens nothing
        ("f(|", "a)", 0, False),
        ("f(\n    |\n)", "a)", 0, True),
        ("x = [|]", "f(1)]", 0, True),
    ],
)
def test_doubled_brackets_are_seen(text: str, suggested: str, replaced: int, doubled: bool) -> None:
    cursor = text.index("|")
    assert doubles_bracket(text.replace("|", ""), cursor, suggested, replaced) is doubled


@pytest.mark.parametrize(
    ("text", "suggested", "repeated"),
    [
        ("x = | if a else b\n", "1 if a else b", True),
        ("x = | if a else b\n", "1", False),
        ("|\nreturn x\n", "y = 1\nreturn x", True),
        ("ret|\nreturn x\n", "urn x", True),
        ("|\n}\n", "}", False),  # such a line may well stand twice
        ("f(|)\n", "a)", False),  # that is a doubled bracket
    ],
)
def test_repeated_suffixes_are_seen(text: str, suggested: str, repeated: bool) -> None:
    cursor = text.index("|")
    assert repeats_suffix(text.replace("|", ""), cursor, suggested, 0) is repeated


def test_broken_syntax_is_seen() -> None:
    assert breaks_syntax("x = 1\n", 5, " +", 0, "python")
    assert not breaks_syntax("x = 1\n", 5, " + 2", 0, "python")
    assert not breaks_syntax("x = (\n", 5, " + 2", 0, "python")  # it was broken before


def test_passages_are_whole_lines_of_files_that_are_long_enough() -> None:
    files = [
        File("a.py", "python", TEXT),
        File("b.py", "python", "x = 1\n"),
        File("c.py", "python", TEXT.replace("\n", "\r\n")),
    ]
    found = passages(files, 9, 3, 0)
    assert [one.file.path for one in found] == ["a.py"]
    assert found == passages(files, 9, 3, 0)
    (one,) = found
    assert one.start == 0 or TEXT[one.start - 1] == "\n"
    assert TEXT[one.start : one.end].count("\n") == 2
    assert TEXT[one.end] == "\n"  # nobody types in front of the next line


async def test_sums_are_those_of_what_happened() -> None:
    _, counts = await typed(by_ends({"if": " a:\n        return a", "ret": "wrong("}))
    assert (
        counts_from_json(
            {
                **counts.__dict__,
                "shown": [
                    {name: getattr(one, name) for name in one.__slots__} for one in counts.shown
                ],
            }
        )
        == counts
    )
    found = summarize([counts, counts])
    assert found.keys == 2 * counts.keys
    assert found.saved == pytest.approx(1 - counts.keys / counts.plain_keys)
    assert (found.shown, found.kept_whole, found.kept_in_part) == (4, 2, 0)
    assert found.calls_per_kept == pytest.approx(counts.keys / counts.accepted_characters)
    assert found.without_model == 0.0
    assert (found.p50_ms, found.p95_ms) == (5.0, 5.0)
    assert summarize([]).p50_ms is None


def test_rhythms(tmp_path: Path) -> None:
    gaps = sorted(itertools.islice(random_rhythm(150, 0), 2001))
    assert gaps[1000] == pytest.approx(0.15, rel=0.1)
    assert gaps[-1] > 2 * gaps[1000]
    file = tmp_path / "rhythm.json"
    file.write_text("[100, 250.5]")
    assert list(itertools.islice(recorded_rhythm(file), 3)) == [0.1, 0.2505, 0.1]
    for wrong in ("[]", "[1, -2]", "{}", '["a"]', "nothing"):
        file.write_text(wrong)
        with pytest.raises(ConfigurationError):
            recorded_rhythm(file)
