"""Script: makes a process look as if it ran on another machine, on another day.

`python.program` calls its `change` before it imports anything of a project. A test that fails then
depends on the clock, the machine or the user, so it would fail for other people, or tomorrow. It
imports only the standard library. It must run on Python 3.8.
"""

from __future__ import annotations

import datetime
import gc
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

_PRIVATE = "/private"
_SHIFT_S = 1000 * 86400 + 5 * 3600 + 1234
"""Nearly three years: the year, the month, the day of the week and the hour are others."""
_USER = {"USER": "somebody", "LOGNAME": "somebody", "COLUMNS": "93", "LINES": "31"}
_FOLDERS = {"HOME": f"{_PRIVATE}/home", "TMPDIR": f"{_PRIVATE}/temporary"}

_folders: list[str] = []
"""The folder of the project."""


def change(root: str) -> None:
    """Change what this process sees of the clock and of the machine."""
    _folders.append(root)
    _shift_clock()
    _change_machine()
    time.tzset()


class _Replaced:
    """A function of the library with another result. Unlike a function, it is never a method."""

    def __init__(self, function: Callable[..., Any], changed: Callable[..., Any]) -> None:
        self._function, self._changed = function, changed

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._changed(self._function, *arguments, **keywords)


class _ForProject(_Replaced):
    """A function that has another result only for the code of the project: pytest uses it, too."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        file = sys._getframe(1).f_code.co_filename
        is_own = file.startswith(_folders[0] + os.sep) and "site-packages" not in file
        return (super().__call__ if is_own else self._function)(*arguments, **keywords)


def _later(function: Callable[..., float], *arguments: Any) -> float:
    return function(*arguments) + _SHIFT_S


def _later_ns(function: Callable[..., int], *arguments: Any) -> int:
    return function(*arguments) + _SHIFT_S * 10**9


def _of_now(function: Callable[..., Any], seconds: float | None = None) -> Any:
    return function(time.time() if seconds is None else seconds)


def _formatted(function: Callable[..., str], pattern: str, *moment: Any) -> str:
    return function(pattern, *(moment or [time.localtime()]))


def _as_text(function: Callable[..., str], *moment: Any) -> str:
    return function(*(moment or [time.localtime()]))


def _shift_clock() -> None:
    for name, changed in (
        ("time", _later),
        ("time_ns", _later_ns),
        ("localtime", _of_now),
        ("gmtime", _of_now),
        ("ctime", _of_now),
        ("strftime", _formatted),
        ("asctime", _as_text),
    ):
        setattr(time, name, _Replaced(getattr(time, name), changed))
    # `date.today` calls `time.time`; `datetime.now` does not. The class must stay the same, because
    # libraries compare it, so its functions are replaced in its dictionary.
    shift = datetime.timedelta(seconds=_SHIFT_S)
    real = datetime.datetime
    now, utcnow = real.now, real.utcnow

    def later(cls: Any, tz: Any = None) -> Any:
        moment = (now(tz) + shift) if tz is None else (now(datetime.timezone.utc) + shift)
        return _as(cls, moment if tz is None else moment.astimezone(tz))

    def utc_later(cls: Any) -> Any:
        return _as(cls, utcnow() + shift)

    def _as(cls: Any, moment: Any) -> Any:
        if cls is real:
            return moment
        return cls.combine(moment.date(), moment.timetz())

    members = gc.get_referents(real.__dict__)[0]
    members["now"], members["utcnow"] = classmethod(later), classmethod(utc_later)
    try:
        import ctypes

        ctypes.pythonapi.PyType_Modified(ctypes.py_object(real))
    except (ImportError, AttributeError):
        pass  # only what has not been looked up yet changes


def _number(function: Callable[[], Any]) -> int:
    return int(function() or 0) + 7


def _of_machine(function: Callable[[], Any]) -> Any:
    system, _, *others = function()
    return os.uname_result([system, "elsewhere", *others])


def _is_other_file(function: Callable[[Any], bool], path: Any) -> bool:
    """Whether a file exists. Outside of the project, others have what is missing here."""
    exists = function(path)
    try:
        name = os.path.realpath(os.fspath(path))
    except (TypeError, ValueError):
        return exists
    inside = any(str(name).startswith(each + os.sep) for each in (_folders[0], _PRIVATE))
    return exists if inside else not exists


def _other_program(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    return None if function(*arguments, **keywords) else "/elsewhere/program"


def _change_machine() -> None:
    os.uname = _Replaced(os.uname, _of_machine)
    socket.gethostname = _Replaced(socket.gethostname, lambda _: "elsewhere")
    changes: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
        *((os, name, _number) for name in ("getuid", "geteuid", "getgid", "getpid", "cpu_count")),
        *((os.path, name, _is_other_file) for name in ("exists", "isfile", "isdir")),
        (shutil, "which", _other_program),
    )
    for module, name, changed in changes:
        setattr(module, name, _ForProject(getattr(module, name), changed))
    for name, folder in _FOLDERS.items():
        os.makedirs(folder, exist_ok=True)
        os.environ[name] = folder
    os.environ.update(_USER)
    sys.argv[:] = ["elsewhere", "-v", "-x", "--elsewhere"]
