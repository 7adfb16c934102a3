"""Tests have the framework, the names and the number that the instruction asks for."""

import sys
from pathlib import Path

import pytest

from chat.asker import Asker
from chat.tasks.target import Proposal, Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.api import GenerationRequest
from engine.errors import RequestError
from engine.scripted import ScriptedEngine
from tests.chat.tasks.projects import PROJECTS
from tests.chat.tasks.test_write_tests import PYTEST, apply, edits_of, run, target_in

PRICES = "def total(prices):\n    return sum(prices)\n"
CONFTEST = """import pytest


@pytest.fixture
def prices():
    return [1, 2]


@pytest.fixture(name="discount")
def make_discount():
    return 0.5


def helper():
    return 3
"""


async def propose_in(
    root: Path, files: dict[str, str], source: str, language: str, *answers: str, say: str = ""
) -> tuple[Proposal, list[str]]:
    """Return the proposal and the prompts; the model gives the answers in turn."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    remaining, prompts = list(answers), []

    def script(request: GenerationRequest) -> str:
        prompts.append(engine.model_tokenizer.decode(request.prompt))
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    engine = ScriptedEngine(script)
    text = files[source]
    path, cursor = root / source, text.index("total") + 1
    target = Target(path.as_uri(), path, language, text, cursor, cursor, say)
    proposal = await write_tests(target, Asker(engine), WorkspaceFiles(root, boundary=root))
    return proposal, prompts


async def test_the_project_uses_pytest_but_unittest_is_wanted(tmp_path: Path) -> None:
    files = {"mod.py": PRICES, "test_mod.py": "def test_one():\n    assert 1\n"}
    answer = "(self):\n        self.assertEqual(total([1]), 1)\n"
    proposal, prompts = await propose_in(
        tmp_path, files, "mod.py", "python", answer, say="Use unittest."
    )
    assert proposal.title.endswith("test_mod.py (unittest)")
    assert "Write tests for `total` with unittest." in prompts[0]
    apply(proposal)
    text = (tmp_path / "test_mod.py").read_text()
    assert "class TestTotal(unittest.TestCase):\n    def test_total(self):" in text
    assert "2 passed" in run(PYTEST, tmp_path)


async def test_the_project_uses_unittest_but_pytest_is_wanted(tmp_path: Path) -> None:
    target = target_in(PROJECTS["unittest"], tmp_path, "with pytest instead of unittest")
    engine = ScriptedEngine(lambda _: "():\n    assert total([]) == 0\n")
    proposal = await write_tests(target, Asker(engine), WorkspaceFiles(tmp_path))
    assert proposal.title.endswith("(pytest)")
    assert "def test_total():\n    assert total([]) == 0\n" in edits_of(proposal)[-1].text


JAVASCRIPT = {
    "package.json": '{"devDependencies": {"vitest": "3", "jest": "30"}}',
    "mod.js": "function total(prices) {\n  return 0;\n}\n\nmodule.exports = { total };\n",
    "mod.test.js": "import { total } from './mod';\n\ntest('x', () => {});\n",
}
EXPECT = '", () => {\n  expect(total([])).toBe(0);\n});\n'


@pytest.mark.parametrize(
    ("instruction", "framework"),
    [
        ("", "vitest"),
        ("vitest", "vitest"),
        ("use jest", "jest"),
        ("use Node's test runner", "node"),
    ],
)
async def test_a_package_has_several_runners(
    instruction: str, framework: str, tmp_path: Path
) -> None:
    answer = EXPECT
    if framework == "node":
        answer = '", () => {\n  assert.equal(total([]), 0);\n});\n'
    proposal, _ = await propose_in(
        tmp_path, JAVASCRIPT, "mod.js", "javascript", answer, say=instruction
    )
    assert proposal.title.endswith(f"({framework})")
    assert not proposal.note
    (path,) = {edit.path for edit in edits_of(proposal)}
    # A file of another runner is not changed.
    assert (path == tmp_path / "mod.test.js") == (framework == "vitest")
    assert path.exists() == (framework == "vitest")


async def test_a_runner_that_the_package_does_not_have_is_named_in_a_note(tmp_path: Path) -> None:
    files = JAVASCRIPT | {"package.json": '{"devDependencies": {"vitest": "3"}}'}
    proposal, _ = await propose_in(tmp_path, files, "mod.js", "javascript", EXPECT, say="use jest")
    assert proposal.title.endswith("mod.test.js (vitest)")
    assert proposal.note == "This package does not depend on jest, so the tests use vitest."


async def test_the_model_begins_with_the_name_that_the_instruction_gives(tmp_path: Path) -> None:
    answers = ("):\n    assert total([]) == 0\n\n\ndef test_b():\n    assert total([1]) == 1\n",)
    proposal, prompts = await propose_in(
        tmp_path, {"mod.py": PRICES}, "mod.py", "python", *answers, say="Call it test_nothing."
    )
    assert prompts[0].endswith("def test_nothing(")
    (edit,) = edits_of(proposal)
    assert "def test_nothing():\n    assert total([]) == 0" in edit.text
    assert "def test_b():" in edit.text


@pytest.mark.parametrize(
    ("project", "phrase", "expected"),
    [
        ("pytest, no tests yet", '"adds up"', "def test_adds_up("),
        ("unittest", "addsUp", "def test_addsUp("),
        ("node, ES modules", "\"adds 'up'\"", "test(\"adds 'up'\", "),
        ("go", '"adds up"', "func TestAddsUp("),
        ("go", "Test_adds", "func Test_adds("),
        ("cargo", "adds_up", "fn adds_up("),
        ("junit", '"adds all up"', "void addsAllUp("),
    ],
)
async def test_a_name_has_the_form_of_the_framework(
    project: str, phrase: str, expected: str, tmp_path: Path
) -> None:
    target = target_in(PROJECTS[project], tmp_path, f"Name the test {phrase}.")
    engine = ScriptedEngine(lambda _: "")
    with pytest.raises(RequestError):
        await write_tests(target, Asker(engine), WorkspaceFiles(tmp_path))
    prompt = engine.model_tokenizer.decode(engine.requests[0].prompt)
    assert prompt.endswith(expected)


async def test_fixtures_of_the_project_are_shown_and_used(tmp_path: Path) -> None:
    files = {
        "mod.py": PRICES,
        "conftest.py": CONFTEST,
        "tests/conftest.py": "from pytest import fixture\n\n\n@fixture()\ndef empty():\n    return []\n",
        "tests/test_other.py": "def test_other(prices):\n    assert prices\n",
    }
    answer = (
        "(prices):\n    assert total(prices) == 3\n\n\n"
        "def test_discount(discount, empty):\n    assert total(empty) * discount == 0\n\n\n"
        "def test_unknown(missing):\n    assert total(missing) == 0\n\n\n"
        "def test_function(make_discount):\n    assert total([make_discount]) == 0.5\n"
    )
    proposal, prompts = await propose_in(tmp_path, files, "mod.py", "python", answer)
    fixtures = (
        "can use these fixtures:\n```python\n@fixture()\ndef empty():\n    return []\n\n@pytest.fixture\n"
        'def prices():\n    return [1, 2]\n\n@pytest.fixture(name="discount")\ndef make_discount():\n'
    )
    assert fixtures in prompts[0]
    assert "def helper" not in prompts[0]
    apply(proposal)
    text = (tmp_path / "tests/test_mod.py").read_text()
    assert "def test_total(prices):" in text
    assert "missing" not in text
    assert "make_discount" not in text
    assert "3 passed" in run(PYTEST, tmp_path)


async def test_fixtures_of_files_that_may_not_be_shown_stay_unknown(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    source = tmp_path / "mod.py"
    source.write_text(PRICES)
    engine = ScriptedEngine(lambda _: "():\n    assert total([]) == 0\n")
    target = Target(source.as_uri(), source, "python", PRICES, 5, 5)
    files = WorkspaceFiles(
        tmp_path, boundary=tmp_path, may_show=lambda path: path.name != "conftest.py"
    )
    await write_tests(target, Asker(engine), files)
    assert "fixture" not in engine.model_tokenizer.decode(engine.requests[0].prompt)


async def test_attempts_of_a_batch_are_made_together_and_only_the_first_is_shown(
    tmp_path: Path,
) -> None:
    source = tmp_path / "mod.py"
    source.write_text(PRICES)
    pieces: list[tuple[str, bool]] = []
    engine = ScriptedEngine(
        lambda _: (
            "():\n    pass\n" if len(engine.requests) == 1 else "():\n    assert total([]) == 0\n"
        ),
        seconds_per_token=0.001,
    )
    target = Target(source.as_uri(), source, "python", PRICES, 5, 5)
    asker = Asker(engine, on_partial=lambda piece, begins: pieces.append((piece, begins)))
    proposal = await write_tests(target, asker, WorkspaceFiles(tmp_path))
    assert len(engine.requests) == 3
    assert sum(begins for _, begins in pieces) == 2
    # Both answers have the same test, so it is added once.
    assert edits_of(proposal)[0].text.count("def test_") == 1


@pytest.mark.parametrize("has_init", [False, True])
async def test_unittest_that_does_not_find_a_new_file(has_init: bool, tmp_path: Path) -> None:
    files = {"mod.py": PRICES, "Makefile": "test:\n\tpython -m unittest\n"}
    if has_init:
        files["tests/__init__.py"] = ""
    answer = "(self):\n        self.assertEqual(total([1]), 1)\n"
    proposal, _ = await propose_in(tmp_path, files, "mod.py", "python", answer)
    apply(proposal)
    assert (tmp_path / "tests/test_mod.py").exists()
    plain = [sys.executable, "-m", "unittest", "-v"]
    if has_init:
        assert not proposal.note
        assert "Ran 1 test" in run(plain, tmp_path)
    else:
        assert "only with `discover -s tests`" in proposal.note
        assert "Ran 1 test" in run([*plain[:3], "discover", "-v", "-s", "tests"], tmp_path)
