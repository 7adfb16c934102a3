"""An engine reached over HTTP: ours, or another server with OpenAI's API and vLLM extensions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
from httpx2 import EventSource

from engine.api import Chunk, EngineInfo, EngineState, GenerationRequest, Health
from engine.client.endpoint import Endpoint
from engine.client.failures import raise_for_status, read_error
from engine.client.transport import transport_to
from engine.client.unreachable import reason_of_connection
from engine.client.watchdog import Watchdog
from engine.client.wire import (
    is_our_model,
    read_chunk,
    read_info,
    request_body,
    with_usage,
)
from engine.errors import (
    ConfigurationError,
    EngineBusyError,
    EngineLostError,
    EngineReplacedError,
    EngineSilentError,
    EngineUnavailableError,
    ModelNotFoundError,
)
from engine.loading.model_tokenizer import read_tokenizer
from engine.tokenizer import Tokenizer

_CONNECT_SECONDS = 5.0
_HEALTH_SECONDS = 5.0
_NOT_FOUND = 404


class HttpEngine:
    """Implements `engine.api.Engine` over HTTP.

    `tokenizer_path` is the tokenizer for a server that does not serve its own (vLLM, TGI,
    llama.cpp): a `tokenizer.json`, the directory that contains it, or a GGUF file. `chat_model` is
    the name of the model to request, which the setting chatModel names; None is the server's first
    model.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tokenizer_path: Path | None = None,
        chat_model: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._chat_model = chat_model
        self._tokenizer_path = tokenizer_path
        self._tokenizers: dict[str | None, Tokenizer] = {}
        self._info: EngineInfo | None = None
        self._is_ours = True
        """Whether the server is this project's. Others know only OpenAI's and vLLM's fields."""
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        self._http = httpx2.AsyncClient(
            base_url=endpoint.url.rstrip("/").removesuffix("/v1"),
            headers=headers,
            transport=transport_to(endpoint),
            # Loading may take minutes; the caller decides how long to wait.
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        )

    async def health(self) -> Health:
        """See `Engine.health`. A server without our `/health` is ready when it answers."""
        try:
            return await self.probe()
        except EngineUnavailableError as error:
            return Health(EngineState.FAILED, error.user_message)

    async def probe(self) -> Health:
        """Return the engine's health.

        Raises EngineSilentError if something listens but does not answer, and
        EngineUnavailableError if nothing listens.
        """
        try:
            response = await self._http.get("/health", timeout=_HEALTH_SECONDS)
            if response.status_code != _NOT_FOUND:  # some servers have no such URL
                self._raise_for_status(response)
            body = response.json() if response.is_success and response.content else {}
        except (ConfigurationError, EngineBusyError) as error:
            return Health(EngineState.FAILED, error.user_message)
        except httpx2.ReadTimeout as error:
            raise self._silent() from error
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        except ValueError:
            body = {}
        if not isinstance(body, dict) or body.get("state") not in set(EngineState):
            return Health(EngineState.READY)
        return Health(
            EngineState(body["state"]),
            body.get("detail", ""),
            body.get("progress"),
            body.get("pid"),
        )

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        if self._info is None:
            body = await self._get_json("/v1/models")
            try:
                entry = self._entry(body["data"])
                self._info = read_info(entry)
                self._is_ours = is_our_model(entry)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise EngineUnavailableError(
                    f"{self._server} does not list a model as OpenAI's API does. Check "
                    "starcoder.engineUrl."
                ) from error
        return self._info

    def _entry(self, entries: list[Any]) -> Any:
        """Return the entry of the model to request. Raises ModelNotFoundError."""
        if self._chat_model is None:
            return entries[0]
        # Our server lists adapters too. They are not models: a request names them in `adapter`.
        models = [entry for entry in entries if is_our_model(entry)] or entries
        for entry in models:
            if entry["id"] == self._chat_model:
                return entry
        names = ", ".join(str(entry["id"]) for entry in models)
        raise ModelNotFoundError(
            f"The engine at {self.endpoint.url} does not have the model {self._chat_model}. Set "
            f"starcoder.chatModel to one that it has ({names}), or leave it empty."
        )

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`. Raises ConfigurationError if the server does not serve one."""
        if adapter not in self._tokenizers:
            self._tokenizers[adapter] = await self._load_tokenizer(adapter)
        return self._tokenizers[adapter]

    async def _load_tokenizer(self, adapter: str | None) -> Tokenizer:
        if self._tokenizer_path is not None:
            return await asyncio.to_thread(read_tokenizer, self._tokenizer_path)
        params = {} if adapter is None else {"adapter": adapter}
        async with self._translate_errors():
            with Watchdog(self._check_alive):
                response = await self._http.get("/tokenizer.json", params=params)
        # Our engine also answers 404 if it does not find the model; its message says what to do.
        if response.status_code == 404 and ModelNotFoundError.kind not in response.text:
            setting = "tokenizer" if self._chat_model is None else "chatTokenizer"
            raise ConfigurationError(
                f"The server at {self.endpoint.url} does not serve its tokenizer. Set "
                f"starcoder.{setting} to the directory that contains the model's tokenizer.json, "
                "or to its GGUF file."
            )
        self._raise_for_status(response)
        return await asyncio.to_thread(Tokenizer.from_json, response.text, self.endpoint.url)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`. Closing it closes the connection, which stops the decoding."""
        model = (await self.info()).model
        request, text_before = await self._adapt(request)
        body = request_body(request, model, is_ours=self._is_ours)
        last: Chunk | None = None
        async with aclosing(self._events(body)) as events:
            async for payload in events:
                self._check_model(payload, model)
                for choice in payload.get("choices") or ():
                    chunk = self._read_chunk(choice, text_before)
                    text_before = ""
                    if chunk.finish is None:
                        yield chunk
                    else:
                        last = chunk  # its usage comes in a later event
                if last is not None and payload.get("usage"):
                    last = with_usage(last, payload["usage"])
        if last is None:
            raise EngineLostError("The engine's output ended in the middle. Try again.")
        yield last

    async def _events(self, body: dict[str, object]) -> AsyncGenerator[Any, None]:
        """Send a completion request, and yield the JSON of each event."""
        async with self._translate_errors(), AsyncExitStack() as stack:
            with Watchdog(self._check_alive):
                response = await stack.enter_async_context(
                    self._http.stream("POST", "/v1/completions", json=body)
                )
            if response.status_code >= 400:
                await response.aread()
                self._raise_for_status(response)
            events = aiter(EventSource(response))
            while True:
                with Watchdog(self._check_alive):
                    event = await anext(events, None)
                if event is None or event.data == "[DONE]":
                    return
                payload = _parse(event.data)
                if not isinstance(payload, dict):
                    raise self._not_openai()
                if "error" in payload:
                    raise read_error(payload, response.status_code, self._server)
                yield payload

    async def _check_alive(self) -> None:
        """Raise EngineSilentError if the engine accepts a connection but does not answer."""
        path = "/health" if self._is_ours else "/v1/models"
        try:
            await self._http.get(path, timeout=_HEALTH_SECONDS)
        except httpx2.ReadTimeout as error:
            raise self._silent() from error
        except httpx2.HTTPError:
            return  # the request that waits gets a better error itself

    def _check_model(self, payload: Any, model: str) -> None:
        """Raise EngineReplacedError if another engine of ours answers than the one that was asked
        for its tokenizer."""
        answering = payload.get("model", model)
        if self._is_ours and answering != model:
            self._info = None
            self._tokenizers.clear()
            raise EngineReplacedError(
                f"The engine now has the model {answering}. Ask again to use it."
            )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _adapt(self, request: GenerationRequest) -> tuple[GenerationRequest, str]:
        """Return a request that the server understands, and text to put before its output.

        A server that is not ours gets the forced prefix as the end of the prompt.
        """
        if self._is_ours or not request.forced_prefix:
            return request, ""
        prefix_ids = (await self.tokenizer(request.adapter)).encode(request.forced_prefix)
        adapted = replace(
            request,
            prompt=(*request.prompt, *prefix_ids),
            max_new_tokens=max(1, request.max_new_tokens - len(prefix_ids)),
            forced_prefix="",
        )
        return adapted, request.forced_prefix

    async def _get_json(self, path: str) -> Any:
        async with self._translate_errors():
            with Watchdog(self._check_alive):
                response = await self._http.get(path)
        self._raise_for_status(response)
        return _parse(response.text)

    @asynccontextmanager
    async def _translate_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise self._unreachable(error) from error
        except httpx2.HTTPError as error:
            raise EngineLostError(
                f"The connection to {self._server} was lost during a request. Ask again."
            ) from error

    @property
    def _server(self) -> str:
        """The address, for messages."""
        return str(self.endpoint.uds or self.endpoint.url)

    def _raise_for_status(self, response: httpx2.Response) -> None:
        raise_for_status(response.status_code, response.content, self._server)

    def _read_chunk(self, choice: Any, text_before: str) -> Chunk:
        try:
            return read_chunk(choice, text_before)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._not_openai() from error

    def _not_openai(self) -> EngineUnavailableError:
        return EngineUnavailableError(
            f"{self._server} does not answer as OpenAI's API does. Check starcoder.engineUrl."
        )

    def _unreachable(self, error: Exception) -> EngineUnavailableError:
        reason = reason_of_connection(error)
        advice = "" if self.endpoint.uds else " Check starcoder.engineUrl, and that it is running."
        return EngineUnavailableError(f"No engine answers at {self._server}: {reason}.{advice}")

    def _silent(self) -> EngineSilentError:
        return EngineSilentError(
            f"The engine at {self._server} runs but does not answer. If it stays like this, end "
            "its process (`starcoder-lsp engines` lists those of this machine); the next request "
            "then starts it again."
        )


def _parse(text: str) -> Any:
    """Return parsed JSON, None if the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
