"""The diagnostics of open documents, as the client sends them.

A language server does not see the diagnostics of other servers, so LSP has no method for this. Our
own is `starcoder/diagnostics`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fim.snapshot import Problem
from lsp_server.session.uris import canonical

_MAX_PROBLEMS = 1_000
"""Maximum number of diagnostics that are kept of a document."""
_MAX_CHARACTERS = 1_000
"""Maximum characters that are kept of a message."""


class Diagnostics:
    """Keeps the diagnostics of each document."""

    def __init__(self) -> None:
        self._problems: dict[str, tuple[Problem, ...]] = {}
        """The diagnostics of documents that have some, by URI."""

    def set(self, uri: str, problems: Sequence[Problem]) -> None:
        """Replace the diagnostics of a document."""
        self.forget(uri)
        if problems:
            self._problems[canonical(uri)] = tuple(
                Problem(each.line, each.message[:_MAX_CHARACTERS])
                for each in problems[:_MAX_PROBLEMS]
            )

    def of(self, uri: str) -> tuple[Problem, ...]:
        """Return the diagnostics of a document."""
        return self._problems.get(canonical(uri), ())

    def forget(self, uri: str) -> None:
        """Forget the diagnostics of a document, for example because it was closed."""
        self._problems.pop(canonical(uri), None)
