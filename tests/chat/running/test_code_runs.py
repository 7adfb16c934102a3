"""Code blocks of answers, run in the real sandbox."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chat.attachments import fenced, fenced_blocks
from chat.running import code_runs
from chat.running.code_runs import LIMITS, CodeRun, CodeRuns
from chat.running.languages import is_module
from engine.errors import ConfigurationError, RequestError
from sandbox.command import Limits, Outcome
from sandbox.sandbox import isolation_problem

pytestmark = pytest.mark.skipif(
    isolation_problem() is not None, reason=f"optional: {isolation_problem()}"
)
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="optional: no node")


async def agree(_: Path | None, __: str) -> bool:
    return True


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that the user of a sandbox may read, also if the tests run as root."""
    folder = tmp_path / "project"
    folder.mkdir()
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)
    return folder


async def run(
    code: str, language: str = "python", folder: Path | None = None, limits: Limits = LIMITS
) -> CodeRun:
    (block,) = fenced_blocks(fenced(code, language))
    return await CodeRuns(agree, limits).run(block, folder)


async def test_python_runs_in_the_folder_of_the_project(project: Path) -> None:
    (project / "own.py").write_text("ANSWER = 42\n")
    code = "import own, sys\nprint(own.ANSWER, __name__)\nprint('oh', file=sys.stderr)\nsys.exit(3)"
    done = await run(code, folder=project)
    assert (done.outcome, done.status, done.output) == (Outcome.FAILED, 3, "42 __main__\noh")
    assert done.seconds > 0
    assert not (project / "__pycache__").exists()


async def test_an_exception_names_the_lines_of_the_code_only() -> None:
    done = await run("def f():\n    return 1 / 0\n\nf()")
    assert done.outcome is Outcome.FAILED
    assert "line 2, in f\n    return 1 / 0" in done.output
    assert done.output.count("File ") == 2
    assert (await run("x = (")).output.startswith('  File "<answer>", line 1')


async def test_what_the_sandbox_has_to_do_with_an_error_is_said(project: Path) -> None:
    done = await run("open('new', 'w')", folder=project)
    assert "[Code can write only in /private.]" in done.output
    assert not (project / "new").exists()
    done = await run("import a_package_that_nobody_has")
    assert f"[This is {os.sep}" in done.output


@needs_node
@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("const fs = require('fs'); console.log(fs.existsSync('own.js'))", "true"),
        ("import fs from 'node:fs';\nconsole.log(fs.existsSync('own.js'))", "true"),
        ("console.log(await Promise.resolve('later'))", "later"),
    ],
)
async def test_javascript_runs_as_the_kind_of_module_that_it_is(
    project: Path, code: str, output: str
) -> None:
    (project / "own.js").write_text("")
    done = await run(code, "js", project)
    assert (done.outcome, done.output) == (Outcome.PASSED, output)


def test_an_await_within_a_function_makes_no_module() -> None:
    assert not is_module("async function f() { await g() }\nconst h = async () => { await g() }")
    assert not is_module("const a = require('a'); import('b').then(f)")
    assert is_module("if (x) { await g() }")
    assert is_module("export const a = 1")


@pytest.mark.parametrize(
    ("code", "limits", "note"),
    [
        ("print('begun')\nwhile True: pass", replace(LIMITS, seconds=1.0), "after 1 seconds"),
        ("while True: print('a' * 10000)", replace(LIMITS, output_bytes=1 << 20), "than 1 MB"),
        (
            "x = []\nwhile True: x.append(b'1' * 5_000_000)",
            replace(LIMITS, total_memory_bytes=1 << 29),
            "than 0.5 GB",
        ),
    ],
)
async def test_a_program_without_an_end_is_stopped(code: str, limits: Limits, note: str) -> None:
    done = await run(code, limits=limits)
    assert done.outcome is not Outcome.PASSED
    assert done.output.splitlines()[-1].startswith("[Stopped")
    assert note in done.output.splitlines()[-1]
    assert ("begun" in done.output) == (done.outcome is Outcome.TIMED_OUT)


async def test_a_program_reads_nothing_of_the_user(tmp_path: Path, project: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o644)
    code = "import pathlib\nprint([each.name for each in pathlib.Path('..').iterdir()])"
    assert (await run(code, folder=project)).output == "['project']"
    code = "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)"
    assert "ConnectionRefusedError" in (await run(code)).output


async def test_a_home_folder_is_not_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "letter.txt").write_text("x")
    monkeypatch.setenv("HOME", str(project))
    assert (await run("import os\nprint(os.listdir())", folder=project)).output == "[]"


@pytest.mark.parametrize("language", ["", "bash", "rust"])
async def test_other_languages_do_not_run(language: str) -> None:
    with pytest.raises(RequestError, match="only Python and JavaScript"):
        await run("x", language)


async def test_nothing_runs_without_consent(project: Path) -> None:
    asked: list[tuple[Path | None, str]] = []

    async def refuse(folder: Path | None, what: str) -> bool:
        asked.append((folder, what))
        return False

    (block,) = fenced_blocks(fenced("print(1)", "python"))
    with pytest.raises(RequestError, match="Nothing was run"):
        await CodeRuns(refuse).run(block, project)
    assert asked == [(project, "code from the chat")]


async def test_without_isolation_nothing_runs_and_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise ConfigurationError("Programs cannot be isolated here: no Linux.")

    async def ask(*_: object) -> bool:
        raise AssertionError("the user was asked")

    monkeypatch.setattr(code_runs, "make_sandbox", fail)
    (block,) = fenced_blocks(fenced("print(1)", "python"))
    with pytest.raises(ConfigurationError, match="no Linux"):
        await CodeRuns(ask).run(block, None)


async def test_without_node_javascript_gets_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="Node is not installed"):
        await run("1", "js")


@pytest.mark.parametrize("stop", [CodeRuns.stop_all, None], ids=["all", "one"])
async def test_runs_are_stopped(stop: Callable[[CodeRuns], None] | None) -> None:
    runs = CodeRuns(agree)
    (block,) = fenced_blocks(fenced("import time\ntime.sleep(1000)", "python"))
    task = asyncio.create_task(runs.run(block, None))
    await asyncio.sleep(1)
    started = time.monotonic()
    if stop is None:
        task.cancel()
    else:
        stop(runs)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 2


async def test_a_program_that_forges_the_output_shows_no_other_picture() -> None:
    """The program knows the mark: it is in its own memory."""
    code = (
        "import os, sys\n"
        "mark = sys._getframe(1).f_locals['start']['mark']\n"
        "os.write(1, (mark + '00000006<html>after').encode())\n"
    )
    done = await run(code)
    assert (done.output, done.figures) == ("after", ())


def test_the_languages_of_fences() -> None:
    answer = (
        '```{.Python}\na\n```\n~~~ js title="x"\nb\n~~~\n```\nc\n```\n'
        "1. x\n\n   ```py\n   d\n     e\n   ```"
    )
    blocks = fenced_blocks(answer)
    assert [(each.language, each.text) for each in blocks] == [
        ("python", "a"),
        ("js", "b"),
        ("", "c"),
        ("py", "d\n  e"),
    ]
