"""An engine reached over HTTP: ours, or a server of another project with OpenAI's API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from engine.api import Chunk, EngineInfo, EngineState, GenerationRequest, Health, Priority
from engine.client.connection import Connection, parse_json
from engine.client.endpoint import Endpoint
from engine.client.remote_health import ask_server
from engine.client.remote_model import RemoteModel, select_entry, with_local_facts
from engine.client.servers import ours
from engine.client.servers.healing import stream_output
from engine.client.servers.identify import describe, identify
from engine.client.servers.other_server import OtherServer
from engine.errors import (
    ConfigurationError,
    EngineLostError,
    EngineReplacedError,
    EngineUnavailableError,
    ModelNotFoundError,
    StarcoderError,
)
from engine.loading.model_tokenizer import read_tokenizer
from engine.tokenizer import Tokenizer

_STALL_S = 20.0
"""Seconds without output after which a request for a suggestion has failed, on a server that is not
ours. It may still list its models, for example a proxy whose engine hangs."""
_CHAT_STALL_S = 120.0
"""The same for a chat, whose prompt may be long."""


class HttpEngine:
    """Implements `engine.api.Engine` over HTTP.

    It trusts that the server stays the same. `engine.client.remote` and `engine.client.managed`
    notice that it does not.
    """

    def __init__(self, endpoint: Endpoint, choice: RemoteModel | None = None) -> None:
        self.endpoint = endpoint
        self.connection = Connection(endpoint)
        self._choice = choice or RemoteModel()
        self._tokenizers: dict[str | None, Tokenizer] = {}
        self._info: EngineInfo | None = None
        self._other: OtherServer | None = None
        """The server, if it is not this project's."""

    @property
    def server_name(self) -> str:
        """The kind of the server, as people call it; known after `info`."""
        return "starcoder-lsp serve" if self._other is None else self._other.server.name

    @property
    def note(self) -> str:
        """What the server does not report, as sentences for the user; empty if nothing is known to
        be missing. It may change with each output."""
        return "" if self._other is None else self._other.note

    async def health(self) -> Health:
        """See `Engine.health`. A server without our `/health` is ready if it has the model."""
        try:
            return await self.probe()
        except EngineUnavailableError as error:
            return Health(EngineState.FAILED, error.user_message)

    async def probe(self) -> Health:
        """Return the engine's health.

        Raises EngineSilentError if something listens but does not answer, and
        EngineUnavailableError if nothing listens.
        """
        response = await self.connection.get_soon("/health")
        body = parse_json(response.text)  # ours answers 503 until it is ready
        if not isinstance(body, dict) or body.get("state") not in set(EngineState):
            return await self._health_of_other()
        return Health(
            EngineState(body["state"]),
            body.get("detail", ""),
            body.get("progress"),
            body.get("pid"),
        )

    async def _health_of_other(self) -> Health:
        try:
            answer = await ask_server(self.connection.client, self.connection.address, self._choice)
        except EngineUnavailableError:
            raise
        except StarcoderError as error:
            return Health(EngineState.FAILED, error.user_message)
        return Health(answer.state, answer.detail, answer.progress)

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        if self._info is None:
            response = await self.connection.get("/v1/models")
            self.connection.raise_for_status(response)
            try:
                entries = parse_json(response.text)["data"]
                entry = select_entry(entries, self._choice, self.connection.address)
            except (LookupError, TypeError, AttributeError) as error:
                raise self.connection.not_openai() from error
            self._info = await self.adopt(entry)
        return self._info

    def forget(self) -> None:
        """Forget what is known about the model: the server may have another."""
        self._info = None
        self._tokenizers.clear()

    async def adopt(self, entry: Mapping[str, Any]) -> EngineInfo:
        """Return the description of the model that the server lists as `entry`, and use it.

        Of another project's server, nothing is read again until `forget`.
        """
        if self._info is None or self._other is None:
            try:
                self._info = await self._describe(entry)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise self.connection.not_openai() from error
        return self._info

    async def _describe(self, entry: Mapping[str, Any]) -> EngineInfo:
        """Return the description of a listed model, and remember the kind of its server."""
        if ours.is_our_model(entry):
            self._other = None
            return ours.read_info(entry)
        server, window = await identify(entry, self.connection.get_object)
        is_assumed = window is None and self._choice.context_window is None
        self._other = OtherServer(server, self.connection.address, is_assumed)
        self.connection.alive_path = "/v1/models"
        info = describe(entry, window, self._choice.context_window)
        return await with_local_facts(info, self._choice)

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`. Raises ConfigurationError if the server does not serve one."""
        if adapter not in self._tokenizers:
            self._tokenizers[adapter] = await self._load_tokenizer(adapter)
        return self._tokenizers[adapter]

    async def _load_tokenizer(self, adapter: str | None) -> Tokenizer:
        if self._choice.tokenizer is not None:
            return await asyncio.to_thread(read_tokenizer, self._choice.tokenizer)
        params = {} if adapter is None else {"adapter": adapter}
        response = await self.connection.get("/tokenizer.json", params)
        # Our engine also answers 404 if it does not find the model; its message says what to do.
        if response.status_code == 404 and ModelNotFoundError.kind not in response.text:
            raise ConfigurationError(
                f"The server at {self.endpoint.url} does not serve its tokenizer. Set "
                f"starcoder.{self._choice.tokenizer_setting} to the directory that contains the "
                "model's tokenizer.json, or to its GGUF file."
            )
        self.connection.raise_for_status(response)
        return await asyncio.to_thread(Tokenizer.from_json, response.text, self.endpoint.url)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`. Closing it closes the connection, which stops the decoding."""
        model = (await self.info()).model
        if self._other is None:
            chunks = self._our_chunks(request, model)
        else:
            tokenizer = await self.tokenizer(request.adapter)
            limit_s = _CHAT_STALL_S if request.priority is Priority.CHAT else _STALL_S
            events = partial(self.connection.events, limit_s=limit_s)
            chunks = stream_output(self._other, request, model, tokenizer, events)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def _our_chunks(
        self, request: GenerationRequest, model: str
    ) -> AsyncGenerator[Chunk, None]:
        last: Chunk | None = None
        body = ours.request_body(request, model)
        events = self.connection.events(ours.PATH, body, check=self._check_fingerprint)
        async with aclosing(events):
            async for payload in events:
                if payload is None:
                    break
                self._check_model(payload, model)
                chunk = _read_chunk(payload, self.connection)
                if chunk.finish is not None:
                    last = chunk  # its usage comes in a later event
                elif last is None:
                    yield chunk
                elif chunk.usage is not None:
                    last = replace(last, usage=chunk.usage)
        if last is None:
            raise EngineLostError("The engine's output ended in the middle. Try again.")
        yield last

    def _check_model(self, payload: Any, model: str) -> None:
        """Raise EngineReplacedError if another engine of ours answers than the one that was asked
        for its tokenizer."""
        answering = payload.get("model", model)
        if answering != model:
            raise self._replaced(f"The engine now has the model {answering}. Ask again to use it.")

    def _check_fingerprint(self, headers: Mapping[str, str]) -> None:
        """Raise EngineReplacedError if the model was loaded again and reads prompts differently."""
        answering = headers.get(ours.FINGERPRINT_HEADER)
        if self._info is None or not self._info.fingerprint or answering is None:
            return
        if answering != self._info.fingerprint:
            raise self._replaced(f"The model {self._info.model} has changed. Ask again to use it.")

    def _replaced(self, message: str) -> EngineReplacedError:
        """Forget what is known of the model, and return the error to raise."""
        self.forget()
        return EngineReplacedError(message)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.connection.aclose()


def _read_chunk(payload: Any, connection: Connection) -> Chunk:
    try:
        return ours.read_chunk(payload)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise connection.not_openai() from error
