"""The languages whose code blocks can be run, and the commands that run them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from chat.running.output import MAX_FIGURE_BYTES, MAX_FIGURES
from engine.errors import RequestError
from sandbox.command import PRIVATE_FOLDER, Command
from sandbox.interpreters import Interpreter, node_of_path, python_of
from syntax.grammars import parse

_PRELUDE = Path(__file__).with_name("prelude.py")
_NODE_HEAP_MEGABYTES = 1536
_MODULE_ONLY = frozenset({"import_statement", "export_statement", "await_expression"})
_FUNCTIONS = frozenset(
    {
        "function_declaration",
        "function_expression",
        "arrow_function",
        "method_definition",
        "generator_function",
        "generator_function_declaration",
    }
)

Runner = Callable[[str, str, Path | None], tuple[Interpreter, Command]]
"""Returns how to run code, from the code, the mark of figures and the working folder."""


def runner_of(language: str) -> Runner | None:
    """Return what runs the code of a language, by its name in a code fence."""
    return _RUNNERS.get(language)


def run_python(code: str, mark: str, folder: Path | None) -> tuple[Interpreter, Command]:
    """Return how to run Python code with the interpreter of a project."""
    python = python_of(folder)
    start = {
        "code": code,
        "mark": mark,
        "figures": MAX_FIGURES,
        "figure_bytes": MAX_FIGURE_BYTES,
    }
    environment = {"MPLBACKEND": "Agg", "MPLCONFIGDIR": f"{PRIVATE_FOLDER}/.matplotlib"}
    arguments = ("-u", "-B", "-c", _PRELUDE.read_text(encoding="utf-8"))
    return python, _command(python, arguments, json.dumps(start), environment, folder)


def run_javascript(code: str, _: str, folder: Path | None) -> tuple[Interpreter, Command]:
    """Return how to run JavaScript. Raises RequestError if Node is not installed."""
    node = node_of_path()
    if node is None:
        raise RequestError("Node is not installed: there is no program `node` in PATH.")
    kind = "module" if is_module(code) else "commonjs"
    arguments = (f"--max-old-space-size={_NODE_HEAP_MEGABYTES}", f"--input-type={kind}", "-")
    return node, _command(node, arguments, code, {"NO_COLOR": "1"}, folder)


def is_module(code: str) -> bool:
    """Return whether JavaScript is an ES module: it imports, exports, or awaits at its top."""
    root = parse(code, "javascript")
    pending = [] if root is None else [root]
    while pending:
        node = pending.pop()
        if node.type in _MODULE_ONLY:
            return True
        if node.type not in _FUNCTIONS:
            pending += node.children
    return False


def _command(
    interpreter: Interpreter,
    arguments: tuple[str, ...],
    stdin: str,
    environment: dict[str, str],
    folder: Path | None,
) -> Command:
    path = f"{interpreter.path.parent}:{os.defpath}"
    return Command(
        (str(interpreter.path), *arguments),
        stdin.encode("utf-8", "replace"),
        {"PATH": path, "LANG": "C.UTF-8", **environment},
        folder,
    )


_RUNNERS: dict[str, Runner] = {
    **dict.fromkeys(("python", "python3", "py"), run_python),
    **dict.fromkeys(("javascript", "js", "node", "mjs", "cjs"), run_javascript),
}
