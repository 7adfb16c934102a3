"""The language of a document, by the id that the client sends and the suffix of its name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from syntax.grammars import grammar_name

LANGUAGES = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".jsx": "javascriptreact",
    ".ts": "typescript",
    ".tsx": "typescriptreact",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "c",
    ".cpp": "cpp",
    ".cc": "cpp",
    ".hpp": "cpp",
    ".java": "java",
    ".kt": "kotlin",
    ".rb": "ruby",
    ".php": "php",
    ".cs": "csharp",
    ".scala": "scala",
    ".swift": "swift",
    ".lua": "lua",
    ".sh": "shellscript",
    ".sql": "sql",
}
"""LSP language ids by file suffix."""

_ALIASES = {
    "bash": "shellscript",
    "c#": "csharp",
    "c++": "cpp",
    "c_sharp": "csharp",
    "cc": "cpp",
    "golang": "go",
    "js": "javascript",
    "jsx": "javascriptreact",
    "javascript (jsx)": "javascriptreact",
    "py": "python",
    "python3": "python",
    "rs": "rust",
    "sh": "shellscript",
    "shell": "shellscript",
    "ts": "typescript",
    "tsx": "typescriptreact",
    "typescript (jsx)": "typescriptreact",
}
"""LSP language ids by the names that editors send: eglot sends `c++`, Neovim `sh`."""
_MODE = re.compile(r"^source\.|(-ts)?(-mode)?$")
"""What editors add to the name of a language: Sublime Text's scopes, Emacs's modes."""


def language_id(sent: str, name: str) -> str:
    """Return the LSP language id of a document, from the id that its client sent.

    `name` is the document's file name or URI; its suffix decides if the client sent no id. An id
    that is not known is kept.
    """
    if not sent.strip():
        return LANGUAGES.get(PurePosixPath(name).suffix.lower(), "")
    plain = _MODE.sub("", sent.strip().lower())
    plain = _ALIASES.get(plain, plain)
    return plain if grammar_name(plain) else sent
