"""Settings that the server asks the client for, besides those that the client sends by itself."""

from __future__ import annotations

import logging
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from lsp_server.settings import SECTION

log = logging.getLogger(__name__)


def can_pull_settings(server: LanguageServer) -> bool:
    """Whether the client answers `workspace/configuration`."""
    workspace = server.client_capabilities.workspace
    return bool(workspace and workspace.configuration)


async def pull_settings(server: LanguageServer) -> Any:
    """Return the client's settings, None if it has none or fails."""
    params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
    try:
        answer = await server.workspace_configuration_async(params)
    except JsonRpcException as error:
        log.warning("the client did not return its settings: error %d", error.code)
        return None
    return answer[0] if answer else None


async def watch_settings(server: LanguageServer) -> None:
    """Have the client notify the server when settings change, if the client supports this."""
    workspace = server.client_capabilities.workspace
    dynamic = workspace and workspace.did_change_configuration
    if not (dynamic and dynamic.dynamic_registration):
        return
    registration = types.Registration(
        id="starcoder-settings",
        method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
        register_options={"section": SECTION},
    )
    try:
        await server.client_register_capability_async(types.RegistrationParams([registration]))
    except JsonRpcException as error:
        log.warning("the client will not report changed settings: error %d", error.code)
