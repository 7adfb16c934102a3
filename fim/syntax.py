"""Where code goes wrong, by tree-sitter: for the languages whose grammars come as packages.

Only lines near the cursor are parsed, so that the cost does not grow with the file. What the window
cuts off looks broken at its borders, before and after alike: it is the difference that tells.
"""

from __future__ import annotations

import importlib
from functools import cache

import tree_sitter

from fim.snapshot import Snapshot

_GRAMMARS = {
    "c": "c", "cpp": "cpp", "csharp": "c_sharp", "css": "css", "go": "go", "html": "html",
    "java": "java", "javascript": "javascript", "javascriptreact": "javascript", "json": "json",
    "jsonc": "json", "kotlin": "kotlin", "lua": "lua", "php": "php", "python": "python",
    "ruby": "ruby", "rust": "rust", "scala": "scala", "shellscript": "bash", "sh": "bash",
    "bash": "bash", "sql": "sql", "swift": "swift", "toml": "toml", "typescript": "typescript",
    "typescriptreact": "typescript", "yaml": "yaml", "py": "python", "js": "javascript",
    "ts": "typescript", "tsx": "typescript", "rs": "rust",
}  # fmt: skip
"""Grammars by the language ids of LSP, and by the file endings that the command line has."""

_FUNCTIONS = {"php": "language_php", "typescript": "language_typescript"}
_TSX = frozenset({"typescriptreact", "tsx"})

WINDOW_LINES = 150
"""Lines parsed on either side of the cursor."""


@cache
def parser(language: str) -> tree_sitter.Parser | None:
    """Return the parser of a language, None where there is no grammar for it."""
    name = _GRAMMARS.get(language)
    if name is None:
        return None
    module = importlib.import_module(f"tree_sitter_{name}")
    function = "language_tsx" if language in _TSX else _FUNCTIONS.get(name, "language")
    return tree_sitter.Parser(tree_sitter.Language(getattr(module, function)()))


def errors(text: str, language: str) -> int | None:
    """Return how many places of a text do not parse; None where nobody can tell."""
    found = parser(language)
    if found is None:
        return None
    root = found.parse(text.encode("utf-8", "surrogatepass")).root_node
    return _errors_in(root) if root.has_error else 0


def _errors_in(node: tree_sitter.Node) -> int:
    count, waiting = 0, [node]
    while waiting:
        one = waiting.pop()
        if one.is_error or one.is_missing:
            count += 1
        if one.has_error:
            waiting += one.children
    return count


def mend(text: str, replaced: int, snapshot: Snapshot) -> str:
    """Return the longest beginning of a suggestion that breaks nothing; empty if every one does.

    `replaced` characters right of the cursor give way to the suggestion. Where what is around it
    parsed, it must parse with it. Where it did not, as in a line half typed, only a bracket too
    many is cut off, if that mends something.
    """
    language = snapshot.language_id
    if parser(language) is None:
        return text
    above, below = _window(snapshot, replaced)
    excess = closes_more_than_it_opens(text)
    before = errors(above + snapshot.after[:replaced] + below, language) or 0
    if before and not excess:
        return text
    whole = errors(above + text + below, language) or 0
    if whole == 0:
        return text
    limit = whole - 1 if before else 0
    fitting = (
        end for end in _ends(text) if (errors(above + text[:end] + below, language) or 0) <= limit
    )
    return text[: next(fitting, len(text) if before else 0)]


def closes_more_than_it_opens(text: str) -> bool:
    """Whether a closing bracket of a text has no opening one in it."""
    depth = 0
    for character in text:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return True
    return False


def _window(snapshot: Snapshot, replaced: int) -> tuple[str, str]:
    text, start, end = snapshot.text, snapshot.cursor, snapshot.cursor + replaced
    for _ in range(WINDOW_LINES):
        start = text.rfind("\n", 0, max(start, 0))
    for _ in range(WINDOW_LINES):
        found = text.find("\n", end)
        if found < 0:
            end = len(text)
            break
        end = found + 1
    return text[start + 1 : snapshot.cursor], text[snapshot.cursor + replaced : end]


_MOST_ENDS = 24


def _ends(text: str) -> list[int]:
    """Return where a suggestion may be cut: after a line, or in its last one after a word."""
    last = text.rfind("\n") + 1
    line = text[last:]
    words = [
        last + at
        for at in range(len(line) - 1, 0, -1)
        if not (line[at - 1].isalnum() and line[at].isalnum()) and not line[at - 1].isspace()
    ]
    lines = [at for at in range(len(text) - 1, 0, -1) if text[at] == "\n"]
    return [*words[:_MOST_ENDS], *lines][: 2 * _MOST_ENDS]
