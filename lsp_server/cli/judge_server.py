"""The server of the model that judges answers: any server with OpenAI's API."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx2

from chat.judging import AskJudge
from engine.errors import ConfigurationError, EngineUnavailableError

_TIMEOUT_S = 120.0
"""Seconds that one answer of the judge may take."""
_CHECK_TIMEOUT_S = 10.0
"""Seconds in which the server must answer before the models start."""
_MAX_REASON = 200
"""Characters of a server's message that are shown."""


def check_url(url: str) -> str:
    """Return a URL without `/v1` at its end; raises ConfigurationError if it is not one."""
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ConfigurationError(
            f"--judge-url {url} is not a URL. Give one such as http://localhost:8000/v1."
        )
    return url.rstrip("/").removesuffix("/v1")


@dataclass(frozen=True, slots=True)
class Judge:
    """A model on a server."""

    url: str
    """URL of the server, without `/v1`."""
    model: str
    token: str | None = field(default=None, repr=False)

    def client(self) -> httpx2.AsyncClient:
        """Return a client of the server."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=_TIMEOUT_S)

    async def check(self) -> None:
        """Raise EngineUnavailableError if the server does not answer or refuses the token.

        Call this before the answers are generated, which can take hours.
        """
        async with self.client() as http:
            try:
                response = await http.get("/v1/models", timeout=_CHECK_TIMEOUT_S)
            except httpx2.HTTPError as error:
                raise self._silent(error) from None
        if response.status_code in (401, 403):
            raise self._refusal(response)

    def asking(self, http: httpx2.AsyncClient) -> AskJudge:
        """Return a function that asks the judge; it raises EngineUnavailableError."""

        async def ask(text: str) -> str:
            body = {
                "model": self.model,
                "temperature": 0,
                "max_tokens": 512,
                "messages": [{"role": "user", "content": text}],
            }
            try:
                response = await http.post("/v1/chat/completions", json=body)
                if response.status_code >= 400:
                    raise self._refusal(response)
                return str(response.json()["choices"][0]["message"]["content"])
            except httpx2.HTTPError as error:
                raise self._silent(error) from None
            except (ValueError, KeyError, IndexError, TypeError):
                raise EngineUnavailableError(
                    f"The judge at {self.url} does not answer in the format of OpenAI's API."
                ) from None

        return ask

    def _silent(self, error: httpx2.HTTPError) -> EngineUnavailableError:
        is_late = isinstance(error, httpx2.TimeoutException)
        reason = "did not answer in time" if is_late else "cannot be reached"
        return EngineUnavailableError(f"The judge at {self.url} {reason}. Check --judge-url.")

    def _refusal(self, response: httpx2.Response) -> EngineUnavailableError:
        advice = ""
        if response.status_code in (401, 403):
            advice = " Set STARCODER_LSP_JUDGE_TOKEN or --judge-token-file."
        reason = _message(response)
        return EngineUnavailableError(
            f"The judge at {self.url} refused the request (HTTP {response.status_code})"
            f"{f': {reason}' if reason else '.'}{advice}"
        )


def _message(response: httpx2.Response) -> str:
    """Return the message of an error in OpenAI's or a similar format, or empty."""
    try:
        body = response.json()
        detail = body.get("error", body)
        message = detail if isinstance(detail, str) else detail.get("message")
    except (ValueError, AttributeError):
        return ""
    return message[:_MAX_REASON] if isinstance(message, str) else ""
