"""How an HTTP client reaches an engine: by TCP, or by a Unix socket."""

from __future__ import annotations

import httpx2

from engine.client.endpoint import Endpoint


def transport_to(endpoint: Endpoint) -> httpx2.AsyncHTTPTransport:
    """Return the transport for the address of an engine."""
    if endpoint.uds is None:
        # Reading certificates takes 20 ms, and plain HTTP needs none.
        return httpx2.AsyncHTTPTransport(verify=not endpoint.url.startswith("http://"))
    # A new connection costs 0.1 ms here. A kept one could belong to an engine that has ended.
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncHTTPTransport(uds=str(endpoint.uds), verify=False, limits=limits)
