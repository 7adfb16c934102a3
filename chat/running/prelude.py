"""Script: runs the Python code of an answer, and writes its figures to stdout.

Usage: `python -u -B -c TEXT_OF_THIS_FILE`. stdin is a JSON object: `code`, `mark`, and the limits
`figures` and `figure_bytes`. A figure is written as the mark, its size in 8 hexadecimal digits and
the PNG; `chat.running.output` reads them. For Python 3.8 and newer, with the standard library only,
because it runs with the interpreter of a project.
"""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import linecache
import os
import sys
import traceback
import types
from importlib.machinery import ModuleSpec
from typing import Any

_NAME = "<answer>"
"""The name of the code in tracebacks."""
_PYPLOT = "matplotlib.pyplot"


class Figures:
    """Writes the figures of pyplot to stdout."""

    def __init__(self, mark: str, max_figures: int, max_bytes: int) -> None:
        self._mark = mark.encode()
        self._max_figures, self._max_bytes = max_figures, max_bytes
        self._num_left_out = 0

    def save_all(self) -> None:
        """Write all open figures and close them, as `show` does when its windows are closed."""
        pyplot: Any = sys.modules.get(_PYPLOT)
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            self._save(pyplot.figure(number))
        pyplot.close("all")

    def _save(self, figure: Any) -> None:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", bbox_inches="tight")
        data = picture.getvalue()
        if self._max_figures == 0 or len(data) > self._max_bytes:
            self._num_left_out += 1
            return
        self._max_figures -= 1
        _write(self._mark + b"%08x" % len(data) + data)

    def report(self) -> None:
        """Say how many figures were left out."""
        if self._num_left_out:
            sys.stderr.write(f"[{self._num_left_out} more or larger figures are not shown.]\n")


class PyplotFinder:
    """Replaces `pyplot.show`, as soon as the program imports pyplot."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return pyplot's own spec with a loader that also replaces `show`; see `sys.meta_path`."""
        if name != _PYPLOT:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_replace(module: Any) -> None:
                execute(module)
                module.show = show

            def show(*_: object, **__: object) -> None:
                # It must be a function: pyplot writes an attribute of it.
                self._figures.save_all()

            spec.loader.exec_module = execute_and_replace  # type: ignore[method-assign]
        return spec


def main() -> None:
    """Run the code as the main module, and exit with its status."""
    start = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    figures = Figures(start["mark"], start["figures"], start["figure_bytes"])
    sys.meta_path.insert(0, PyplotFinder(figures))
    code, sys.argv = start["code"], [_NAME]
    linecache.cache[_NAME] = (len(code), None, code.splitlines(True), _NAME)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    status = 0
    try:
        exec(compile(code, _NAME, "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        status = 1
        _report(error)
    finally:
        figures.save_all()
        figures.report()
    sys.exit(status)


def _report(error: BaseException) -> None:
    """Print an exception without the frames of this file, and what the sandbox does to the code."""
    outer = error.__traceback__
    traceback.print_exception(type(error), error, outer.tb_next if outer else None)
    if isinstance(error, ModuleNotFoundError):
        sys.stderr.write(f"[This is {sys.executable}. Install the package there.]\n")
    elif isinstance(error, OSError) and error.errno == errno.EROFS:
        sys.stderr.write(f"[Code can write only in {os.environ['TMPDIR']}.]\n")


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
