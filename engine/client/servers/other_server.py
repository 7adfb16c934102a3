"""A server that is not ours, with what the client has learnt about it from its answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from engine.client.servers.base import DEFAULT_WINDOW, Server

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class OtherServer:
    """A server that is not ours, and what it does not do or report."""

    server: Server
    address: str
    """Address of the server, for messages."""
    is_window_assumed: bool = False
    """Whether neither the server nor the settings say how large the context window is."""
    ignores_restrictions: bool = field(default=False, init=False)
    """Whether the server refuses or ignores a list of the tokens from which it must choose."""
    is_without_scores: bool = field(default=False, init=False)
    """Whether the server reports no log-probabilities."""
    is_chat_without_ids: bool = field(default=False, init=False)
    """Whether the server reports no token ids of chat answers."""

    @property
    def note(self) -> str:
        """What the server does not report and what follows, for the user; empty if nothing."""
        window = (
            f"The server does not report its context window, so {DEFAULT_WINDOW:,} tokens are "
            "assumed. Set starcoder.contextWindow to the real number."
        )
        scores = (
            "The server reports no log-probabilities, so suggestions of which the model is unsure "
            "are shown too, and an explicit request shows one suggestion."
        )
        ids = (
            "The server reports no token ids, so a chat answer also ends where the model only "
            "quotes a token that ends answers, such as <|end|>."
        )
        notes = (
            (self.is_window_assumed, window),
            (self.is_without_scores, scores),
            (self.is_chat_without_ids, ids),
        )
        return " ".join(text for holds, text in notes if holds)

    def report_missing_scores(self) -> None:
        """Log, the first time, that the server reports no log-probabilities."""
        if not self.is_without_scores:
            self.is_without_scores = True
            _log.warning(
                "%s (%s) reports no log-probabilities. So an explicit request shows no "
                "alternatives, and no suggestion is hidden because the model is unsure of it.",
                self.address,
                self.server.name,
            )
