"""What a client and a shared engine process agree on, besides requests to the model.

`engine.server.clients` has the other side. A failure here is never an error for the user: the
request to the model that comes next reports it.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

import httpx2

from engine.client.endpoint import Endpoint
from engine.client.transport import transport_to

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
"""Seconds in which a process that is not stuck answers."""


class EngineControl:
    """Connects one client to an engine process, and asks about it or stops it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._client = uuid.uuid4().hex
        self._connection: httpx2.Response | None = None
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        self._http = httpx2.AsyncClient(
            base_url=endpoint.url,
            headers=headers,
            transport=transport_to(endpoint),
            timeout=httpx2.Timeout(ANSWER_SECONDS),
        )

    async def attend(self, idle_timeout_s: float) -> None:
        """Count as a client of the process until `aclose`, with this wish for its idle timeout."""
        request = self._http.build_request(
            "GET", f"/process/clients/{self._client}", params={"idle_timeout": idle_timeout_s}
        )
        try:
            # Its content never ends. It is not read, and so the connection stays open.
            self._connection = await self._http.send(request, stream=True)
        except httpx2.HTTPError as error:
            log.info("the engine does not count this client: %s", type(error).__name__)

    async def leave(self) -> None:
        """Stop counting as a client, because another model was chosen."""
        await self._try("DELETE", f"/process/clients/{self._client}")

    async def report(self) -> dict[str, Any] | None:
        """Return `engine.server.clients.EngineReport` as JSON; None if the process is silent."""
        response = await self._try("GET", "/process")
        try:
            report = None if response is None else response.json()
        except ValueError:
            return None
        return report if isinstance(report, dict) else None

    async def stop(self) -> bool:
        """Make the process exit; return whether it heard that."""
        response = await self._try("DELETE", "/process")
        return response is not None and response.is_success

    async def aclose(self) -> None:
        """Close the connections; the process then counts one client less."""
        if self._connection is not None:
            await self._connection.aclose()
        await self._http.aclose()

    async def _try(self, method: str, path: str) -> httpx2.Response | None:
        try:
            return await self._http.request(method, path)
        except httpx2.HTTPError:
            return None
