"""The connection to a server: requests, streamed events, and errors for the user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
from httpx2 import EventSource

from engine.client.endpoint import Endpoint
from engine.client.failures import not_openai, raise_for_status, read_error
from engine.client.transport import transport_to
from engine.client.unreachable import reason_of_connection, silent_server, unreachable_server
from engine.client.watchdog import Watchdog
from engine.errors import EngineLostError, EngineSilentError, EngineUnavailableError

_CONNECT_SECONDS = 5.0
_HEALTH_SECONDS = 5.0


class Connection:
    """Sends requests to one server. Every method raises the exceptions of `engine.errors`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.alive_path = "/health"
        """A path that the server answers without computing."""
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        self.client = httpx2.AsyncClient(
            base_url=endpoint.url.rstrip("/").removesuffix("/v1"),
            headers=headers,
            transport=transport_to(endpoint),
            # Loading may take minutes; the caller decides how long to wait.
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        )

    @property
    def address(self) -> str:
        """The address of the server, for messages."""
        return str(self.endpoint.uds or self.endpoint.url)

    async def get_soon(self, path: str) -> httpx2.Response:
        """Return the response to a request that a server answers without computing.

        Raises EngineSilentError if something listens but does not answer, and
        EngineUnavailableError if nothing listens.
        """
        try:
            return await self.client.get(path, timeout=_HEALTH_SECONDS)
        except httpx2.ReadTimeout as error:
            raise self._silent() from error
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> httpx2.Response:
        """Return the response, however long it takes; its status is not checked."""
        async with self._translate_errors():
            with Watchdog(self._check_alive):
                return await self.client.get(path, params=params)

    async def get_object(self, path: str) -> dict[str, Any]:
        """Return the JSON object at a path that few servers have, empty if there is none."""
        try:
            response = await self.client.get(path, timeout=_HEALTH_SECONDS)
        except httpx2.HTTPError:
            return {}
        body = parse_json(response.text) if response.is_success else None
        return body if isinstance(body, dict) else {}

    async def events(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        limit_s: float | None = None,
        check: Callable[[Mapping[str, str]], None] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Post a completion request, and yield the JSON object of each event.

        None stands for the event `[DONE]`, after which there is none. A server that does not stream
        answers with one object. Closing the generator closes the connection. Raises
        EngineSilentError if nothing comes for `limit_s` seconds; None lets the server compute as
        long as it answers other requests. `check` gets the headers of a response that is no error.
        """
        async with self._translate_errors(), AsyncExitStack() as stack:
            async with self._waiting(limit_s):
                response = await stack.enter_async_context(self._post(path, body))
            if response.status_code >= 300:
                await response.aread()
                self.raise_for_status(response)
            if check is not None:
                check(response.headers)
            if not _is_event_stream(response):
                text = (await response.aread()).decode("utf-8", "replace")
                yield self._read_event(text, response.status_code)
                return
            events = aiter(EventSource(response))
            while True:
                async with self._waiting(limit_s):
                    event = await anext(events, None)
                if event is None:
                    return
                if event.data == "[DONE]":
                    yield None
                    return
                yield self._read_event(event.data, response.status_code)

    @asynccontextmanager
    async def _post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx2.Response]:
        """Send a request; send it once more if the server ended the kept connection meanwhile.

        llama.cpp's server ends a connection after 100 requests or 5 idle seconds.
        """
        request = self.client.build_request("POST", path, json=body)
        try:
            response = await self.client.send(request, stream=True)
        except httpx2.RemoteProtocolError:
            response = await self.client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    def raise_for_status(self, response: httpx2.Response) -> None:
        """Raise the error that a response stands for if it is an error or a redirect."""
        raise_for_status(response.status_code, response.content, self.address, response.headers)

    def not_openai(self) -> EngineUnavailableError:
        """Return the error for an answer that cannot be read."""
        return not_openai(self.address)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    def _read_event(self, text: str, status: int) -> dict[str, Any]:
        payload = parse_json(text)
        if not isinstance(payload, dict):
            raise self.not_openai()
        if payload.get("error"):
            raise read_error(payload, status, self.address)
        return payload

    async def _check_alive(self) -> None:
        """Raise EngineSilentError if the engine accepts a connection but does not answer."""
        try:
            await self.client.get(self.alive_path, timeout=_HEALTH_SECONDS)
        except httpx2.ReadTimeout as error:
            raise self._silent() from error
        except httpx2.HTTPError:
            return  # the request that waits gets a better error itself

    @asynccontextmanager
    async def _waiting(self, limit_s: float | None) -> AsyncIterator[None]:
        """Wait in the block for the server, and end the wait if it does not answer."""
        try:
            with Watchdog(self._check_alive):
                async with asyncio.timeout(limit_s):
                    yield
        except TimeoutError:
            raise silent_server(self.address) from None

    @asynccontextmanager
    async def _translate_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise self._unreachable(error) from error
        except httpx2.HTTPError as error:
            raise EngineLostError(
                f"The connection to {self.address} was lost during a request. Ask again."
            ) from error

    def _unreachable(self, error: Exception) -> EngineUnavailableError:
        if self.endpoint.uds is None:
            return unreachable_server(self.address, error)
        return EngineUnavailableError(
            f"No engine answers at {self.address}: {reason_of_connection(error)}."
        )

    def _silent(self) -> EngineSilentError:
        if self.endpoint.uds is None:
            return silent_server(self.address)
        return EngineSilentError(
            f"The engine at {self.address} runs but does not answer. If it stays like this, end "
            "its process (`starcoder-lsp engines` lists those of this machine); the next request "
            "then starts it again."
        )


def parse_json(text: str) -> Any:
    """Return parsed JSON, None if the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_event_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")
