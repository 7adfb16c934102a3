"""Requests of this machine's own monitoring, which need no key: `/health` and `/metrics`.

A reverse proxy on the same machine connects from loopback too, for clients anywhere. It is
recognized by what it writes into a request: a header of its own, or HTTP/1.0, which is nginx's
default towards a server (documentation of `proxy_http_version`).
"""

from __future__ import annotations

from starlette.types import Scope

from engine.server.access import LocalOrigin, is_loopback

_PATHS = ("/health", "/metrics")
_METHODS = ("GET", "HEAD")
_PROXY_PREFIXES = (b"x-forwarded", b"x-envoy-", b"cf-", b"x-amzn-", b"x-original-", b"x-proxy")
_PROXY_HEADERS = frozenset(
    {
        b"forwarded",  # RFC 7239
        b"via",  # RFC 9110, section 7.6.3
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        b"x-request-id",
        b"x-scheme",
        b"x-host",
    }
)
"""Headers that clients do not send and reverse proxies add."""


class LocalProbes:
    """Recognizes requests for `/health` and `/metrics` by programs of this machine."""

    def __init__(self, host: str | None) -> None:
        """`host` is the TCP address to listen on, None for a Unix socket."""
        self._host = host
        self._origin = LocalOrigin("localhost")

    def include(self, scope: Scope) -> bool:
        """Return whether a request needs no key."""
        return (
            scope["path"] in _PATHS
            and scope["method"] in _METHODS
            and self._host is not None
            and _is_from_loopback(scope)
            and not _is_forwarded(scope)
            # A web page in a browser of this machine has no key either.
            and self._origin.problem(scope) is None
        )


def _is_from_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and is_loopback(client[0])


def _is_forwarded(scope: Scope) -> bool:
    names = [name for name, _ in scope["headers"]]
    return scope.get("http_version") == "1.0" or any(
        name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIXES) for name in names
    )
