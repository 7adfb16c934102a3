"""Where the server's log goes: stderr or a file, never stdout. See `engine.logs` for what it is."""

from __future__ import annotations

import logging
import logging.handlers
import sys

from engine import logs
from engine.errors import ConfigurationError

_MAX_BYTES = 2_000_000
"""Size at which a log file is rotated."""

_VERBOSE_LOGGERS = ("pygls", "httpx2", "httpcore2")
"""Loggers that write a line for every message or connection at info level."""


def set_up_logging(log_file: str | None) -> None:
    """Write the log to a rotated file, or to stderr if `log_file` is None.

    Raises ConfigurationError if the file cannot be written.
    """
    logs.set_up_logging(_handler(log_file))
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def set_log_level(level: str) -> None:
    """Set the level of the root logger, such as `debug`."""
    logging.getLogger().setLevel(level.upper())


def _handler(log_file: str | None) -> logging.Handler:
    if log_file is None:
        return logging.StreamHandler(sys.stderr)
    try:
        return logging.handlers.RotatingFileHandler(
            log_file, maxBytes=_MAX_BYTES, backupCount=1, encoding="utf-8"
        )
    except OSError as error:
        raise ConfigurationError(
            f"The log file {log_file} cannot be written: {error.strerror}. Give --log-file a file "
            "in a folder that exists and that you can write to."
        ) from None
