"""Suggestions are whole lines or blocks, double nothing and change nothing else."""

import asyncio
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.postprocess.clean import clean, overlap
from fim.postprocess.truncate import scope_of, truncate
from fim.request.in_flight import GRACE_S
from fim.settings import FimSettings
from fim.snapshot import CompletionResult, SelectedText, Snapshot, Source, Trigger


def at_bar(text: str) -> Snapshot:
    """Return a snapshot with the cursor at the bar."""
    cursor = text.index("|")
    language = "javascript" if "{|" in text else "python"
    return Snapshot("file:///a.py", language, text[:cursor] + text[cursor + 1 :], cursor)


def completed(
    text: str, output: str, **settings: object
) -> tuple[CompletionResult, ScriptedEngine]:
    engine = ScriptedEngine(lambda _: output)
    completer = Completer(engine, FimSettings(**settings))  # type: ignore[arg-type]
    return asyncio.run(completer.complete(at_bar(text))), engine


@pytest.mark.parametrize(
    ("text", "output", "expected"),
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
        ("    |\n", "a = 1\nb = 2\n", "    a = 1\n"),  # less indentation: another block
        ("|", "import os\nimport sys\n\nx", "import os\nimport sys"),
        ("f(|)\n", "a, b)\n", "f(a, b)\n"),
        ("f(a|)\n", ".b()\n", "f(a.b())\n"),  # the suggestion opens the bracket itself
        ('print("|")\n', 'hi")\n', 'print("hi")\n'),
        ("if a|:\n", " and b:\n", "if a and b:\n"),
        ("a = |\r\nb\r\n", "1\n", "a = 1\r\nb\r\n"),
        ("def f():\r\n    |\r\n", "a = 1\n    b = 2\n", "def f():\r\n    a = 1\r\n    b = 2\r\n"),
        ("🎉 = |\n", "'é👩‍💻'\n", "🎉 = 'é👩‍💻'\n"),
        ("a\x0c = |\n", "1\n", "a\x0c = 1\n"),
    ],
)
def test_the_file_after_a_suggestion_is_accepted(text: str, output: str, expected: str) -> None:
    result, _ = completed(text, output)
    (suggestion,) = result.suggestions
    assert suggestion.applied_to(at_bar(text).text) == expected
    assert result.source is Source.MODEL


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("x = |\n", ""),
        ("x = |\n", "   \n"),
        ("x|\ny = total\n", "\ny = total\n"),
        ("\n|\ny = total\n", "y = total\n"),  # the line below is the same
        ("f(|)\n", ")\n"),
    ],
)
def test_nothing_is_suggested_if_nothing_would_be_added(text: str, output: str) -> None:
    result, _ = completed(text, output)
    assert result.suggestions == ()
    assert result.explanation


def test_the_engine_stops_at_the_end_of_the_line() -> None:
    _, engine = completed("x = |\n", "1\n" + "y" * 500)
    assert engine.stopped_early == 0  # the engine stops by itself
    assert engine.tokens_written == 3  # the typed space, `1` and the line feed


def test_a_line_that_opens_a_block_does_not_end_the_output() -> None:
    result, engine = completed("i|\n", "f a:\n    b()\nc()\n" + "y" * 500)
    assert result.suggestions[0].text == "f a:\n    b()"
    assert engine.stopped_early == 1
    assert engine.tokens_written == len("if a:\n    b()\nc")


def test_a_block_that_reaches_the_token_limit_loses_its_last_line() -> None:
    result, _ = completed("def f():\n    |\n", "a = 1\n    b = 2222222", max_new_tokens=14)
    assert result.suggestions[0].text == "a = 1"


def test_multiline_never_suggests_one_line() -> None:
    result, _ = completed("def f():\n    |\n", "a = 1\n    b = 2\n", multiline="never")
    assert result.suggestions[0].text == "a = 1"


texts = st.text(st.sampled_from("ab =()[]{}\"':\n\r\t🎉é"), max_size=40)


@given(before=texts, after=texts, output=texts)
def test_accepting_changes_nothing_but_the_replaced_range(
    before: str, after: str, output: str
) -> None:
    snapshot = Snapshot("u", "python", before + after, len(before))
    truncated = truncate(output, scope_of(snapshot), ended=True)
    assert output.startswith(truncated.text)
    cleaned = clean(truncated.text, snapshot)
    if cleaned is None:
        return
    assert cleaned.text.strip()
    assert 0 <= cleaned.replaced <= len(snapshot.line_after)
    # The suggestion contains the replaced text, so nothing is lost.
    remaining = iter(cleaned.text)
    assert all(character in remaining for character in after[: cleaned.replaced])


@given(output=texts, before=texts, after=texts)
def test_truncated_text_does_not_change_once_it_is_done(
    output: str, before: str, after: str
) -> None:
    scope = scope_of(Snapshot("u", "python", before + after, len(before)))
    for size in range(len(output)):
        early = truncate(output[:size], scope, ended=False)
        if early.done:
            assert truncate(output, scope, ended=True).text == early.text
            break


def test_only_whole_words_overlap() -> None:
    assert overlap("name", "else") == 0
    assert overlap("x else", "else") == 4
    assert overlap('"a"', '"') == 0


async def test_the_same_place_needs_one_request() -> None:
    engine = ScriptedEngine(lambda _: "1\n")
    completer = Completer(engine)
    first = await completer.complete(at_bar("x = |"))
    second = await completer.complete(at_bar("x = |"))
    assert [first.source, second.source] == [Source.MODEL, Source.CACHE]
    assert first.suggestions[0].text == second.suggestions[0].text
    assert len(engine.requests) == 1
    completer.reset()
    assert (await completer.complete(at_bar("x = |"))).source is Source.MODEL


async def test_cancelling_stops_the_engine() -> None:
    engine = ScriptedEngine(lambda _: ascii_letters * 9, 0.01)
    task = asyncio.create_task(Completer(engine).complete(at_bar("x = |")))
    while engine.tokens_written < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The engine does not stop immediately, because the editor may be about to send a new request.
    await asyncio.sleep(GRACE_S + 0.05)
    num_tokens = engine.tokens_written
    assert engine.stopped_early == 1
    await asyncio.sleep(0.05)
    assert engine.tokens_written == num_tokens


async def test_the_selected_item_of_the_suggest_widget_begins_the_suggestion() -> None:
    engine = ScriptedEngine(lambda _: ".join(a)\n")
    snapshot = at_bar("os.pa|\n")
    result = await Completer(engine).complete(
        snapshot, Trigger.AUTOMATIC, SelectedText(3, 5, "path")
    )
    (suggestion,) = result.suggestions
    assert suggestion.text == "path.join(a)"
    assert suggestion.applied_to(snapshot.text) == "os.path.join(a)\n"


async def test_within_a_word_only_explicit_requests_are_answered() -> None:
    engine = ScriptedEngine(lambda _: "zz")
    completer = Completer(engine)
    automatic = await completer.complete(at_bar("to|tal"))
    assert automatic.suggestions == ()
    assert "word" in automatic.explanation
    assert (await completer.complete(at_bar("to|tal"), Trigger.INVOKED)).suggestions


async def test_a_small_context_window_has_room_for_prompt_and_output() -> None:
    engine = ScriptedEngine(lambda _: "1\n", context_window=64)
    await Completer(engine).complete(at_bar("x" * 500 + " = |\n" + "y\n" * 500))
    (request,) = engine.requests
    assert len(request.prompt) + request.max_new_tokens <= 64


@pytest.mark.parametrize(
    ("text", "output", "expected"),
    [
        # The output closes a bracket that the editor has closed, and goes on.
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
        ('f("(", |)\n', "a), 1\n", 'f("(", a), 1\n'),  # a bracket in a string
        # Brackets that the output opens itself.
        ("f(|)\n", "g(a), h(b)\n", "f(g(a), h(b))\n"),
        ("f(|)\n", "'a)', b\n", "f('a)', b)\n"),
    ],
)
def test_brackets_that_the_editor_closed_are_not_doubled(
    text: str, output: str, expected: str
) -> None:
    result, _ = completed(text, output)
    (suggestion,) = result.suggestions
    assert suggestion.applied_to(at_bar(text).text) == expected


@pytest.mark.parametrize("num_methods", [3, 40, 400])
def test_suggestions_in_a_long_class_are_cut_to_valid_syntax(num_methods: int) -> None:
    """The lines that are parsed begin and end within the class, and parse nevertheless."""
    method = '    def method(self):\n        """Of.\n\n        If it isn\'t.\n        """\n\n'
    above = "class A:\n" + num_methods * method + "    def here(self):\n"
    text = f"{above}        |\n        return 1\n\n{num_methods * method}"
    result, _ = completed(text, "x = f(1, 2\n", eagerness="eager")
    assert result.suggestions[0].text == "x = f"
    valid, _ = completed(text, "x = f(1, 2)\n", eagerness="eager")
    assert valid.suggestions[0].text == "x = f(1, 2)"
