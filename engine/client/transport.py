"""How an HTTP client reaches an engine: by TCP, or by a Unix socket."""

from __future__ import annotations

import ssl

import httpx2

from engine.client.endpoint import Endpoint
from engine.errors import ConfigurationError


def transport_to(endpoint: Endpoint) -> httpx2.AsyncHTTPTransport:
    """Return the transport for the address of an engine.

    Raises ConfigurationError if the file of certificates that the environment names is unusable.
    """
    if endpoint.uds is None:
        # Reading certificates takes 20 ms, and plain HTTP needs none.
        try:
            return httpx2.AsyncHTTPTransport(verify=not endpoint.url.startswith("http://"))
        except (OSError, ssl.SSLError):
            raise ConfigurationError(
                "The certificates that the environment variable SSL_CERT_FILE or SSL_CERT_DIR "
                "names cannot be read. Set it to a PEM file, or to nothing."
            ) from None
    # A new connection costs 0.1 ms here. A kept one could belong to an engine that has ended.
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncHTTPTransport(uds=str(endpoint.uds), verify=False, limits=limits)
