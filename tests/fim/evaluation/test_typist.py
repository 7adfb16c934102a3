"""Simulated typing restores the file, and the counts are correct."""

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
    """An editor with suggestions from a function."""

    text: str
    cursor: int
    suggest: Callable[[str, str], tuple[str, int] | None]
    """Function from the text before and after the cursor to a suggestion.

    It returns the text and the number of characters that it replaces, or None.
    """
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
        suggestion = self.suggest(self.text[: self.cursor], self.text[self.cursor :])
        if suggestion is None:
            return GhostText("", "nothing", 5.0, source=Source.MODEL)
        text, size = suggestion
        replaced = self.text[self.cursor : self.cursor + size]
        return GhostText(text, "model", 5.0, replaced, Source.MODEL)


def suggest_after(texts: dict[str, str]) -> Callable[[str, str], tuple[str, int] | None]:
    def suggest(before: str, _: str) -> tuple[str, int] | None:
        return next(((text, 0) for end, text in texts.items() if before.endswith(end)), None)

    return suggest


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
    editor, counts = await typed(suggest_after({}))
    assert counts.keys == counts.plain_keys == len(editor.pressed)
    assert "\n        " in editor.pressed  # the editor indents by itself
    assert counts.accepted == {}
    assert counts.shown == []


async def test_correct_suggestions_are_accepted_and_wrong_ones_are_not() -> None:
    _, counts = await typed(suggest_after({"if": " a:\n        return a", "ret": "wrong("}))
    assert counts.accepted == {"whole": 1}
    assert counts.accepted_characters == len("a:") + len("return a")
    assert [suggestion.kept for suggestion in counts.shown] == [
        AcceptedPart.WHOLE,
        AcceptedPart.NONE,
    ]
    assert counts.keys == counts.plain_keys - len(" a:\n") - len("return a") + 1


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [(AcceptedPart.WHOLE, {}), (AcceptedPart.LINE, {"line": 1}), (AcceptedPart.WORD, {"line": 1})],
)
async def test_the_first_line_alone_may_be_correct(
    accept: AcceptedPart, accepted: dict[str, int]
) -> None:
    _, counts = await typed(suggest_after({"if": " a:\n        raise"}), accept)
    assert counts.accepted == accepted
    assert counts.shown[0].kept is AcceptedPart.LINE


async def test_each_accepted_word_is_a_key_press() -> None:
    _, plain = await typed(suggest_after({}), AcceptedPart.WORD)
    _, counts = await typed(suggest_after({"if": " a: pass"}), AcceptedPart.WORD)
    assert counts.accepted == {"word": 1}
    assert counts.keys == plain.keys - len(" a:") + 2
    _, line = await typed(suggest_after({"if": " a: pass"}), AcceptedPart.LINE)
    assert line.accepted == {}
    assert line.shown[0].kept is AcceptedPart.WORD


async def test_typing_an_inserted_bracket_moves_over_it() -> None:
    text = "f(\n    [1, 'a'],\n)\ny = g(h(2))\n\n\nx"
    editor, counts = await typed(suggest_after({}), text=text, begin="f(")
    assert counts.keys == counts.plain_keys
    assert editor.pressed.count(")") == 3


async def test_a_suggestion_may_replace_an_inserted_bracket() -> None:
    text = "f(a, b)\n\n\nx"
    for suggestion, accepted in (
        (("a, b)", 1), {"whole": 1}),
        (("a, b", 0), {"whole": 1}),
        (("a, b)", 0), {}),
    ):
        _, counts = await typed(
            lambda before, _, result=suggestion: result if before.endswith("(") else None,
            text=text,
            begin="f(",
        )
        assert counts.accepted == accepted
        assert counts.shown[0].doubled is (accepted == {})


async def test_a_suggestion_that_stays_on_the_screen_counts_once() -> None:
    def suggest(before: str, _: str) -> tuple[str, int] | None:
        written = before.rpartition("if")[2]
        return (" a:X"[len(written) :], 0) if " a:".startswith(written) else None

    _, counts = await typed(suggest, AcceptedPart.WHOLE)
    assert len(counts.shown) == 1
    assert sum(counts.results.values()) == counts.keys - len(["    ", "i", "f"])


pieces = st.text(st.sampled_from("ab =()[]{}\"':\n #"), max_size=30)


@given(
    before=pieces,
    typed_text=pieces,
    after=pieces,
    suggestions=st.lists(pieces, min_size=1),
    max_replaced=st.integers(0, 3),
    accept=st.sampled_from(list(AcceptedPart)[:3]),
)
async def test_the_file_is_restored_whatever_is_suggested(
    before: str,
    typed_text: str,
    after: str,
    suggestions: list[str],
    max_replaced: int,
    accept: AcceptedPart,
) -> None:
    """Random text closes brackets in wrong places. Random suggestions are sometimes correct."""
    texts = itertools.cycle([*suggestions, typed_text[2:9], typed_text[5:7], ")"])

    def suggest(_: str, rest: str) -> tuple[str, int] | None:
        text = next(texts)
        return (text, min(max_replaced, len(rest.split("\n")[0]))) if text.strip() else None

    before, after = before + "\n", "\n" + after
    whole = before + typed_text + after
    file = File("a.py", "python", whole)
    passage = Passage(file, len(before), len(before + typed_text))
    editor = Editor(passage.initial_text, passage.start, suggest)
    counts = await Typist(editor, passage, itertools.repeat(0.0), accept).type()
    assert editor.text == whole
    assert counts.calls == editor.calls


@given(text=pieces)
def test_the_keys_produce_the_text(text: str) -> None:
    assert "".join(keys(text)) == text


def test_the_correct_first_lines_and_words() -> None:
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
        ("g(f(|)", "a)", 0, False),  # the other bracket is for `g`
        ('f("(", |)', "a)", 0, True),  # a bracket in a string
        ("f(|", "a)", 0, False),
        ("f(\n    |\n)", "a)", 0, True),
        ("x = [|]", "f(1)]", 0, True),
    ],
)
def test_doubled_brackets_are_detected(
    text: str, suggested: str, replaced: int, doubled: bool
) -> None:
    cursor = text.index("|")
    assert doubles_bracket(text.replace("|", ""), cursor, suggested, replaced) is doubled


@pytest.mark.parametrize(
    ("text", "suggested", "repeated"),
    [
        ("x = | if a else b\n", "1 if a else b", True),
        ("x = | if a else b\n", "1", False),
        ("|\nreturn x\n", "y = 1\nreturn x", True),
        ("ret|\nreturn x\n", "urn x", True),
        ("|\n}\n", "}", False),  # short lines may be repeated
        ("f(|)\n", "a)", False),  # that is a doubled bracket
    ],
)
def test_repeated_suffixes_are_detected(text: str, suggested: str, repeated: bool) -> None:
    cursor = text.index("|")
    assert repeats_suffix(text.replace("|", ""), cursor, suggested, 0) is repeated


def test_broken_syntax_is_detected() -> None:
    assert breaks_syntax("x = 1\n", 5, " +", 0, "python")
    assert not breaks_syntax("x = 1\n", 5, " + 2", 0, "python")
    assert not breaks_syntax("x = (\n", 5, " + 2", 0, "python")  # it was broken before


def test_passages_are_whole_lines_of_files_that_are_long_enough() -> None:
    files = [
        File("a.py", "python", TEXT),
        File("b.py", "python", "x = 1\n"),
        File("c.py", "python", TEXT.replace("\n", "\r\n")),
    ]
    (passage,) = passages(files, 9, 3, 0)
    assert passage.file.path == "a.py"
    assert passages(files, 9, 3, 0) == [passage]
    assert passage.start == 0 or TEXT[passage.start - 1] == "\n"
    assert TEXT[passage.start : passage.end].count("\n") == 2
    assert TEXT[passage.end] == "\n"  # the last line feed is not part of the passage


async def test_the_summary_adds_the_counts() -> None:
    _, counts = await typed(suggest_after({"if": " a:\n        return a", "ret": "wrong("}))
    assert (
        counts_from_json(
            {
                **counts.__dict__,
                "shown": [
                    {name: getattr(suggestion, name) for name in suggestion.__slots__}
                    for suggestion in counts.shown
                ],
            }
        )
        == counts
    )
    summary = summarize([counts, counts])
    assert summary.keys == 2 * counts.keys
    assert summary.saved == pytest.approx(1 - counts.keys / counts.plain_keys)
    assert (summary.shown, summary.kept_whole, summary.kept_in_part) == (4, 2, 0)
    assert summary.calls_per_kept == pytest.approx(counts.keys / counts.accepted_characters)
    assert summary.without_model == 0.0
    assert (summary.p50_ms, summary.p95_ms) == (5.0, 5.0)
    assert summarize([]).p50_ms is None


def test_random_and_recorded_rhythms(tmp_path: Path) -> None:
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
