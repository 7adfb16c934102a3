"""Tree-sitter parsers for the languages whose grammars are Python packages."""

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
"""Grammar names by LSP language id, and by the file suffixes that the command line uses."""

_GRAMMAR_FUNCTIONS = {"php": "language_php", "typescript": "language_typescript"}
"""The function that returns the language, for grammar packages without a function `language`."""
_TSX = frozenset({"typescriptreact", "tsx"})


def grammar_name(language: str) -> str | None:
    """Return the name of the grammar for a language, or None."""
    return _GRAMMARS.get(language)


@cache
def parser(language: str) -> tree_sitter.Parser | None:
    """Return the parser for a language, or None if there is no grammar."""
    name = _GRAMMARS.get(language)
    if name is None:
        return None
    module = importlib.import_module(f"tree_sitter_{name}")
    function = "language_tsx" if language in _TSX else _GRAMMAR_FUNCTIONS.get(name, "language")
    return tree_sitter.Parser(tree_sitter.Language(getattr(module, function)()))


def parse(text: str, language: str) -> tree_sitter.Node | None:
    """Return the root node of the syntax tree, or None if there is no grammar.

    Offsets in the tree count UTF-8 bytes.
    """
    language_parser = parser(language)
    if language_parser is None:
        return None
    return language_parser.parse(text.encode("utf-8", "surrogatepass")).root_node


def count_errors(text: str, language: str) -> int | None:
    """Return the number of syntax errors in a text, or None if there is no grammar."""
    root = parse(text, language)
    if root is None:
        return None
    num_errors, stack = 0, [root]
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            num_errors += 1
        if node.has_error:
            stack += node.children
    return num_errors
