"""Tree-sitter parsers for the languages whose grammars are Python packages."""

from __future__ import annotations

import importlib
import time
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
"""Grammar names by LSP language id, and by the file suffixes that the command line uses."""

_GRAMMAR_FUNCTIONS = {"php": "language_php", "typescript": "language_typescript"}
"""The function that returns the language, for grammar packages without a function `language`."""
_TSX = frozenset({"typescriptreact", "tsx"})


def grammar_name(language: str) -> str | None:
    """Return the name of the grammar for a language, or None."""
    return _GRAMMARS.get(language)


MAX_SECONDS = 5.0
"""Maximum seconds for which one text is parsed. Damaged text may take much longer than code."""

_PIECE_BYTES = 8192
"""Bytes that the parser reads in one call. Other threads may run between two pieces."""


@cache
def _grammar(language: str) -> tree_sitter.Language | None:
    """Return the grammar of a language, or None."""
    name = _GRAMMARS.get(language)
    if name is None:
        return None
    module = importlib.import_module(f"tree_sitter_{name}")
    function = "language_tsx" if language in _TSX else _GRAMMAR_FUNCTIONS.get(name, "language")
    return tree_sitter.Language(getattr(module, function)())


def parser(language: str) -> tree_sitter.Parser | None:
    """Return a new parser for a language, or None if there is no grammar.

    A parser is used by one thread at a time, so none is shared.
    """
    grammar = _grammar(language)
    return None if grammar is None else tree_sitter.Parser(grammar)


def parse(text: str, language: str, max_seconds: float = MAX_SECONDS) -> tree_sitter.Node | None:
    """Return the root node of the syntax tree.

    The result is None if there is no grammar, or if the text takes longer than `max_seconds`.
    Offsets in the tree count UTF-8 bytes. Trees may be as deep as the text is long, so nothing may
    walk them by recursion (see `syntax.walk`).
    """
    language_parser = parser(language)
    if language_parser is None:
        return None
    # Scanners of string literals take a null character for the end of the text.
    source = text.encode("utf-8", "surrogatepass").replace(b"\0", b"\1")
    if len(source) <= _PIECE_BYTES:
        return language_parser.parse(source).root_node
    deadline = time.monotonic() + max_seconds

    def read(offset: int, _: object) -> bytes:
        return source[offset : offset + _PIECE_BYTES]

    def is_late(*_: object) -> bool:
        return time.monotonic() > deadline

    try:
        return language_parser.parse(read, progress_callback=is_late).root_node
    except ValueError:  # the parser's word for "stopped"
        return None


def count_errors(text: str, language: str) -> int | None:
    """Return the number of syntax errors in a text, or None if it cannot be parsed."""
    root = parse(text, language)
    return None if root is None else errors_in(root)


def errors_in(root: tree_sitter.Node) -> int:
    """Return the number of syntax errors in a tree."""
    num_errors, stack = 0, [root]
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            num_errors += 1
        if node.has_error:
            stack += node.children
    return num_errors
