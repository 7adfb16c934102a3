"""Recorded requests as HTTP bodies, built before the measurement.

Only the few tokens that make the prompts of two users different are inserted during it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from benchmarks.load.recording import RecordedRequest, Recording
from engine.api import GenerationRequest
from engine.client.servers import ours
from engine.client.servers.vllm import VllmServer

_MARK = 2**62 + 1
"""Number in the place of the tokens that differ between users; no other field contains it."""


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body with a gap for the tokens of one user."""

    before: bytes
    after: bytes
    """Empty if there is no gap."""

    def with_salt(self, salt: tuple[int, ...]) -> bytes:
        """Return the body with these token ids in its gap."""
        if not self.after:
            return self.before
        return self.before + ", ".join(map(str, salt)).encode() + self.after


def body_of(
    recorded: RecordedRequest, recording: Recording, model: str, *, is_ours: bool, salt_size: int
) -> Body:
    """Return the body that our client would send.

    A server that is not ours gets a forced prefix as the end of the prompt, which costs it least.
    """
    request = recorded.request
    if not is_ours and request.forced_prefix:
        forced = recording.forced[request.forced_prefix]
        request = replace(
            request,
            prompt=(*request.prompt, *forced),
            max_new_tokens=max(1, request.max_new_tokens - len(forced)),
            forced_prefix="",
        )
    return salted(request, recorded.salt_at, model, is_ours=is_ours, salt_size=salt_size)


def salted(
    request: GenerationRequest, salt_at: int | None, model: str, *, is_ours: bool, salt_size: int
) -> Body:
    """Return the body of a request, with a gap at a place of its prompt.

    A server that is not ours gets the fields of vLLM.
    """
    body = (ours.request_body if is_ours else VllmServer().body)(request, model)
    if salt_at is None:
        return Body(json.dumps(body).encode(), b"")
    prompt = list(request.prompt)
    prompt[salt_at : salt_at + salt_size] = [_MARK]
    before, _, after = json.dumps({**body, "prompt": prompt}).partition(str(_MARK))
    return Body(before.encode(), after.encode())
