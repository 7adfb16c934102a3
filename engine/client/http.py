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
from engine.client.transport import transport_to
from engine.client.watchdog import Watchdog
from engine.client.wire import (
    error_message,
    is_our_model,
    raise_for_status,
    read_chunk,
    read_error,
    read_info,
    request_body,
    with_usage,
)
from engine.errors import (
    ConfigurationError,
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
            if response.status_code >= 400:
                message = error_message(response.content, response.status_code)
                return Health(EngineState.FAILED, message)
            body = response.json() if response.content else {}
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
            except (KeyError, IndexError, TypeError) as error:
                raise EngineUnavailableError(
                    f"{self.endpoint.url} does not list a model as OpenAI's API does."
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
        raise_for_status(response.status_code, response.content)
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
                    chunk = read_chunk(choice, text_before)
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
                raise_for_status(response.status_code, await response.aread())
            events = aiter(EventSource(response))
            while True:
                with Watchdog(self._check_alive):
                    event = await anext(events, None)
                if event is None or event.data == "[DONE]":
                    return
                payload = json.loads(event.data)
                if "error" in payload:
                    raise read_error(payload["error"], response.status_code)
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
        raise_for_status(response.status_code, response.content)
        try:
            return response.json()
        except ValueError:
            raise EngineUnavailableError(f"{self.endpoint.url}{path} is not JSON.") from None

    @asynccontextmanager
    async def _translate_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise self._unreachable(error) from error
        except httpx2.TransportError as error:
            raise EngineLostError(
                "The connection to the engine was lost during a request. The next request starts "
                "the engine again."
            ) from error

    def _unreachable(self, error: Exception) -> EngineUnavailableError:
        return EngineUnavailableError(
            f"No engine answers at {self.endpoint.uds or self.endpoint.url} "
            f"({type(error).__name__})."
        )

    def _silent(self) -> EngineSilentError:
        return EngineSilentError(
            f"The engine at {self.endpoint.uds or self.endpoint.url} runs but does not answer. "
            "If it stays like this, end its process; the next request then starts it again."
        )
