"""Explain, document, fix, edit, and commit messages: only usable answers are proposed."""

from pathlib import Path

import pytest

from chat.asker import Asker, ChatSettings
from chat.tasks.document import FillRequest, document
from chat.tasks.explain import commit_message, explain, review, translate
from chat.tasks.rewriting import edit, fix
from chat.tasks.target import Proposal, Target
from engine.errors import RequestError
from engine.scripted import ScriptedEngine, byte_tokenizer

CODE = """import os


class Box:
    def volume(self):
        return self.a * self.b * c
"""
COMMITS = ("<|endoftext|>", "<commit_before>", "<commit_msg>", "<commit_after>")


def target(
    cursor: str,
    text: str = CODE,
    language: str = "python",
    *,
    to: str = "",
    instruction: str = "",
    problems: tuple[str, ...] = (),
) -> Target:
    start = text.index(cursor)
    end = text.index(to) + len(to) if to else start
    path = Path("/w/a.py")
    return Target(path.as_uri(), path, language, text, start, end, instruction, problems)


def scripted(text: str) -> tuple[Asker, ScriptedEngine]:
    engine = ScriptedEngine(lambda _: text)
    return Asker(engine), engine


def applied(proposal: Proposal, text: str) -> str:
    (edit,) = proposal.edits
    return text[: edit.start] + edit.text + text[edit.end :]


async def test_fixing_replaces_the_function_at_its_indentation() -> None:
    asker, engine = scripted("def volume(self):\n    return self.a * self.b * self.c\n```\nDone.")
    proposal = await fix(target("c\n", problems=("Undefined name 'c'",) * 2), asker)
    assert applied(proposal, CODE) == CODE.replace(" * c", " * self.c")
    prompt = engine.model_tokenizer.decode(engine.requests[0].prompt)
    assert prompt.count("- Undefined name 'c'\n") == 1
    assert "```python\ndef volume(self):" in prompt


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ("def volume(self):\n    return (\n```", "does not parse"),
        ("def other(self):\n    return 1\n```", "does not define volume"),
        ("def volume(self):\n    return self.a * self.b * c\n```", "changed nothing"),
        ("", "changed nothing"),
    ],
)
async def test_an_unusable_answer_is_not_proposed(answer: str, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        await fix(target("c\n", problems=("x",)), scripted(answer)[0])


async def test_an_answer_that_is_cut_off_is_not_proposed() -> None:
    engine = ScriptedEngine(lambda _: "def volume(self):\n    return 1\n    # " + "y" * 100)
    asker = Asker(engine, ChatSettings(max_new_tokens=40))
    with pytest.raises(RequestError, match="cut off"):
        await fix(target("c\n", problems=("x",)), asker)


async def test_without_a_problem_there_is_nothing_to_fix() -> None:
    with pytest.raises(RequestError, match="no problem"):
        await fix(target("c\n"), scripted("x")[0])


async def test_editing_a_selection_keeps_the_code_around_it() -> None:
    text = "def f():\r\n    a = 1\r\n    b = 2\r\n    return a\r\n"
    asker, engine = scripted("a, b = 1, 2\n```")
    selection = target("= 1", text, to="= 2", instruction="Auf einer Zeile.")
    proposal = await edit(selection, asker)
    assert applied(proposal, text) == "def f():\r\n    a, b = 1, 2\r\n    return a\r\n"
    prompt = engine.model_tokenizer.decode(engine.requests[0].prompt)
    assert "Auf einer Zeile.\n```python\na = 1\nb = 2\n```" in prompt


async def test_a_base_model_is_asked_with_its_commit_tokens() -> None:
    engine = ScriptedEngine(lambda _: "a = 2\n", model_tokenizer=byte_tokenizer(COMMITS))
    proposal = await edit(target("a", "a = 1\n", instruction="Two."), Asker(engine))
    assert applied(proposal, "a = 1\n") == "a = 2\n"
    prompt = engine.model_tokenizer.decode(engine.requests[0].prompt, skip_special=False)
    assert prompt == "<commit_before>a = 1<commit_msg>Two.<commit_after>"
    assert {0, 1, 2, 3} <= engine.requests[0].stop_ids | {0}


async def test_an_edit_needs_an_instruction() -> None:
    with pytest.raises(RequestError, match="instruction is empty"):
        await edit(target("a", "a = 1\n", instruction=" "), scripted("x")[0])


async def test_the_prompt_of_explain_contains_the_function() -> None:
    asker, engine = scripted(" It multiplies.")
    proposal = await explain(target("self.a"), asker)
    assert (proposal.note, proposal.edits) == ("It multiplies.", ())
    assert "What does `volume` do?" in engine.model_tokenizer.decode(engine.requests[0].prompt)
    with pytest.raises(RequestError, match="nothing to say"):
        await explain(target("self.a"), scripted(" ")[0])
    with pytest.raises(RequestError, match="no code here"):
        await explain(target("\n\nclass", "a\n\n\n\nclass B: pass\n"), asker)


async def test_the_prompt_of_review_contains_the_function_and_the_instruction() -> None:
    asker, engine = scripted("Define c.\n")
    proposal = await review(target("self.a", instruction="Briefly."), asker)
    assert proposal == Proposal("Review", (), "Define c.")
    prompt = engine.model_tokenizer.decode(engine.requests[0].prompt)
    assert "Review `volume`: what could be better? Briefly.\n```python\ndef volume(self):" in prompt
    with pytest.raises(RequestError, match="no code here to review"):
        await review(target("\n\nclass", "a\n\n\n\nclass B: pass\n"), asker)


@pytest.mark.parametrize(
    ("language", "fence_name"),
    [("Go", "go"), (" C++\n", "cpp"), ("C#", "csharp"), ("Go, with generics", "")],
)
@pytest.mark.parametrize("start", ["", "```go\n"], ids=["", "the block opened again"])
async def test_a_translation_is_a_code_block_and_changes_nothing(
    start: str, language: str, fence_name: str
) -> None:
    asker, engine = scripted(f"{start}func Volume() int {{\n}}\n```\nIt is the same.")
    proposal = await translate(target("self.a", instruction=language), asker)
    note = f"```{fence_name}\nfunc Volume() int {{\n}}\n```"
    assert proposal == Proposal(f"Translation to {language.strip()}", (), note)
    prompt = engine.model_tokenizer.decode(engine.requests[0].prompt)
    assert f"Translate `volume` to {language.strip()}.\n```python\ndef volume(self):" in prompt
    assert prompt.endswith(f"```{fence_name}\n")


async def test_a_translation_needs_a_language_and_code() -> None:
    for answer, language, match in (
        ("x", " \n", "Name the programming language"),
        ("", "Go", "wrote no code"),
    ):
        with pytest.raises(RequestError, match=match):
            await translate(target("self.a", instruction=language), scripted(answer)[0])


async def test_a_translation_that_is_cut_off_says_so() -> None:
    engine = ScriptedEngine(lambda _: "// " + "".join(map(str, range(100))))
    asker = Asker(engine, ChatSettings(max_new_tokens=40))
    proposal = await translate(target("self.a", instruction="Go"), asker)
    assert "\n```\n\nThe translation ends here" in proposal.note


DOCUMENTED = {
    "python": (
        CODE,
        "self.a",
        "Return litres.\n\n        Never negative.\n        ",
        '    def volume(self):\n        """Return litres.\n\n        Never negative.\n        """\n',
    ),
    "javascript": (
        "class A {\n  f(a) {\n    return a;\n  }\n}\n",
        "return",
        "Give it back.\n   * @param a What.",
        "  /**\n   * Give it back.\n   * @param a What.\n   */\n  f(a) {",
    ),
    "go": (
        "package a\n\nfunc F() int { return 1 }\n",
        "return",
        "is one.\n// Always.\nfunc",
        "// F is one.\n// Always.\nfunc F()",
    ),
    "rust": ("fn f() {}\n", "fn", "Does nothing.", "/// Does nothing.\nfn f() {}"),
    "ruby": ("def f\n  1\nend\n", "1", "One.\nputs 1", "# One.\ndef f\n"),
}


@pytest.mark.parametrize("language", DOCUMENTED)
async def test_documentation_is_inserted_where_the_language_expects_it(language: str) -> None:
    text, cursor, generated, expected = DOCUMENTED[language]
    requests: list[FillRequest] = []

    async def fill(request: FillRequest) -> str:
        requests.append(request)
        return generated

    after = applied(await document(target(cursor, text, language), fill), text)
    assert expected in after
    assert after.replace(expected, "").count("\n") <= text.count("\n")
    filled = requests[0].prefix + generated + requests[0].suffix
    assert [line for line in text.splitlines() if line not in filled] == []


@pytest.mark.parametrize(
    ("text", "cursor", "language", "generated", "match"),
    [
        ('def f():\n    """X."""\n', "X", "python", "a", "has a docstring already"),
        ("def f(): return 1\n", "return", "python", "a", "line of its signature"),
        ("def f():\n    return 1\n", "return", "python", " \n-- ", "wrote no documentation"),
        ("// x\nfunc F() {}\n", "F()", "go", "a", "has a comment already"),
        ("/** x */\nfunction f() {}\n", "f()", "javascript", "a", "has a comment already"),
        ("x = 1\n", "x", "python", "a", "into a function or class"),
        ("x { a: b }", "a", "css", "a", "into a function or class"),
    ],
)
async def test_a_symbol_that_cannot_be_documented_is_an_error(
    text: str, cursor: str, language: str, generated: str, match: str
) -> None:
    async def fill(_: FillRequest) -> str:
        return generated

    with pytest.raises(RequestError, match=match):
        await document(target(cursor, text, language), fill)


async def test_a_commit_message_is_cleaned_and_a_long_diff_is_truncated() -> None:
    asker, engine = scripted('Here it is:\n```\n"Add a box"\n\nIt holds things.\n```')
    assert await commit_message("+box\n", asker) == "Add a box\n\nIt holds things."
    engine.context_window = 4000
    await commit_message("+" + "x" * 10_000, asker)
    assert len(engine.requests[-1].prompt) < 4000 - engine.requests[-1].max_new_tokens
    with pytest.raises(RequestError, match="Nothing is staged"):
        await commit_message(" \n", asker)
    with pytest.raises(RequestError, match="no message"):
        await commit_message("+x", scripted("``` \n")[0])


async def test_a_model_that_repeats_itself_is_stopped() -> None:
    engine = ScriptedEngine(lambda _: "def volume(self):\n    return 1\n" + "    x()\n" * 50)
    proposal = await fix(target("c\n", problems=("x",)), Asker(engine))
    assert engine.stopped_early == 1
    assert proposal.edits[0].text.count("x()") == 1


async def test_a_task_keeps_equal_lines_that_are_no_loop() -> None:
    code = "def volume(self):\n    return 1\n" + "    x()\n" * 10
    proposal = await fix(target("c\n", problems=("x",)), Asker(ScriptedEngine(lambda _: code)))
    assert proposal.edits[0].text.count("x()") == 10
