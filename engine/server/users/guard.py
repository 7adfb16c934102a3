"""Who sends a request: the keys of users, the shared token, and the middleware that checks them."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import ConfigurationError
from engine.server.access import header_value
from engine.server.operation.local_probes import LocalProbes
from engine.server.operation.request_record import record_of
from engine.server.refusal import Refusal
from engine.server.users.accounts import Account, Accounts, Limits
from engine.server.users.key_file import (
    SHARED_USER,
    KeyEntry,
    hash_of,
    parse_key_file,
    read_key_file,
)

log = logging.getLogger(__name__)

_CHECK_EVERY_S = 1.0


class KeyRing:
    """The keys of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigurationError if it cannot be used."""
        self._path = path
        self._content = read_key_file(path)
        self._entries: Sequence[KeyEntry] = parse_key_file(self._content, path)
        self._problem: str | None = None

    async def watch(self) -> None:
        """Look for changes of the file, until this task is cancelled."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the file again. If it cannot be used, the keys stay as they are."""
        try:
            content = read_key_file(self._path)
            if content != self._content:
                self._entries = parse_key_file(content, self._path)
                self._content = content
                log.info("the key file has changed: it has %d users now", len(self._entries))
        except ConfigurationError as error:
            if self._problem != error.user_message:
                log.error("the keys stay as they were. %s", error.user_message)
            self._problem = error.user_message
        else:
            self._problem = None

    def find(self, key: bytes) -> KeyEntry | None:
        """Return the user who has this key, in a time that does not depend on the keys."""
        digest = hash_of(key)
        matches = [entry for entry in self._entries if hmac.compare_digest(entry.sha256, digest)]
        return matches[0] if matches else None


class Users:
    """The users of a server, and how they are recognized."""

    def __init__(self, token: str | None, keys: KeyRing | None, defaults: Limits) -> None:
        """Without a token and keys all clients are one user, whose name is empty.

        The same user has the token; its name is `SHARED_USER` if there are keys too. `defaults` are
        the limits of users who have no other ones.
        """
        self._token, self._keys = None if token is None else token.encode(), keys
        self._shared_name = "" if keys is None else SHARED_USER
        self.accounts = Accounts(defaults)

    @property
    def need_key(self) -> bool:
        """Whether clients must send a key or the token."""
        return self._token is not None or self._keys is not None

    def identify(self, credentials: bytes | None) -> Account | None:
        """Return the user with this header `Authorization`; None for an unknown one."""
        if not self.need_key:
            return self._shared()
        scheme, _, value = (credentials or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        key = value.strip(b" ")
        if self._token is not None and hmac.compare_digest(key, self._token):
            return self._shared()
        entry = None if self._keys is None else self._keys.find(key)
        return None if entry is None else self.accounts.account(entry.name, entry.limits.limits)

    def _shared(self) -> Account:
        return self.accounts.account(self._shared_name, Limits())


class UserGuard:
    """Finds the user of each request, and refuses requests of unknown ones (RFC 6750)."""

    def __init__(self, app: ASGIApp, users: Users, probes: LocalProbes) -> None:
        """`probes` are the requests that need no key."""
        self._app, self._users, self._probes = app, users, probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        account = self._users.identify(header_value(scope, b"authorization"))
        if account is None and self._probes.include(scope):
            await self._app(scope, receive, send)
            return
        if account is None:
            await _unknown_user().response()(scope, receive, send)
            return
        record_of(scope).account = account
        await self._app(scope, _limited(scope, receive, account.limits.body_bytes), send)


def _unknown_user() -> Refusal:
    return Refusal(
        401,
        "This engine requires its token or your key: send it as a bearer token, or set it as "
        "starcoder.engineToken.",
        kind="authentication_error",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
        closes=True,
    )


def _limited(scope: Scope, receive: Receive, max_bytes: int | None) -> Receive:
    """Return a function like `receive` that raises Refusal for a body of more bytes."""
    if not max_bytes:
        return receive
    num_bytes = 0
    size = header_value(scope, b"content-length") or b""
    announced = int(size) if size.isdigit() else 0

    async def receive_within_limit() -> Message:
        nonlocal num_bytes
        if announced <= max_bytes:
            message = await receive()
            num_bytes += len(message.get("body", b""))
        if max(announced, num_bytes) > max_bytes:
            raise Refusal(
                413,
                f"The body is larger than {max_bytes:,} bytes, which is your limit. Send less "
                "text, or fewer prompts.",
                code="body_too_large",
                closes=True,
            )
        return message

    return receive_within_limit
