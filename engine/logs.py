"""The log of a process: what happened and where, never the user's text.

Document text, prompts, names of files and values of settings may be part of any exception's
message, and libraries log whole messages and requests. So the formatter prints only what cannot
contain them:

- of an exception, the types in its chain and the locations in their tracebacks;
- of a library's record, the template without its arguments, or only the location if there is no
  template;
- of this project's records, the message. An exception among its arguments is printed as its type.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_OWN_PACKAGES = ("engine", "lsp_server", "fim", "chat", "syntax", "training", "workspace")
_MAX_FRAMES = 30
"""Number of locations that are printed of one traceback, from its end."""
_MAX_EXCEPTIONS = 20
"""Number of exceptions that are printed of one chain."""

log = logging.getLogger(__name__)


class PrivateFormatter(logging.Formatter):
    """Formats records without text of the user; see the module's docstring."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        values = vars(record) | {
            "message": _message(record),
            "asctime": self.formatTime(record),
        }
        lines = [_FORMAT % values]
        if record.exc_info and record.exc_info[1] is not None:
            lines += describe_exception(record.exc_info[1])
        return "\n".join(lines)


def set_up_logging(handler: logging.Handler, level: int = logging.INFO) -> None:
    """Write the log of this process to a handler, with all unexpected exceptions and warnings."""
    handler.setFormatter(PrivateFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Otherwise a record that cannot be formatted is printed with its arguments.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    sys.unraisablehook = lambda args: _log_unexpected(args.exc_value)
    threading.excepthook = lambda args: _log_unexpected(args.exc_value)


def describe_exception(error: BaseException) -> list[str]:
    """Return the types of an exception and its causes, each after the locations of its traceback.

    As in Python's own tracebacks, the exception itself comes last.
    """
    lines: list[str] = []
    for each in reversed(list(islice(_chain(error), _MAX_EXCEPTIONS))):
        frames = traceback.extract_tb(each.__traceback__)[-_MAX_FRAMES:]
        lines += [f"  {_location(frame.filename, frame.lineno, frame.name)}" for frame in frames]
        lines.append(_describe_type(each))
    return lines


def _describe_type(error: BaseException) -> str:
    """Return the type of an exception, with a reason that cannot contain text of the user."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, ImportError):
        return f"{name}: {error.name}"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f"{name}: {os.strerror(error.errno)}"
    return name


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an exception, the parts of a group, and what caused it."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        waiting += [] if cause is None else [cause]


def _message(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in _OWN_PACKAGES:
        return _own_message(record)
    location = _location(record.pathname, record.lineno, record.funcName)
    # Without arguments, the text may be an f-string with any value.
    return f"{record.msg!s} ({location})" if record.args else f"({location})"


def _own_message(record: logging.LogRecord) -> str:
    template = _without_message(record.msg)
    if not isinstance(record.args, tuple):  # a dictionary, for a template with names
        return record.getMessage()
    return (
        str(template) % tuple(map(_without_message, record.args)) if record.args else str(template)
    )


def _without_message(value: Any) -> Any:
    return _describe_type(value) if isinstance(value, BaseException) else value


def _location(file: str, line: int | None, function: str | None) -> str:
    """Return a location in code, without the folder in which the code is installed."""
    return f"{'/'.join(Path(file).parts[-3:])}:{line} in {function}"


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("unexpected end", exc_info=(kind, error, trace))


def _log_unexpected(error: BaseException | None) -> None:
    if error is not None:
        log.error("an exception was not handled", exc_info=error)
