"""Logging: to stderr or a file, never to stdout, and never the text of documents."""

from __future__ import annotations

import logging
import logging.handlers
import sys

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LONGEST_BYTES = 2_000_000

_TALKATIVE = (
    "pygls.protocol",
    "pygls.protocol.json_rpc",
    "pygls.protocol.language_server",
    "pygls.workspace",
    "pygls.server",
    "pygls.client",
    "pygls.feature_manager",
    "httpx2",
    "httpcore2",
)
"""They log whole messages at info or debug, and messages hold the user's code."""


def set_up_logging(log_file: str | None) -> None:
    """Send the log to a file, kept short by rotation, or to stderr."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if log_file is not None:
        handler = logging.handlers.RotatingFileHandler(
            log_file, maxBytes=_LONGEST_BYTES, backupCount=1, encoding="utf-8"
        )
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
