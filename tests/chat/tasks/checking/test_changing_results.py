"""Values that depend on the time, the time zone or the machine, in compiled languages and Node."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chat.asker import Asker
from chat.tasks.checking.checking import CheckSettings
from chat.tasks.target import Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError
from engine.scripted import ScriptedEngine
from tests.chat.tasks.checking.python_projects import NEEDS_SANDBOX, allow, root
from tests.conftest import OPTIONAL

__all__ = ["root"]
pytestmark = NEEDS_SANDBOX

_PACKAGE = {"package.json": '{"type": "module", "scripts": {"test": "node --test"}}'}
_GO_MODULE = {"go.mod": "module example.com/m\n\ngo 1.21\n"}


async def _expected(root: Path, language: str, name: str, code: str, cursor: str) -> str:
    """Return the texts of the edits that propose tests; raises RequestError if there are none."""
    for each, text in {name: code, **(_GO_MODULE if language == "go" else _PACKAGE)}.items():
        (root / each).write_text(text)
    source, start = root / name, code.index(cursor) + len(cursor)
    target = Target(source.as_uri(), source, language, code, start, start)
    files = WorkspaceFiles(root, boundary=root)
    engine = ScriptedEngine(lambda _: "no tests")
    proposal = await write_tests(target, Asker(engine), files, check=CheckSettings(allow))
    return "".join(edit.text for edit in proposal.edits)


def _require(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{OPTIONAL}{program} is not installed")


@pytest.mark.parametrize(
    ("result", "unexpected"),
    [
        ("new Date().getFullYear() - n", "20"),
        ("Math.floor(Date.now() / 1e8) + n", "1"),
        ("new Date(n).getHours() + 1", "of 3"),
        ("`${process.cwd()}${n}`", "proj"),
        ("`${process.env.HOME}${n}`", "private"),
        ("process.pid + n", "of 3"),
    ],
)
async def test_what_node_sees_of_the_machine_is_not_expected(
    root: Path, result: str, unexpected: str
) -> None:
    _require("node")
    code = f"export function value(n) {{\n  return {result};\n}}\n"
    try:
        expected = await _expected(root, "javascript", "mod.js", code, "function ")
    except RequestError:
        return
    assert unexpected not in expected


async def test_a_date_that_is_an_argument_is_expected(root: Path) -> None:
    _require("node")
    code = "export function value(n) {\n  return new Date(n).toISOString();\n}\n"
    expected = await _expected(root, "javascript", "mod.js", code, "function ")
    assert '"1970-01-01T00:00:00.003Z"' in expected


@pytest.mark.parametrize(
    ("package", "result"),
    [
        ("time", "time.Now().Year() - n"),
        ("time", "time.Unix(int64(n), 0).Hour()"),
        ("os", 'len(os.Getenv("HOME") + os.TempDir()) * 0 + os.Getpid() + n'),
    ],
)
async def test_what_go_sees_of_the_machine_is_not_expected(
    root: Path, package: str, result: str
) -> None:
    _require("go")
    code = f'package m\n\nimport "{package}"\n\nfunc Value(n int) int {{\n\treturn {result}\n}}\n'
    with pytest.raises(RequestError):
        await _expected(root, "go", "mod.go", code, "func ")


async def test_the_order_of_a_map_is_not_expected(root: Path) -> None:
    _require("go")
    values = ", ".join(f'"{letter}": n' for letter in "abcdefgh")
    code = "package m\n\nfunc First(n int) string {\n"
    code += f"\tfor key := range map[string]int{{{values}}} {{\n\t\treturn key\n\t}}\n"
    code += '\treturn ""\n}\n'
    with pytest.raises(RequestError):
        await _expected(root, "go", "mod.go", code, "func ")
