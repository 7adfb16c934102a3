"""Tests with fakes, dates and exceptions of the project, which run in the sandbox."""

import re
from pathlib import Path

import pytest

from tests.chat.tasks.checking.python_projects import (
    NEEDS_SANDBOX,
    environment,
    our_python,
    root,
    write,
    written,
)
from tests.chat.tasks.checking.test_python_checking import runs

__all__ = ["environment", "our_python", "root"]
pytestmark = [NEEDS_SANDBOX, pytest.mark.usefixtures("our_python")]

ORDERS = """class OrderError(Exception):
    pass


class Orders:
    def __init__(self, store, limit: int):
        self._store = store
        self._limit = limit

    def add(self, name: str, count: int) -> int:
        if count > self._limit:
            raise OrderError(name)
        self._store.save(name, count=count)
        return count * 2
"""
DUE = """from datetime import date, timedelta


def due(start: date) -> int:
    end = start + timedelta(days=10)
    if end.month != start.month:
        return -1
    return end.day
"""
NOTIFY = """def notify(users: list[str], mailer, limit: int = 2):
    for user in users[:limit]:
        mailer.send(user, subject="Hi", urgent=limit > 5)
"""


async def test_calls_of_an_injected_object_are_asserted(root: Path) -> None:
    proposal = await write(root, NOTIFY, "nothing of use", cursor="def notify")
    text = written(proposal, root)
    assert "from unittest.mock import Mock, call\n" in text
    assert "    mailer = Mock()\n" in text
    assert re.search(r"assert mailer\.mock_calls == \[\s*call\.send\(\"b\", subject=\"Hi\"", text)
    assert proposal.checked is not None
    assert proposal.checked.num_detected >= proposal.checked.num_mutations / 2
    assert runs(root)


async def test_an_object_with_an_injected_one_and_an_own_exception(root: Path) -> None:
    proposal = await write(root, ORDERS, "nothing of use", cursor="def add")
    text = written(proposal, root)
    assert "from mod import OrderError, Orders\n" in text
    assert "store = Mock()" in text
    assert "with pytest.raises(OrderError):" in text
    assert runs(root)


async def test_dates_are_imported_as_the_source_imports_them(root: Path) -> None:
    proposal = await write(root, DUE, "nothing of use", cursor="def due")
    text = written(proposal, root)
    assert "from datetime import date\n" in text
    assert "assert due(date(2024, 2, 29)) == -1  # current behaviour" in text
    assert runs(root)


async def test_a_test_of_the_model_uses_other_names_of_the_module(root: Path) -> None:
    answer = (
        "():\n    orders = Orders(None, 1)\n    with pytest.raises(OrderError):\n"
        '        orders.add("a", 2)\n```'
    )
    proposal = await write(root, ORDERS, answer, cursor="def add")
    text = written(proposal, root)
    assert "from mod import OrderError, Orders\n" in text
    assert "    orders = Orders(None, 1)\n    with pytest.raises(OrderError):\n" in text
    assert runs(root)


async def test_a_result_of_the_injected_object_is_not_asserted(root: Path) -> None:
    code = "def load(key: str, store):\n    return store.fetch(key or 'default')\n"
    proposal = await write(root, code, "nothing of use", cursor="def load")
    text = written(proposal, root)
    assert re.search(
        r'\n    load\(".*", store\)\n    assert store.mock_calls == \[call.fetch\(', text
    )
    assert runs(root)


async def test_unittest_has_fakes_and_captures_what_is_printed(root: Path) -> None:
    code = NOTIFY + "\n\ndef show(text: str):\n    print(text, 1)\n"
    instruction = "Use unittest."
    proposal = await write(root, code, "nothing", cursor="def notify", instruction=instruction)
    assert "self.assertEqual(mailer.mock_calls, [call.send(" in written(proposal, root)
    proposal = await write(root, code, "nothing", cursor="def show", instruction=instruction)
    (path,) = {edit.path for edit in proposal.edits}  # type: ignore[union-attr]
    written(proposal, root)
    text = path.read_text()
    assert "import contextlib\nimport io\n" in text
    assert 'self.assertEqual(output.getvalue(), "Hello World 1\\n")' in text
    assert runs(root)


async def test_unittest_has_files_with_the_text_that_a_function_expects(root: Path) -> None:
    code = (
        "def names(path: str) -> list[str]:\n    with open(path) as file:\n"
        '        return [line.split("=")[0].strip() for line in file if "=" in line]\n'
    )
    proposal = await write(
        root, code, "nothing", cursor="def names", instruction="Use unittest, please."
    )
    text = written(proposal, root)
    assert "import pathlib\nimport tempfile\nimport unittest\n" in text
    assert '            self.assertEqual(names(path), ["a", "c"])  # current behaviour\n' in text
    assert runs(root)


async def test_the_methods_of_a_class_are_called(root: Path) -> None:
    code = (
        "class Meter:\n    def __init__(self, limit: int):\n        self._limit = limit\n\n"
        "    def left(self, used: int) -> int:\n        return max(0, self._limit - used)\n\n"
        "    def is_full(self, used: int) -> bool:\n        return used >= self._limit\n\n"
        "    def _hidden(self) -> int:\n        return 1\n"
    )
    proposal = await write(root, code, "nothing", cursor="class ")
    text = written(proposal, root)
    assert re.search(r"def test_meter_left_of_\w+\(\):\n    assert Meter\(-?\d+\)\.left\(", text)
    assert "is_full(" in text
    assert "_hidden" not in text
    assert proposal.checked is not None
    assert proposal.checked.num_detected >= proposal.checked.num_mutations / 2
    assert runs(root)
