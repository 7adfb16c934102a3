"""Logging to stderr or to a file, never to stdout, and never the text of documents."""

from __future__ import annotations

import logging
import logging.handlers
import sys

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MAX_BYTES = 2_000_000
"""Size at which a log file is rotated."""

_VERBOSE_LOGGERS = (
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
"""Loggers that write whole messages at info or debug level; messages contain user code."""


def set_up_logging(log_file: str | None) -> None:
    """Write the log to a rotated file, or to stderr if `log_file` is None."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if log_file is not None:
        handler = logging.handlers.RotatingFileHandler(
            log_file, maxBytes=_MAX_BYTES, backupCount=1, encoding="utf-8"
        )
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def set_log_level(level: str) -> None:
    """Set the level of the root logger, such as `debug`."""
    logging.getLogger().setLevel(level.upper())
