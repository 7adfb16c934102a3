"""Tests that pass only now, or only on this machine, are not proposed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import RequestError
from tests.chat.tasks.checking.python_projects import (
    NEEDS_SANDBOX,
    environment,
    our_python,
    root,
    write,
    written,
)

__all__ = ["environment", "our_python", "root"]
pytestmark = [NEEDS_SANDBOX, pytest.mark.usefixtures("our_python")]

_EXPRESSIONS = {
    "the year": "datetime.date.today().year + n",
    "the day of the week": "datetime.datetime.now().weekday() + n",
    "the UTC time": "datetime.datetime.utcnow().year + n",
    "the time in a zone": "datetime.datetime.now(datetime.timezone.utc).year + n",
    "the seconds": "int(time.time()) // 100_000 + n",
    "the nanoseconds": "time.time_ns() // 10**14 + n",
    "the parts of the time": "time.gmtime().tm_year + n",
    "the text of the time": "time.strftime('%Y') + str(n)",
    "the time zone": "datetime.datetime.fromtimestamp(n).isoformat()",
    "the offset": "time.localtime(n).tm_hour + n",
    "the folder": "os.getcwd() + str(n)",
    "the home": "os.path.expanduser('~') + str(n)",
    "the environment": "os.environ.get('LANG', '') + str(n)",
    "the user": "os.getuid() + n",
    "the process": "os.getpid() + n",
    "the machine": "platform.node() + str(n)",
    "the processors": "os.cpu_count() + n",
    "the arguments": "len(sys.argv) + n",
    "the seed": "hash(str(n)) % 1000",
    "the order of a set": "list({'a', 'b', 'c', 'd', 'e', str(n)})",
    "the width": "shutil.get_terminal_size().columns + n",
    "programs": "shutil.which('git') is None or n > 100",
}
_IMPORTS = "import datetime, os, platform, shutil, sys, time\n\n\n"


@pytest.mark.parametrize("expression", _EXPRESSIONS.values(), ids=_EXPRESSIONS.keys())
async def test_a_result_that_others_do_not_get_is_not_expected(root: Path, expression: str) -> None:
    code = f"{_IMPORTS}def value(n: int) -> object:\n    return {expression}\n"
    with pytest.raises(RequestError):
        await write(root, code, "no tests")


async def test_the_reason_is_named(root: Path) -> None:
    code = f"{_IMPORTS}def value(n: int) -> int:\n    return datetime.date.today().year + n\n"
    with pytest.raises(RequestError, match="depends on the date"):
        await write(root, code, "no tests")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("start = time.time()\n    return n + int(time.time() - start)", "value(3) == 3"),
        ("return isinstance(datetime.datetime.now(), datetime.date) and n > 2", "value(3) is True"),
        ("return type(datetime.datetime.now()) is datetime.datetime", "value(3) is True"),
        ("return time.strftime('%Y', time.gmtime(n))", 'value(3) == "1970"'),
        ("return sorted({'a', 'b', str(n)})", 'value(3) == ["3", "a", "b"]'),
        ("return datetime.datetime.now(datetime.timezone.utc).tzname()", 'value(3) == "UTC"'),
        ("return os.path.isfile(__file__) and n > 2", "value(3) is True"),
    ],
)
async def test_a_result_that_everybody_gets_is_expected(
    root: Path, body: str, expected: str
) -> None:
    code = f"{_IMPORTS}def value(n: int) -> object:\n    {body}\n"
    proposal = await write(root, code, "no tests")
    assert expected in written(proposal, root)


async def test_a_function_that_pytest_would_collect_is_refused(root: Path) -> None:
    code = "def testing_rate(n: int) -> int:\n    return n + 1\n"
    with pytest.raises(RequestError, match="takes testing_rate for a test"):
        await write(root, code, "no tests")


async def test_a_test_that_executes_nothing_of_the_function_is_left_out(root: Path) -> None:
    code = "async def save(client) -> object:\n    await client.send_now()\n    return object()\n"
    test = "def test_save():\n    made = save(3)\n    made.close()\n    assert True\n"
    try:
        proposal = await write(root, code, f"from mod import save\n\n\n{test}")
    except RequestError:
        return
    assert "assert True" not in written(proposal, root)


async def test_a_python_in_which_nothing_can_be_changed_runs_the_tests(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def change(root):\n    raise AttributeError(root)\n")
    monkeypatch.setattr("chat.tasks.checking.python.runner._ELSEWHERE", broken)
    code = "def twice(n: int) -> int:\n    return n * 2\n"
    proposal = await write(root, code, "():\n    assert twice(2) == 4\n```")
    assert "assert twice(2) == 4" in written(proposal, root)
