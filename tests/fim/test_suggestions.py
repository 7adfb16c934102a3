"""What is shown of an answer: a whole line or block, nothing doubled, nothing outside touched."""

import asyncio
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.postprocess.candidate import Candidate
from fim.postprocess.clean import clean, overlap
from fim.postprocess.truncate import scope_of, truncate
from fim.request.cache import SuggestionCache
from fim.request.in_flight import GRACE_S
from fim.settings import FimSettings
from fim.snapshot import CompletionResult, SelectedText, Snapshot, Source, Trigger


def at_bar(text: str) -> Snapshot:
    """A snapshot whose cursor is where the bar stands."""
    cursor = text.index("|")
    language = "javascript" if "{|" in text else "python"
    return Snapshot("file:///a.py", language, text[:cursor] + text[cursor + 1 :], cursor)


def asked(text: str, answer: str, **settings: object) -> tuple[CompletionResult, ScriptedEngine]:
    engine = ScriptedEngine(lambda _: answer)
    completer = Completer(engine, FimSettings(**settings))  # type: ignore[arg-type]
    return asyncio.run(completer.complete(at_bar(text))), engine


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("x = |\n", "1\ny = 2\n", "x = 1\n"),
        ("x = |\ny\n", " 1\n", "x = 1\ny\n"),  # no second space
        (
            "def f():\n    |\n",
            "return 1\n    # more\n\n\nz",
            "def f():\n    return 1\n    # more\n",
        ),
        ("def f():|\n", "\n    return 1\nx = 2\n", "def f():\n    return 1\n"),
        ("if (a) {|\n", "\n    b();\n}\nc();\n", "if (a) {\n    b();\n}\n"),
        ("    |\n", "a = 1\nb = 2\n", "    a = 1\n"),  # dedented: another block
        ("|", "import os\nimport sys\n\nx", "import os\nimport sys"),
        ("f(|)\n", "a, b)\n", "f(a, b)\n"),
        ("f(a|)\n", ".b()\n", "f(a.b())\n"),  # its bracket is its own
        ('print("|")\n', 'hi")\n', 'print("hi")\n'),
        ("if a|:\n", " and b:\n", "if a and b:\n"),
        ("a = |\r\nb\r\n", "1\n", "a = 1\r\nb\r\n"),
        ("def f():\r\n    |\r\n", "a = 1\n    b = 2\n", "def f():\r\n    a = 1\r\n    b = 2\r\n"),
        ("🎉 = |\n", "'é👩‍💻'\n", "🎉 = 'é👩‍💻'\n"),
        ("a\x0c = |\n", "1\n", "a\x0c = 1\n"),
    ],
)
def test_what_an_accepted_suggestion_makes_of_the_file(
    text: str, answer: str, expected: str
) -> None:
    result, _ = asked(text, answer)
    (one,) = result.suggestions
    assert one.applied_to(at_bar(text).text) == expected
    assert result.source is Source.MODEL


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("x = |\n", ""),
        ("x = |\n", "   \n"),
        ("x|\ny = total\n", "\ny = total\n"),
        ("\n|\ny = total\n", "y = total\n"),  # what stands below already
        ("f(|)\n", ")\n"),
    ],
)
def test_nothing_is_suggested_where_nothing_is_added(text: str, answer: str) -> None:
    result, _ = asked(text, answer)
    assert result.suggestions == ()
    assert result.explanation


def test_the_engine_ends_as_soon_as_the_line_is_whole() -> None:
    _, engine = asked("x = |\n", "1\n" + "y" * 500)
    assert engine.stopped_early == 0  # by itself: nobody need tell it
    assert engine.tokens_written == 3  # the space that was typed, `1` and the line's end


def test_a_line_that_opens_a_block_does_not_end_the_answer() -> None:
    result, engine = asked("i|\n", "f a:\n    b()\nc()\n" + "y" * 500)
    assert result.suggestions[0].text == "f a:\n    b()"
    assert engine.stopped_early == 1
    assert engine.tokens_written == len("if a:\n    b()\nc")


def test_a_block_cut_off_for_want_of_tokens_loses_its_last_line() -> None:
    result, _ = asked("def f():\n    |\n", "a = 1\n    b = 2222222", max_new_tokens=14)
    assert result.suggestions[0].text == "a = 1"


def test_multiline_never() -> None:
    result, _ = asked("def f():\n    |\n", "a = 1\n    b = 2\n", multiline="never")
    assert result.suggestions[0].text == "a = 1"


texts = st.text(st.sampled_from("ab =()[]{}\"':\n\r\t🎉é"), max_size=40)


@given(before=texts, after=texts, answer=texts)
def test_accepting_touches_nothing_but_the_replaced_range(
    before: str, after: str, answer: str
) -> None:
    snapshot = Snapshot("u", "python", before + after, len(before))
    piece = truncate(answer, scope_of(snapshot), ended=True)
    assert answer.startswith(piece.text)
    cleaned = clean(piece.text, snapshot)
    if cleaned is None:
        return
    assert cleaned.text.strip()
    assert 0 <= cleaned.replaced <= len(snapshot.line_after)
    # What is replaced is written again by the suggestion itself: no text is lost.
    written = iter(cleaned.text)
    assert all(character in written for character in after[: cleaned.replaced])


@given(answer=texts, before=texts, after=texts)
def test_a_cut_never_changes_as_more_arrives_once_it_is_done(
    answer: str, before: str, after: str
) -> None:
    scope = scope_of(Snapshot("u", "python", before + after, len(before)))
    for size in range(len(answer)):
        early = truncate(answer[:size], scope, ended=False)
        if early.done:
            assert truncate(answer, scope, ended=True).text == early.text
            break


def test_overlap_of_words_is_whole_or_nothing() -> None:
    assert overlap("name", "else") == 0
    assert overlap("x else", "else") == 4
    assert overlap('"a"', '"') == 0


# The cache.


@given(text=st.text(st.sampled_from("abc =(\n🎉"), min_size=2, max_size=30))
def test_every_way_of_typing_along_is_answered(text: str) -> None:
    cache = SuggestionCache(100, 60)
    here = Snapshot("u", "python", "x = \nafter", 4)
    cache.store(here, Candidate(text))
    for typed in range(1, len(text)):
        then = Snapshot("u", "python", f"x = {text[:typed]}\nafter", 4 + typed)
        found = cache.find(then)
        assert found is not None
        assert found.text == text[typed:]
        assert found.source is Source.TYPED_THROUGH
    other = Snapshot("u", "python", "x = ~\nafter", 5)
    assert cache.find(other) is None


def test_nothing_is_remembered_too_and_for_a_time_only() -> None:
    now = 0.0
    cache = SuggestionCache(100, 60, timer=lambda: now)
    here = Snapshot("u", "python", "x = ", 4)
    cache.store(here, Candidate(""))
    found = cache.find(here)
    assert found is not None
    assert found.text == ""
    now = 61.0
    assert cache.find(here) is None


async def test_an_answer_is_asked_for_once() -> None:
    engine = ScriptedEngine(lambda _: "1\n")
    completer = Completer(engine)
    first = await completer.complete(at_bar("x = |"))
    again = await completer.complete(at_bar("x = |"))
    assert [first.source, again.source] == [Source.MODEL, Source.CACHE]
    assert first.suggestions[0].text == again.suggestions[0].text
    assert len(engine.requests) == 1
    completer.reset()
    assert (await completer.complete(at_bar("x = |"))).source is Source.MODEL


# The completer.


async def test_cancelling_stops_the_engine() -> None:
    engine = ScriptedEngine(lambda _: ascii_letters * 9, 0.01)
    task = asyncio.create_task(Completer(engine).complete(at_bar("x = |")))
    while engine.tokens_written < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # An editor that takes a request back may be about to send the next: not at once, but soon.
    await asyncio.sleep(GRACE_S + 0.05)
    written = engine.tokens_written
    assert engine.stopped_early == 1
    await asyncio.sleep(0.05)
    assert engine.tokens_written == written


async def test_the_suggest_widgets_choice_begins_the_suggestion() -> None:
    engine = ScriptedEngine(lambda _: ".join(a)\n")
    snapshot = at_bar("os.pa|\n")
    result = await Completer(engine).complete(
        snapshot, Trigger.AUTOMATIC, SelectedText(3, 5, "path")
    )
    (one,) = result.suggestions
    assert one.text == "path.join(a)"
    assert one.applied_to(snapshot.text) == "os.path.join(a)\n"


async def test_in_the_middle_of_a_word_only_when_invoked() -> None:
    engine = ScriptedEngine(lambda _: "zz")
    completer = Completer(engine)
    quiet = await completer.complete(at_bar("to|tal"))
    assert quiet.suggestions == ()
    assert "word" in quiet.explanation
    assert (await completer.complete(at_bar("to|tal"), Trigger.INVOKED)).suggestions


async def test_a_small_window_leaves_room_for_prompt_and_answer() -> None:
    engine = ScriptedEngine(lambda _: "1\n", context_window=64)
    await Completer(engine).complete(at_bar("x" * 500 + " = |\n" + "y\n" * 500))
    (request,) = engine.requests
    assert len(request.prompt) + request.max_new_tokens <= 64


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        # What an editor closed, the answer closes in its midst.
        ("x: Tuple[st|]\n", "r, str] = y\n", "x: Tuple[str, str] = y\n"),
        ("if isinstance(a, b.|)\n", "c):\n", "if isinstance(a, b.c):\n"),
        ("if isinstance(a, b.|):\n", "c):\n", "if isinstance(a, b.c):\n"),
        ("def f(a|):\n    pass\n", ", b): # or so\n", "def f(a, b): # or so\n    pass\n"),
        ("x = {1: |}\n", "{}}, 2\n", "x = {1: {}}, 2\n"),
        ("F = C[[R|]]\n", "esult], None]\n", "F = C[[Result], None]\n"),
        ("F = C[[R|]]\n", "esult], None\n", "F = C[[Result], None]\n"),
        ("if any(p(s(u)) |)\n", "for p in u):\n", "if any(p(s(u)) for p in u):\n"),
        ('f("|")\n', 'a", b)\n', 'f("a", b)\n'),
        ('f(x, "|")\n', 'a" + b\n', 'f(x, "a" + b)\n'),
        ("f(\n    g(|)\n)\n", "a), b\n", "f(\n    g(a), b\n)\n"),
        ('f("(", |)\n', "a), 1\n", 'f("(", a), 1\n'),  # a bracket in a string opens nothing
        # What it opens itself is its own.
        ("f(|)\n", "g(a), h(b)\n", "f(g(a), h(b))\n"),
        ("f(|)\n", "'a)', b\n", "f('a)', b)\n"),
    ],
)
def test_brackets_that_the_editor_closed_are_not_doubled(
    text: str, answer: str, expected: str
) -> None:
    result, _ = asked(text, answer)
    (one,) = result.suggestions
    assert one.applied_to(at_bar(text).text) == expected


@pytest.mark.parametrize("methods", [3, 40, 400])
def test_what_breaks_a_long_class_is_cut_back_too(methods: int) -> None:
    """The lines that are parsed begin and end within it, and are code all the same."""
    method = '    def method(self):\n        """Of.\n\n        If it isn\'t.\n        """\n\n'
    above = "class A:\n" + methods * method + "    def here(self):\n"
    text = f"{above}        |\n        return 1\n\n{methods * method}"
    result, _ = asked(text, "x = f(1, 2\n", eagerness="eager")
    assert result.suggestions[0].text == "x = f"
    fine, _ = asked(text, "x = f(1, 2)\n", eagerness="eager")
    assert fine.suggestions[0].text == "x = f(1, 2)"
