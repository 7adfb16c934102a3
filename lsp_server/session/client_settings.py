"""Settings that the server asks the client for, besides those that the client sends by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from engine.errors import ConfigurationError
from lsp_server.session.client_requests import NoAnswerError, ask_client
from lsp_server.session.settings_section import find_section
from lsp_server.settings import SECTION

log = logging.getLogger(__name__)

MAX_WAIT_S = 2.0
"""Seconds that the server waits for settings before it goes on with those that it has."""

Section = Mapping[str, Any]


class ClientSettings:
    """Follows the settings of a client that answers requests for them, sends them, or does both.

    What the client returns counts more than what it sends, and the newest more than earlier ones.
    """

    def __init__(self, server: LanguageServer, use: Callable[[Section], None]) -> None:
        """`use` is called with each new section."""
        self._server = server
        self._use = use
        self._num_updates = 0

    async def update(self, sent: Section | None = None) -> None:
        """Use the client's settings: those that it returns, else the ones that it has sent.

        An answer that comes after `MAX_WAIT_S` is used when it comes.
        """
        self._num_updates += 1
        number = self._num_updates
        asking = asyncio.create_task(self._ask())
        try:
            await asyncio.wait({asking}, timeout=MAX_WAIT_S)
            if not asking.done():
                self._use_newest(number, sent)
                sent = None
            returned = await asking
        finally:
            asking.cancel()
        self._use_newest(number, sent if returned is None else returned)

    def _use_newest(self, number: int, section: Section | None) -> None:
        if section is not None and number == self._num_updates:
            self._use(section)

    async def _ask(self) -> Section | None:
        """Return the client's section, None if it has none or cannot be asked."""
        workspace = self._server.client_capabilities.workspace
        if not (workspace and workspace.configuration):
            return None
        params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
        try:
            answer = await ask_client(self._server, types.WORKSPACE_CONFIGURATION, params)
            if answer and answer[0] == {}:
                return {}
            return find_section(answer[0]) if answer else None
        except NoAnswerError:
            return None
        except ConfigurationError:
            log.warning("the client's answer contains no settings")
            return None

    async def watch(self) -> None:
        """Have the client notify the server when settings change, if the client supports this."""
        workspace = self._server.client_capabilities.workspace
        dynamic = workspace and workspace.did_change_configuration
        if not (dynamic and dynamic.dynamic_registration):
            return
        registration = types.Registration(
            id="starcoder-settings",
            method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
            register_options={"section": SECTION},
        )
        params = types.RegistrationParams([registration])
        try:
            await ask_client(self._server, types.CLIENT_REGISTER_CAPABILITY, params)
        except NoAnswerError:
            return
