"""Examples in docstrings as tests and as notebook cells."""

from __future__ import annotations

import ast
import builtins
import doctest

from training.formats import NotebookCell
from training.functions import MAX_ANSWER, DocumentedFunction, parse_python

_MAX_ASSERTS = 4
"""Maximum asserts of a test that is made of a docstring's examples."""


def examples_as_test(function: DocumentedFunction) -> str | None:
    """Return a test made of the examples in a docstring; None if they cannot be a test.

    The output of an example must be a literal. Its names must be the function, built-in names, or
    names that earlier examples define.
    """
    try:
        examples = doctest.DocTestParser().get_examples(function.docstring)
    except ValueError:
        return None
    lines, num_asserts = list[str](), 0
    for example in examples:
        source, want = example.source.strip(), example.want.strip()
        if "\n" in source or num_asserts == _MAX_ASSERTS:
            continue
        if not want:
            lines.append(source)
        elif f"{function.name}(" in source and _is_value(source, want):
            lines.append(f"assert {source} == {want}")
            num_asserts += 1
    while lines and not lines[-1].startswith("assert"):
        lines.pop()
    body = "\n".join(f"    {line}" for line in lines)
    test = f"def test_{function.name.lower().strip('_')}():\n{body}\n"
    if not num_asserts or len(test) > MAX_ANSWER or not _is_self_contained(test, function.name):
        return None
    return test


def _is_value(source: str, want: str) -> bool:
    """Whether the shown output of an example is its value as a literal, not printed text."""
    try:
        ast.literal_eval(want)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return "\n" not in want and "#" not in want and not source.startswith("print(")


def _is_self_contained(test: str, name: str) -> bool:
    """Whether a test uses no names but the function's, built-in ones, and its own."""
    tree = parse_python(test)
    if tree is None:
        return False
    nodes = list(ast.walk(tree))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {name}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return {node.id for node in names} <= bound


def doctest_cells(docstring: str) -> list[NotebookCell]:
    """Return the examples of a docstring as notebook cells; an empty list if it has none."""
    try:
        parts = doctest.DocTestParser().parse(docstring)
    except ValueError:
        return []
    cells: list[NotebookCell] = []
    for part in parts:
        if isinstance(part, doctest.Example):
            cells.append(NotebookCell("code", part.source.rstrip()))
            if part.want.strip():
                cells.append(NotebookCell("output", part.want.rstrip()))
        elif part.strip():
            cells.append(NotebookCell("text", part.strip()))
    return cells if any(cell.kind == "code" for cell in cells) else []
