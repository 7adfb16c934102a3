"""Text of the project that follows the same text elsewhere becomes a candidate at the cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim.memory.candidates import MemoryCandidate, continuations, memory_candidates
from fim.memory.probability import Support, probability
from fim.postprocess.confidence import first_line_end
from fim.postprocess.truncate import scope_of
from fim.snapshot import Passage, Snapshot
from syntax.grammars import count_errors

KEY = "AKIA" + "IOSFODNN7QXAMPL3"


def at_bar(text: str, *passages: Passage, language: str = "python") -> Snapshot:
    """Return a snapshot with the cursor at the bar."""
    cursor = text.index("|")
    return Snapshot("u", language, text[:cursor] + text[cursor + 1 :], cursor, passages=passages)


def place(text: str, match_length: int = 30, count: int = 1) -> Passage:
    """Return the passage at the bar."""
    before, _, after = text.partition("|")
    return Passage(before, after, match_length, count)


def candidates(snapshot: Snapshot, max_count: int = 3) -> list[MemoryCandidate]:
    return memory_candidates(snapshot, scope_of(snapshot), max_count)


def texts(snapshot: Snapshot) -> list[str]:
    return [result.candidate.text for result in candidates(snapshot)]


@pytest.mark.parametrize(
    ("text", "passage", "expected"),
    [
        ("x = f(|\n", "y = f(|a, b)\nmore()\n", "a, b)"),
        # The same line at another depth, in a block.
        ("if a:|\n", "    if a:|\n        b()\n        c()\n    d()\n", "\n    b()\n    c()"),
        ("        if a:|\n", "if a:|\n    b()\nd()\n", "\n            b()"),
        ("\tif a:|\n", "    if a:|\n        b()\n        if c:\n            d()\n", None),
        ("if a:|\n    pass\n", "\tif a:|\n\t\tb()\n\tc()\n", "\n    b()"),
        # A half-typed word.
        ("x = comp|\n", "y = comp|ute(1)\n", "ute(1)"),
        # What stands right of the cursor is not doubled.
        ("x = f(|)\n", "y = f(|a, b)\n", "a, b)"),
        ("x = f(|a, b)\n", "y = f(|a, b)\n", ""),
        ('x = f["|"]\n', 'y = f["|abc"] + 1\n', 'abc"] + 1'),
        # Emoji.
        ("🎉 = '|\n", "b = '|é👩‍💻'\n", "é👩‍💻'"),
        # No wrong bracket.
        ("x = [1, 2|\ny = 3\n", "y = f([1, 2|])\n", "]"),
        ("a\nx = 1|\nb\n", "y = (1|)\n", ""),
        # Special tokens of the model are text like any other.
        ("x = |\n", "y = |'<fim_middle>' + z\n", "'<fim_middle>' + z"),
        # Carriage returns in a file with line feeds.
        ("def f():|\n", "def f():|\r\n    a()\r\n    b()\r\n\r\nc\r\n", "\n    a()\n    b()"),
    ],
)
def test_the_continuation_fits_the_cursor(text: str, passage: str, expected: str | None) -> None:
    snapshot = at_bar(text, place(passage))
    if expected is None:
        expected = "\n\t\tb()\n\t\tif c:\n\t\t\td()"
    assert texts(snapshot) == ([expected] if expected else [])


def test_the_replaced_text_is_that_of_the_models_output() -> None:
    snapshot = at_bar("x = f(|)\n", place("y = f(|a, b)\n"))
    (result,) = candidates(snapshot)
    assert result.candidate.replaced == 1


def test_the_line_endings_are_those_of_the_document() -> None:
    snapshot = at_bar("x = 1\r\ndef f():|\r\n", place("def f():|\n    a()\n    b()\n\nc\n"))
    (result,) = candidates(snapshot)
    assert result.candidate.text == "\r\n    a()\r\n    b()"
    assert result.candidate.scores.ends[-1] == len(result.candidate.text)


def test_places_that_agree_are_counted_together_and_contradictions_lower_the_probability() -> None:
    agreeing = (place("a = f(|x)\n", 20, 3), place("b = f(|x)\nother\n", 9, 2))
    snapshot = at_bar("c = f(|\n", *agreeing, place("d = f(|y)\n", 20), place("e = f(|z)\n", 8))
    first, *others = continuations(snapshot, scope_of(snapshot))
    assert first.head == "x)"
    assert first.support == Support(
        match_length=20,
        agreeing=5,
        rivals=1,
        disagreeing=2,
        length=2,
        has_whole_line=True,
        joins=False,
    )
    assert [other.head for other in others] == ["y)", "z)"]
    (alone,) = continuations(at_bar("c = f(|\n", *agreeing), scope_of(snapshot))
    assert alone.probability > first.probability > others[0].probability


def test_a_line_that_ends_at_the_cursor_elsewhere_is_a_contradiction() -> None:
    ends = place("a = f(x)|\nb = 1\n", 20, 9)
    goes_on = place("a = f(x)|[0]\n", 20)
    snapshot = at_bar("c = f(x)|\n", ends, goes_on)
    (result,) = candidates(snapshot)
    assert result.candidate.text == "[0]"
    assert result.support.rivals == 9
    assert texts(at_bar("c = f(x)|\n", ends)) == []


def test_the_line_below_the_cursor_is_evidence() -> None:
    passages = place("a = f(|x)\nreturn a\n", 20), place("b = f(|y)\nreturn b\n", 20)
    snapshot = at_bar("c = f(|\nreturn b\n", *passages)
    assert texts(snapshot) == ["y)", "x)"]
    assert texts(at_bar("c = f(|\nreturn a\n", *passages)) == ["x)", "y)"]


def test_the_probability_grows_with_the_match_and_shrinks_with_the_length() -> None:
    support = Support(20, 1, 0, 0, 10, has_whole_line=False, joins=False)
    by_match = [
        probability(Support(length, 1, 0, 0, 10, has_whole_line=False, joins=False))
        for length in (3, 8, 20, 64, 256)
    ]
    assert by_match == sorted(by_match)
    assert probability(Support(20, 1, 0, 0, 40, has_whole_line=False, joins=False)) < probability(
        support
    )
    assert probability(Support(20, 9, 0, 0, 10, has_whole_line=False, joins=False)) > probability(
        support
    )
    assert probability(Support(20, 1, 3, 3, 10, has_whole_line=False, joins=False)) < probability(
        support
    )


def test_the_confidence_of_a_candidate_is_its_probability() -> None:
    snapshot = at_bar("x = f(|\n", place("y = f(|a, b)\nmore()\n", 40))
    (result,) = candidates(snapshot)
    assert result.candidate.confidence == pytest.approx(probability(result.support))
    rest = result.candidate.after_typing("a, ")
    assert rest is not None
    assert result.candidate.confidence < rest.confidence < 1


def test_each_line_of_a_block_has_a_probability_of_its_own() -> None:
    block = "def f(self):|\n    self.a()\n    self.b()\n\n"
    same, other = place(block, 60), place(block.replace("self.b", "other"), 40)
    snapshot = at_bar("def f(self):|\n", same, other)
    candidate = candidates(snapshot)[0].candidate
    assert candidate.text == "\n    self.a()\n    self.b()"
    first = first_line_end(candidate.text)
    second = candidate.scores.confidence(first, len(candidate.text))
    (sure,) = candidates(at_bar("def f(self):|\n", same))
    # The line before it makes the match longer.
    assert sure.candidate.scores.confidence(first, len(candidate.text)) > 0.5
    assert second < sure.candidate.scores.confidence(first, len(candidate.text)) < 1


def test_a_passage_that_is_cut_off_ends_with_a_whole_word_and_is_incomplete() -> None:
    (result,) = candidates(at_bar("x = |\n", place("y = |compute(a).na")))
    assert result.candidate.text == "compute(a)."
    assert not result.candidate.is_complete
    (result,) = candidates(at_bar("x = |\n", place("y = |compute(a).name\n")))
    assert result.candidate.is_complete


@pytest.mark.parametrize(
    ("text", "passage"),
    [
        ("key = '|\n", f"key = '|{KEY}'\n"),
        (f"key = '{KEY[:9]}|\n", f"key = '{KEY[:9]}|{KEY[9:]}'\n"),
        # Text near a key is not shown either.
        ("region = |\n", f"key = '{KEY}'\nregion = |'eu'\n"),
        ("key = '''|\n", "key = '''|-----BEGIN RSA PRIVATE KEY-----\nMIIEabcd\n"),
        ("-----BEGIN EC PRIVATE KEY-----\nMIIEabcd|\n", "MIIEabcd|efgh\n"),
        ("x\nMIIEabcd|\n", "-----BEGIN EC PRIVATE KEY-----\nMIIEabcd|efgh\n"),
        ("user = '|\n", "user = '|<EMAIL>'\n"),
    ],
)
def test_keys_are_never_shown(text: str, passage: str) -> None:
    assert texts(at_bar(text, place(passage))) == []


def test_the_next_continuation_replaces_one_that_must_not_be_shown() -> None:
    secret, plain = place(f"key = '|{KEY}'\n", 60), place("key = '|name'\n", 20)
    assert texts(at_bar("key = '|\n", secret, plain)) == ["name'"]


def test_there_is_no_candidate_without_passages_or_with_very_short_matches() -> None:
    assert texts(at_bar("x = |\n")) == []
    assert texts(at_bar("x = |\n", place("y = |1\n", 2))) == []
    assert texts(at_bar("x = |\n", place("y = |", 20))) == []


def test_the_number_of_candidates_is_limited_and_their_texts_differ() -> None:
    passages = [place(f"y = |{number}\n", 10 + number) for number in range(9)]
    snapshot = at_bar("x = |\n", *passages)
    assert len(candidates(snapshot, 2)) == 2
    assert candidates(snapshot, 0) == []
    # Trailing white space does not make another candidate.
    assert texts(at_bar("x = |\n", place("y = |1  \n"), place("z = |1\n"))) == ["1"]
    # Nor does a bracket that is cut off.
    assert texts(at_bar("x = 1|\n", place("(1| + 2)\n"), place("[1| + 2]\n"))) == [" + 2"]


def test_long_lines() -> None:
    line = "0," * 500_000
    rest = " + ".join(f"value_{number}" for number in range(80_000))
    snapshot = at_bar(f"x = [{line}|\n", place(f"y = [{line}|{rest}]\n", 500))
    (result,) = candidates(snapshot)
    assert 3_900 < len(result.candidate.text) <= 4_000
    assert 0 < result.candidate.confidence < 1


pieces = st.text(st.sampled_from("ab =()[]{}\"':\n\r\t🎉é#"), max_size=30)


@given(before=pieces, after=pieces, passages=st.lists(st.tuples(pieces, pieces), max_size=4))
def test_candidates_never_break_the_syntax(
    before: str, after: str, passages: list[tuple[str, str]]
) -> None:
    places = tuple(Passage(left, right, 40) for left, right in passages)
    snapshot = Snapshot("u", "python", before + after, len(before), passages=places)
    for result in candidates(snapshot):
        candidate = result.candidate
        assert candidate.text.strip()
        assert 0 < candidate.confidence <= 1
        if count_errors(before + after, "python") == 0:
            completed = before + candidate.text + after[candidate.replaced :]
            assert count_errors(completed, "python") == 0
