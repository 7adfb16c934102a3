"""Progress of one piece of work, as the client shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lsprotocol import types
from pygls.lsp.server import LanguageServer


class Progress:
    """Progress that the client shows until its work is done."""

    def __init__(self, server: LanguageServer, token: str | None) -> None:
        """`token` is None if the client does not show progress."""
        self._server, self._token = server, token

    def on_cancelled(self, callback: Callable[[], object]) -> None:
        """Call a function when the user cancels the progress."""
        if self._token is not None:
            # pygls cancels this future when the user cancels the progress.
            cancelled = asyncio.wrap_future(self._server.work_done_progress.tokens[self._token])
            cancelled.add_done_callback(lambda _: callback())

    def report(self, message: str) -> None:
        """Show what is done now."""
        if self._token is not None:
            report = types.WorkDoneProgressReport(message=message)
            self._server.work_done_progress.report(self._token, report)
