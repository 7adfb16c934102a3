"""The TCP socket on which an engine process listens."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import ConfigurationError
from engine.server.access import is_loopback

log = logging.getLogger(__name__)

_BACKLOG = 128
"""Number of connections that the system keeps until they are accepted."""


@contextmanager
def tcp_socket(
    host: str, port: int, needs_loopback: bool, scheme: str = "http"
) -> Iterator[socket.socket]:
    """Listen on a TCP address inside the block.

    `scheme` is that of the address in the log. Raises ConfigurationError for an address that cannot
    be used, and with `needs_loopback` for one that other machines can reach.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # The resolved address is the one that is checked and bound.
        addresses = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        address = str(addresses[0][4][0])
        if needs_loopback and not is_loopback(address):
            raise ConfigurationError(
                f"Other machines could connect to this engine on {host}. Set keys "
                "(--keys), or a token (--token-file or STARCODER_LSP_TOKEN), that clients must "
                "send."
            )
        bound = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"The engine cannot listen on {host}:{port}: {reason}. Choose another --host or --port."
        ) from None
    shown = f"[{address}]" if family == socket.AF_INET6 else address
    log.info("listening on %s://%s:%d/v1", scheme, shown, bound.getsockname()[1])
    with bound:
        yield bound
