"""Parsers by language: for those languages whose grammars come as packages."""

from __future__ import annotations

import importlib
from functools import cache

import tree_sitter

_GRAMMARS = {
    "c": "c",
    "cpp": "cpp",
    "csharp": "c_sharp",
    "css": "css",
    "go": "go",
    "html": "html",
    "java": "java",
    "javascript": "javascript",
    "javascriptreact": "javascript",
    "json": "json",
    "jsonc": "json",
    "kotlin": "kotlin",
    "lua": "lua",
    "php": "php",
    "python": "python",
    "ruby": "ruby",
    "rust": "rust",
    "scala": "scala",
    "shellscript": "bash",
    "sh": "bash",
    "bash": "bash",
    "sql": "sql",
    "swift": "swift",
    "toml": "toml",
    "typescript": "typescript",
    "typescriptreact": "typescript",
    "yaml": "yaml",
    "py": "python",
    "js": "javascript",
    "ts": "typescript",
    "tsx": "typescript",
    "rs": "rust",
}
"""Grammars by the language ids of LSP, and by the file endings that the command line has."""

_FUNCTIONS = {"php": "language_php", "typescript": "language_typescript"}
_TSX = frozenset({"typescriptreact", "tsx"})


def grammar_name(language: str) -> str | None:
    """Return the name of a language's grammar, None where there is none."""
    return _GRAMMARS.get(language)


@cache
def parser(language: str) -> tree_sitter.Parser | None:
    """Return the parser of a language, None where there is no grammar for it."""
    name = _GRAMMARS.get(language)
    if name is None:
        return None
    module = importlib.import_module(f"tree_sitter_{name}")
    function = "language_tsx" if language in _TSX else _FUNCTIONS.get(name, "language")
    return tree_sitter.Parser(tree_sitter.Language(getattr(module, function)()))


def parse(text: str, language: str) -> tree_sitter.Node | None:
    """Return the root of a text's tree; offsets in it count UTF-8 bytes. None without a grammar."""
    found = parser(language)
    if found is None:
        return None
    return found.parse(text.encode("utf-8", "surrogatepass")).root_node


def count_errors(text: str, language: str) -> int | None:
    """Return how many places of a text do not parse; None where nobody can tell."""
    root = parse(text, language)
    if root is None:
        return None
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
