"""Dialogues mined from source: what its authors wrote about it, asked for.

A function with a docstring answers four requests: document it, say in a line what it does, write it
from its description, and, where the project tests it, write a test. Nobody's chats are used.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import random
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from training.collect import Document
from training.formats import Cell, Token

MAX_CODE, MAX_ANSWER = 1500, 1200
"""Characters: longer ones leave no room in the window of a small model."""

_MIN_SUMMARY = 15

_REQUESTS = {
    "document": (
        "Write a docstring for this function.",
        "Document this function.",
        "Add a docstring.",
        "Write the docstring of `{name}`.",
    ),
    "explain": (
        "What does this function do?",
        "Explain this in one line.",
        "Explain `{name}` in one sentence.",
        "What does `{name}` do?",
    ),
    "write": (
        "Write a Python function `{name}`. {summary}",
        "{summary} Call it `{name}`.",
        "Implement `{signature}`: {summary}",
        "Write `{signature}`. {summary}",
    ),
    "test": (
        "Write a test for this function.",
        "Write tests for `{name}`.",
        "Write a pytest test for this function.",
        "Test this function.",
        "Write tests for `{name}` with pytest.",
    ),
}

_SENTENCE = re.compile(r"(.+?[.!?])(\s|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request and its answer."""

    task: str
    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class Function:
    """A documented function, its source without the indentation around it."""

    name: str
    signature: str
    docstring: str
    source: str
    bare: str
    """The source without the docstring."""

    @property
    def short(self) -> bool:
        """Whether docstring and source can be an answer."""
        return len(self.source) <= MAX_CODE and len(self.docstring) <= MAX_ANSWER

    @property
    def summary(self) -> str:
        """The docstring's first sentence, on one line, ended by a full stop."""
        first = self.docstring.strip().split("\n\n")[0]
        sentence = _SENTENCE.match(first)
        return " ".join((sentence[1] if sentence else first).split()).rstrip(".") + "."


def functions(text: str) -> Iterator[Function]:
    """Yield the documented functions of a Python file, nothing of one that does not parse.

    None is longer than a dialogue may be, its docstring aside.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = text.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (made := _function(node, lines)):
            yield made


def _function(node: ast.FunctionDef, lines: list[str]) -> Function | None:
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2:
        return None
    first, last = node.body[0], node.end_lineno or node.lineno
    source = textwrap.dedent("".join(lines[node.lineno - 1 : last]))
    body = "".join([*lines[node.lineno - 1 : first.lineno - 1], *lines[first.end_lineno : last]])
    signature = f"{node.name}({ast.unparse(node.args)})"
    made = Function(node.name, signature, docstring, source, textwrap.dedent(body))
    fits = len(made.bare) <= MAX_CODE and docstring.isascii()
    return made if fits and len(made.summary) >= _MIN_SUMMARY else None


def turn_about(function: Function, rng: random.Random) -> Turn:
    """Return one of the requests that a documented function answers."""
    task = rng.choice(("document", "explain", "write"))
    asked = rng.choice(_REQUESTS[task]).format(
        name=function.name, signature=function.signature, summary=function.summary
    )
    if task == "write":
        return Turn(task, asked, fenced(function.source))
    answer = function.summary if task == "explain" else f'"""{function.docstring}"""'
    return Turn(task, f"{asked}\n{fenced(function.bare)}", answer)


def pairs_with_tests(
    sources: Iterable[Document], tests: Iterable[Document], rng: random.Random
) -> Iterator[Turn]:
    """Yield turns for each test of a project whose name says which function it tests."""
    by_name: dict[str, list[Function]] = {}
    for document in sources:
        for function in functions(document.text):
            by_name.setdefault(function.name, []).append(function)
    for document in tests:
        for name, source in _test_functions(document.text):
            found = by_name.get(name, [])
            if len(found) == 1 and f"{name}(" in source.split("\n", 1)[-1]:
                yield from turns_for_test(found[0], source, rng)


def examples_as_test(function: Function) -> str | None:
    """Return the test that a docstring's own examples make; None where they make none.

    What an example prints must be a literal, and what it names must be the function, Python's own,
    or bound by the examples before.
    """
    try:
        examples = doctest.DocTestParser().get_examples(function.docstring)
    except ValueError:
        return None
    lines, asserts = list[str](), 0
    for example in examples:
        source, want = example.source.strip(), example.want.strip()
        if "\n" in source or asserts == _MOST_ASSERTS:
            continue
        if not want:
            lines.append(source)
        elif f"{function.name}(" in source and _is_value(source, want):
            lines.append(f"assert {source} == {want}")
            asserts += 1
    while lines and not lines[-1].startswith("assert"):
        lines.pop()
    body = "\n".join(f"    {line}" for line in lines)
    test = f"def test_{function.name.lower().strip('_')}():\n{body}\n"
    if not asserts or len(test) > MAX_ANSWER or not _stands_alone(test, function.name):
        return None
    return test


def turns_for_test(function: Function, test: str, rng: random.Random) -> list[Turn]:
    """Return dialogues that ask for a test, each in other words: tests are few."""
    words = rng.sample(_REQUESTS["test"], _WORDINGS)
    asked = [one.format(name=function.name) for one in words]
    code = fenced(function.bare)
    return [Turn("test", f"{one}\n{code}", fenced(test)) for one in asked]


_WORDINGS = 3
_MOST_ASSERTS = 4


def _is_value(source: str, want: str) -> bool:
    """Whether what an example shows is its value as a literal, rather than what it prints."""
    try:
        ast.literal_eval(want)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return "\n" not in want and "#" not in want and not source.startswith("print(")


def _stands_alone(test: str, name: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(test)))
    except (SyntaxError, ValueError, RecursionError):
        return False
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {name}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return {node.id for node in names} <= bound


def _test_functions(text: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = text.splitlines(keepends=True)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            source = "".join(lines[node.lineno - 1 : node.end_lineno])
            if len(source) <= MAX_ANSWER:
                yield node.name.removeprefix("test_"), source


def fenced(code: str) -> str:
    """Return code as markdown marks it."""
    return f"```python\n{code.rstrip()}\n```"


def chatml(turn: Turn, system: str = "") -> list[Token | str]:
    """Return a dialogue as StarChat renders it for training (bigcode-project/starcoder, chat)."""
    made: list[Token | str] = []
    said = (("system", system), ("user", turn.request), ("assistant", turn.answer))
    for role, text in said:
        made += [Token(f"<|{role}|>"), f"\n{text}", Token("<|end|>"), "\n"]
    return made


def doctest_cells(docstring: str) -> list[Cell]:
    """Return a docstring's examples as the cells of a notebook; empty where it has none."""
    try:
        parts = doctest.DocTestParser().parse(docstring)
    except ValueError:
        return []
    cells: list[Cell] = []
    for part in parts:
        if isinstance(part, doctest.Example):
            cells.append(Cell("code", part.source.rstrip()))
            if part.want.strip():
                cells.append(Cell("output", part.want.rstrip()))
        elif part.strip():
            cells.append(Cell("text", part.strip()))
    return cells if any(cell.kind == "code" for cell in cells) else []
