"""Generated tests of Python code run before they are shown: with pytest and unittest."""

import subprocess
import sys
from pathlib import Path

import pytest

from chat.tasks.checking.checking import CheckSettings
from chat.tasks.target import Proposal
from engine.errors import ConfigurationError, RequestError
from tests.chat.tasks.checking.python_projects import (
    NEEDS_SANDBOX,
    allow,
    environment,
    our_python,
    root,
    snapshot,
    write,
    written,
)
from tests.conftest import BUBBLEWRAP

__all__ = ["environment", "our_python", "root"]
pytestmark = [NEEDS_SANDBOX, pytest.mark.usefixtures("our_python")]

ADD = "def add(a, b):\n    return a + b\n"
SIGN = (
    "def sign(n):\n    if n > 0:\n        return 'plus'\n    if n < 0:\n"
    "        return 'minus'\n    return 'zero'\n"
)


def runs(root: Path, *command: str) -> bool:
    """Return whether the tests pass outside of the sandbox, too."""
    arguments = command or ("pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=")
    process = subprocess.run([sys.executable, "-B", "-m", *arguments], cwd=root, timeout=60)
    return process.returncode == 0


def sentence(proposal: Proposal) -> str:
    assert proposal.checked is not None
    return proposal.checked.sentence


async def test_a_right_test_is_shown_with_what_it_detects(root: Path) -> None:
    before = snapshot(root)
    proposal = await write(root, ADD, "():\n    assert add(1, 2) == 3\n```")
    assert snapshot(root) == {**before, root / "mod.py": ADD.encode()}
    assert proposal.note == "1 test, passes, detects 2 of 2 mutations, covers 1 of 1 line."
    assert written(proposal, root) == (
        "from mod import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
    )
    assert runs(root)


async def test_a_folder_whose_name_pytest_takes_for_parameters(root: Path) -> None:
    folder = root / "a[b]"
    folder.mkdir()
    proposal = await write(folder, ADD, "():\n    assert add(1, 2) == 3\n```")
    assert sentence(proposal).startswith("1 test, passes, detects 2 of 2 mutations")


async def test_a_wrong_expected_value_is_replaced_and_marked(root: Path) -> None:
    proposal = await write(
        root, ADD, "():\n    assert add(1, 2) == 4\n    assert add(2, 2) == 4\n```"
    )
    assert proposal.note.endswith(
        "1 expected value is the current behaviour: check that it is right."
    )
    assert "assert add(1, 2) == 3  # current behaviour\n    assert add(2, 2) == 4\n" in written(
        proposal, root
    )
    assert runs(root)


async def test_arguments_are_tried_until_all_mutations_are_detected(root: Path) -> None:
    stages: list[str] = []
    answer = "():\n    assert sign(5) == 'plus'\n```"
    proposal = await write(root, SIGN, answer, stages=stages)
    assert proposal.checked is not None
    assert proposal.checked.num_detected == proposal.checked.num_mutations > 4
    assert proposal.checked.num_covered == proposal.checked.num_lines == 5
    assert proposal.checked.num_tests > 1
    text = written(proposal, root)
    assert '    assert sign(-5) == "minus"  # current behaviour\n' in text
    assert "    assert sign(5) == 'plus'\n" in text
    assert stages[:3] == ["writing tests", "running 1 test", "trying other arguments"]
    assert runs(root)


async def test_no_more_tests_than_the_instruction_asks_for(root: Path) -> None:
    answer = (
        "():\n    assert sign(5) == 'plus'\n\n\ndef test_2():\n    assert sign(-5) == 'minus'\n```"
    )
    check = CheckSettings(allow)
    proposal = await write(root, SIGN, answer, check=check, instruction="only one test case")
    assert written(proposal, root).count("def test") == 1


async def test_a_test_with_the_name_that_the_instruction_gives_is_kept(root: Path) -> None:
    answers = (
        "):\n    assert add(0, 0) == 0\n\n\ndef test_better():\n    assert add(2, 3) == 5\n```"
    )
    instruction = "only one test, called test_of_zeros"
    proposal = await write(root, ADD, answers, instruction=instruction)
    text = written(proposal, root)
    assert "def test_of_zeros():\n    assert add(0, 0) == 0\n" in text
    assert text.count("def test") == 1


async def test_a_single_test_that_the_model_did_not_write_gets_the_name_too(root: Path) -> None:
    instruction = "only one test, called test_addition"
    proposal = await write(
        root, "def add(a: int, b: int):\n    return a + b\n", "no test", instruction=instruction
    )
    text = written(proposal, root)
    assert "def test_addition():\n    assert add(" in text
    assert text.count("def test") == 1


async def test_redundant_tests_are_dropped(root: Path) -> None:
    tests = "".join(
        f"def test_{n}():\n    assert add({n}, 2) == {n + 2}\n\n\n" for n in range(3, 6)
    )
    proposal = await write(root, ADD, f"():\n    assert add(0, 0) == 0\n\n\n{tests}```")
    assert written(proposal, root).count("def test") == 1
    assert proposal.checked is not None
    assert proposal.checked.num_detected == 2


@pytest.mark.parametrize(
    ("code", "answer", "expected"),
    [
        (
            "def half(n):\n    if n < 0:\n        raise ValueError('negative')\n    return n / 2\n",
            "():\n    assert half(-1) == 0\n    assert half(3) == 1\n```",
            "with pytest.raises(ValueError):  # current behaviour\n        half(-1)\n"
            "    assert half(3) == 1.5  # current behaviour\n",
        ),
        (
            "def share(n):\n    return n / 7 + 0.1\n",
            "():\n    assert share(1) == 0.3\n    assert share(2) == 0.4\n```",
            "    assert share(1) == pytest.approx(0.242857)  # current behaviour\n",
        ),
        (
            "async def twice(n):\n    return n * 2 + 1\n",
            "():\n    assert twice(4) == 8\n```",
            "import asyncio\n\nfrom mod import twice\n\n\ndef test_twice():\n"
            "    assert asyncio.run(twice(4)) == 9  # current behaviour\n",
        ),
        (
            "def squares(n):\n    for i in range(n):\n        yield i * i\n",
            "():\n    assert squares(3) == [0, 1, 4]\n```",
            "    assert list(squares(3)) == [0, 1, 4]\n",
        ),
        (
            "def greet(name):\n    print('Hello, ' + name + '!')\n",
            "():\n    assert greet('Ada') == 'Hello'\n```",
            'greet("")\n    assert capsys.readouterr().out == "Hello, !\\n"',
        ),
        (
            "def unique(items):\n    return {item for item in items if item > 0}\n",
            "():\n    assert unique([2, 0, 1]) == [1, 2]\n```",
            "    assert unique([2, 0, 1]) == {1, 2}  # current behaviour\n",
        ),
        (
            "def count_lines(path):\n    with open(path) as file:\n        return len(list(file)) + 1\n",
            "():\n    assert count_lines('missing.txt') == 3\n```",
            'path.write_text("first line\\nsecond line\\n")\n'
            "    assert count_lines(path) == 3  # current behaviour\n",
        ),
    ],
    ids=["exception", "float", "async", "generator", "print", "set", "file"],
)
async def test_values_are_written_in_the_idiom_of_pytest(
    code: str, answer: str, expected: str, root: Path
) -> None:
    proposal = await write(root, code, answer)
    assert expected in written(proposal, root)
    assert runs(root)


CLASS = (
    "class Account:\n    def __init__(self, balance=0):\n        self.balance = balance\n\n"
    "    def pay(self, amount):\n        if amount > self.balance:\n"
    "            raise ValueError('too much')\n        self.balance -= amount\n"
    "        return self.balance\n"
)


async def test_a_method_of_a_class_with_state(root: Path) -> None:
    answer = "():\n    account = Account(10)\n    assert account.pay(3) == 6\n```"
    proposal = await write(root, CLASS, answer, cursor="def pay")
    text = written(proposal, root)
    assert "    assert account.pay(3) == 7  # current behaviour\n" in text
    assert "with pytest.raises(ValueError):" in text
    assert runs(root)


async def test_unittest_of_a_package_with_existing_tests(root: Path) -> None:
    (root / "tests").mkdir()
    existing = (
        "import unittest\r\n\r\nfrom shop.cart import add\r\n\r\n\r\nclass TestAdd(unittest.TestCase):"
        "\r\n    def test_add(self):\r\n        self.assertEqual(add(1, 1), 2)\r\n"
    )
    (root / "tests" / "test_cart.py").write_bytes(existing.encode())
    (root / "tests" / "__init__.py").touch()
    (root / "shop").mkdir()
    (root / "shop" / "__init__.py").touch()
    answer = "(self):\n        self.assertEqual(add(2, 3), 6)\n```"
    code = ADD.replace("\n", "\r\n")
    proposal = await write(root, code, answer, name="shop/cart.py")
    written(proposal, root)
    content = (root / "tests" / "test_cart.py").read_bytes().decode()
    assert content.startswith(existing)
    assert "        self.assertEqual(add(2, 3), 5)  # current behaviour\r\n" in content
    assert "\n" not in content.replace("\r\n", "")
    assert runs(root, "unittest", "discover")


async def test_set_up_and_fixtures_of_the_project_are_used(root: Path) -> None:
    (root / "conftest.py").write_text(
        "import pytest\n\nimport mod\n\n\n@pytest.fixture(autouse=True)\ndef rate():\n"
        "    mod.RATE = 3\n    yield\n    mod.RATE = 0\n"
    )
    code = "RATE = 0\n\n\ndef taxed(n):\n    return n + n * RATE\n"
    proposal = await write(root, code, "():\n    assert taxed(2) == 9\n```")
    assert "assert taxed(2) == 8  # current behaviour" in written(proposal, root)
    assert proposal.checked is not None
    assert proposal.checked.num_detected == proposal.checked.num_mutations == 3
    assert runs(root)


async def test_a_source_layout_and_options_of_the_project(root: Path) -> None:
    (root / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\naddopts = '--import-mode=importlib --cov=shop -n 4'\n"
        "testpaths = ['tests']\npythonpath = ['src']\n"
    )
    (root / "tests").mkdir()
    proposal = await write(
        root, ADD, "():\n    assert add(1, 2) == 3\n```", name="src/shop/cart.py"
    )
    assert sentence(proposal).startswith("1 test, passes, detects 2 of 2 mutations")
    assert "from shop.cart import add" in written(proposal, root)
    assert runs(root)


async def test_a_flaky_test_is_not_shown(root: Path) -> None:
    code = "import random\n\n\ndef draw(n):\n    return random.randrange(n)\n"
    answer = "():\n    assert draw(1000000) == 5\n\n\ndef test_one():\n    assert draw(1) == 0\n```"
    proposal = await write(root, code, answer)
    assert "1000000" not in written(proposal, root)


async def test_a_test_that_never_ends_does_not_prevent_others(root: Path) -> None:
    code = "def wait(n):\n    while n > 5:\n        pass\n    return n\n"
    answer = "():\n    assert wait(9) == 9\n\n\ndef test_ends():\n    assert wait(3) == 3\n```"
    text = written(await write(root, code, answer), root)
    assert "wait(9)" not in text
    assert "wait(3) == 3" in text


async def test_nothing_that_fails_is_shown(root: Path) -> None:
    code = "def fail(n, how):\n    raise SystemExit(how)\n"
    with pytest.raises(RequestError, match=r"None of the \d tests of fail .* passes"):
        await write(root, code, "():\n    assert fail(1, 2) == 3\n```")


async def test_without_consent_nothing_runs_and_nothing_is_said(root: Path) -> None:
    async def refuse(folder: Path, what: str) -> bool:
        asked.append((folder, what))
        return False

    asked: list[tuple[Path, str]] = []
    check = CheckSettings(refuse)
    proposal = await write(root, ADD, "():\n    assert add(1, 2) == 4\n```", check=check)
    assert asked == [(root, "generated tests of add")]
    assert (proposal.note, proposal.checked) == ("", None)
    assert "== 4\n" in written(proposal, root)


async def test_a_machine_that_cannot_isolate_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ConfigurationError("Programs cannot be isolated here: no namespaces.")

    monkeypatch.setattr("chat.tasks.checking.checking.make_sandbox", refuse)
    proposal = await write(root, ADD, "():\n    assert add(1, 2) == 4\n```")
    assert proposal.note == (
        "The tests were not run. Programs cannot be isolated here: no namespaces."
    )
    assert "== 4\n" in written(proposal, root)


async def test_a_missing_module_of_the_project_is_named(root: Path) -> None:
    code = f"import not_installed\n\n\n{ADD}"
    proposal = await write(root, code, "():\n    assert add(1, 2) == 4\n```")
    assert proposal.note.startswith("The tests were not run. ")
    assert proposal.note.endswith("has no module not_installed.")
    assert "== 4\n" in written(proposal, root)


async def test_an_interpreter_without_pytest_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"/usr/bin:/bin:{BUBBLEWRAP}")
    proposal = await write(root, ADD, "():\n    assert add(1, 2) == 4\n```")
    assert proposal.note.startswith("The tests were not run. /usr/bin/python3 has no pytest: ")


async def test_further_tests_are_requested_until_the_time_is_over(root: Path) -> None:
    stages: list[str] = []
    code = "def weird(n):\n    return object()\n"
    answers = ["():\n    assert weird(1) == 2\n```", "():\n    assert weird(1) is not None\n```"]
    proposal = await write(
        root, code, answers, check=CheckSettings(allow, seconds=60), stages=stages
    )
    assert stages.count("writing tests") >= 2
    assert "is not None" in written(proposal, root)
