"""The user's consent to run code that a model wrote.

The setting `runTests` decides, or the user is asked once per workspace. Everything that is no clear
yes is a no, for this time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from lsp_server.session.client_requests import NoAnswerError, ask_client
from lsp_server.session.consent_file import Answer, ConsentFile, consent_file
from lsp_server.settings import Settings

log = logging.getLogger(__name__)

RUN = "Run"
ALWAYS = "Always in this workspace"
NEVER = "Never in this workspace"

MAX_WAIT_S = 120.0
"""Seconds that a request for consent waits for the user. A later answer counts for the next one."""
_MAX_SHOWN = 300
"""Maximum characters of a text that the question quotes."""


class Consent:
    """Decides for one client whether generated code may run in the sandbox."""

    def __init__(
        self,
        server: LanguageServer,
        settings: Settings,
        *,
        file: ConsentFile | None = None,
        max_wait_s: float = MAX_WAIT_S,
    ) -> None:
        self._server = server
        self._mode = settings.run_tests
        self._file = file or ConsentFile(consent_file())
        self._max_wait_s = max_wait_s
        self._session: dict[str | None, bool] = {}
        """Answers that count until the server ends, by the real path of the folder."""
        self._questions: dict[str | None, asyncio.Task[bool]] = {}
        """Decisions in progress. Several requests for one folder share one."""

    @property
    def mode(self) -> str:
        """The value of the setting: `ask`, `always` or `never`."""
        return self._mode

    def apply_settings(self, settings: Settings) -> None:
        """Use changed settings from now on, also for a question that is open."""
        self._mode = settings.run_tests

    async def may_run(self, folder: Path | None, what: str) -> bool:
        """Return whether generated code may run in the sandbox.

        `folder` is the workspace folder, for a file in none the folder of the file, and None for
        code without a file. `what` names the code in the question: "3 generated tests of add". If
        the caller is cancelled, the question stays open, and its answer counts for the next call.
        """
        if self._mode != "ask":
            return self._mode == "always"
        place = None if folder is None else await asyncio.to_thread(_real_path, folder)
        if folder is not None and place is None:
            return False
        if place not in self._questions:
            self._questions[place] = asyncio.create_task(self._decide(place, what))
            self._questions[place].add_done_callback(lambda _: self._questions.pop(place, None))
        task = self._questions[place]
        await asyncio.wait({task}, timeout=self._max_wait_s)
        is_allowed = task.done() and not task.cancelled() and task.result()
        return is_allowed and self.mode != "never"

    async def forget(self, folders: Iterable[Path]) -> None:
        """Forget the answers for these folders, and for all folders of this session.

        Raises OSError if the file of answers cannot be written.
        """
        paths = [await asyncio.to_thread(_real_path, folder) for folder in folders]
        places = {path for path in (*paths, *self._session) if path is not None}
        self._session.clear()
        await asyncio.to_thread(self._file.forget, places)

    def close(self) -> None:
        """Stop waiting for answers; the requests that wait get a no."""
        for task in tuple(self._questions.values()):
            task.cancel()

    async def _decide(self, place: str | None, what: str) -> bool:
        """Return the answer that the user has given for a folder, or gives now."""
        stored = None if place is None else await asyncio.to_thread(self._file.answer, place)
        if stored is not None:
            return stored == "always"
        if place in self._session:
            return self._session[place]
        choice = await self._ask(place, what)
        if choice == RUN:
            self._session[place] = True
        elif place is not None and choice in (ALWAYS, NEVER):
            await self._remember(place, "always" if choice == ALWAYS else "never")
        return choice in (RUN, ALWAYS)

    async def _remember(self, place: str, answer: Answer) -> None:
        """Store an answer, for the session alone if the file cannot be written."""
        try:
            await asyncio.to_thread(self._file.remember, place, answer)
        except OSError as error:
            log.warning("the consent cannot be stored: %s", type(error).__name__)
            self._session[place] = answer == "always"

    async def _ask(self, place: str | None, what: str) -> str | None:
        """Return the title of the action that the user has chosen, None without an answer."""
        titles = (RUN,) if place is None else (RUN, ALWAYS, NEVER)
        params = types.ShowMessageRequestParams(
            types.MessageType.Info,
            _question(place, what),
            [types.MessageActionItem(title) for title in titles],
        )
        try:
            answer: Any = await ask_client(self._server, types.WINDOW_SHOW_MESSAGE_REQUEST, params)
        except NoAnswerError:
            return None
        title = getattr(answer, "title", None)
        return title if title in titles else None


def _question(place: str | None, what: str) -> str:
    """Return the question. The path comes last, so that no folder's name can change its sense."""
    question = (
        f"StarCoder: run {_quotable(what)}? A model wrote this code. It runs in a sandbox without "
        "network, which cannot change your files."
    )
    return question if place is None else f"{question} Folder: {_quotable(place)}"


def _quotable(text: str) -> str:
    """Return a text of the workspace as one line that VS Code shows without links.

    VS Code makes links that run commands of `[label](command:...)` in messages.
    """
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    shown = line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}…"
    return shown.replace("](", "]\N{WORD JOINER}(")


def _real_path(folder: Path) -> str | None:
    """Return the path without links, None if the folder cannot be reached.

    So an answer never counts for the target of a link that has replaced the folder.
    """
    try:
        return os.path.realpath(folder, strict=True)
    except OSError:
        return None
