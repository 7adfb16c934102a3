"""Tests are written in the project's framework and folders, and no code is lost."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chat.asker import Asker
from chat.tasks.target import FileEdit, Proposal, Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError
from engine.local import LocalEngine
from engine.scripted import ScriptedEngine
from engine.settings import EngineSettings
from syntax.grammars import count_errors
from tests.chat.tasks.projects import PROJECTS, PYTHON, Project, lay_out
from tests.conftest import OPTIONAL


def target_in(project: Project, root: Path, instruction: str = "") -> Target:
    source = lay_out(project, root)
    text = source.read_text()
    cursor = text.index(project.cursor)
    return Target(source.as_uri(), source, project.language, text, cursor, cursor, instruction)


async def propose(
    project: Project, root: Path, answer: str | None = None, instruction: str = ""
) -> tuple[Proposal, ScriptedEngine]:
    engine = ScriptedEngine(lambda _: project.answer if answer is None else answer)
    target = target_in(project, root, instruction)
    return await write_tests(target, Asker(engine), WorkspaceFiles(root)), engine


def edits_of(proposal: Proposal) -> list[FileEdit]:
    edits = [edit for edit in proposal.edits if isinstance(edit, FileEdit)]
    assert len(edits) == len(proposal.edits)
    return edits


def apply(proposal: Proposal) -> None:
    for edit in sorted(edits_of(proposal), key=lambda edit: -edit.start):
        assert edit.creates != edit.path.exists()
        text = "" if edit.creates else edit.path.read_bytes().decode()
        edit.path.parent.mkdir(parents=True, exist_ok=True)
        edit.path.write_bytes((text[: edit.start] + edit.text + text[edit.end :]).encode())


def run(command: list[str], root: Path) -> str:
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    return output


def find_or_skip(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{OPTIONAL}{program} is not installed")
    return path


@pytest.mark.parametrize("name", PROJECTS)
async def test_the_right_file_is_changed_and_parses_and_loses_nothing(
    name: str, tmp_path: Path
) -> None:
    project = PROJECTS[name]
    before = project.files.get(project.test_file)
    proposal, _ = await propose(project, tmp_path)
    apply(proposal)
    file = tmp_path / project.test_file
    assert {edit.path for edit in edits_of(proposal)} == {file}
    text = file.read_text()
    assert count_errors(text, project.language) == 0, text
    assert proposal.title.endswith(f"({project.framework})")
    for line in (before or "").splitlines():
        assert line in text
    assert text.count("import pytest") <= 1
    assert text.count("use super::*") <= 1


PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


async def test_pytest_runs_the_new_tests(tmp_path: Path) -> None:
    project = PROJECTS["pytest, no tests yet"]
    proposal, _ = await propose(project, tmp_path)
    apply(proposal)
    text = (tmp_path / project.test_file).read_text()
    assert text.startswith("import math\n\nimport pytest\n\nfrom shop.prices import total\n\n\ndef")
    assert "test_other" not in text  # it does not test `total`
    assert "test_half" not in text
    assert "3 passed" in run(PYTEST, tmp_path)


async def test_pytest_runs_a_new_test_in_mirrored_folders(tmp_path: Path) -> None:
    project = PROJECTS["pytest, mirrored folders"]
    apply((await propose(project, tmp_path))[0])
    text = (tmp_path / project.test_file).read_text()
    assert text == (
        "from shop.core.prices import Cart\n\n\ndef test_add():\n    cart = Cart()\n"
        "    cart.add(1)\n    assert cart.items == [1]\n"
    )
    assert "2 passed" in run(PYTEST, tmp_path)


async def test_unittest_runs_the_tests_that_are_added_above_main(tmp_path: Path) -> None:
    project = PROJECTS["unittest"]
    apply((await propose(project, tmp_path))[0])
    text = (tmp_path / project.test_file).read_text()
    assert text.endswith('if __name__ == "__main__":\n    unittest.main()\n')
    assert text.count("import unittest") == 1
    assert text.count("class TestTotal(unittest.TestCase):") == 1
    assert "Ran 3 tests" in run([sys.executable, "-m", "unittest", "-v"], tmp_path)


@pytest.mark.parametrize("name", ["node, ES modules", "node, CommonJS"])
async def test_node_runs_the_new_tests(name: str, tmp_path: Path) -> None:
    node = find_or_skip("node")
    project = PROJECTS[name]
    apply((await propose(project, tmp_path))[0])
    count = 2 if name == "node, ES modules" else 1
    assert f"# pass {count}" in run(
        [node, "--test", "--test-reporter=tap", project.test_file], tmp_path
    )


@pytest.mark.parametrize("name", ["cargo", "cargo, no tests yet"])
async def test_cargo_runs_the_new_tests(name: str, tmp_path: Path) -> None:
    cargo = find_or_skip("cargo")
    apply((await propose(PROJECTS[name], tmp_path))[0])
    count = 3 if name == "cargo" else 1
    output = run([cargo, "test", "--offline", "--quiet", "--lib"], tmp_path)
    assert f"{count} passed" in output


async def test_a_go_file_gets_the_imports_that_its_tests_use(tmp_path: Path) -> None:
    project = PROJECTS["go"]
    apply((await propose(project, tmp_path))[0])
    text = (tmp_path / project.test_file).read_text()
    assert 'import (\n\t"testing"\n\t"reflect"\n)' in text
    assert "func TestTotal_2(t *testing.T)" in text  # because TestTotal exists


async def test_java_gets_a_new_class_below_the_test_folder(tmp_path: Path) -> None:
    project = PROJECTS["junit"]
    apply((await propose(project, tmp_path))[0])
    text = (tmp_path / project.test_file).read_text()
    assert text.startswith(
        "package shop;\n\nimport org.junit.jupiter.api.Test;\n"
        "import static org.junit.jupiter.api.Assertions.*;\n\nclass PricesTest {\n    @Test\n"
        "    public void totalAddsUp() {\n        List<Integer>"
    )
    assert text.count("@Test") == 2


async def test_writing_again_appends_tests_under_free_names(tmp_path: Path) -> None:
    project = PROJECTS["pytest, no tests yet"]
    apply((await propose(project, tmp_path))[0])
    other = "():\n    assert total([]) == 0\n"
    apply((await propose(project, tmp_path, other))[0])
    text = (tmp_path / project.test_file).read_text()
    assert "def test_total_2():\n    assert total([]) == 0\n" in text
    assert text.count("import") == 3
    assert "4 passed" in run(PYTEST, tmp_path)


async def test_windows_line_ends_are_preserved(tmp_path: Path) -> None:
    project = PROJECTS["unittest"]
    files = {name: text.replace("\n", "\r\n") for name, text in project.files.items()}
    apply((await propose(replace(project, files=files), tmp_path))[0])
    content = (tmp_path / project.test_file).read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n")


async def test_an_open_file_is_read_from_the_editor(tmp_path: Path) -> None:
    project = PROJECTS["pytest, no tests yet"]
    target = target_in(project, tmp_path)
    unsaved = tmp_path / "tests/test_prices.py"
    text = "from shop.prices import total\n\n\ndef test_total():\n    assert total([]) == 0\n"
    files = WorkspaceFiles(tmp_path, lambda path: text if path == unsaved else None)
    engine = ScriptedEngine(lambda _: "():\n    assert total([1]) == 1\n")
    proposal = await write_tests(target, Asker(engine), files)
    (edit,) = edits_of(proposal)
    assert not edit.creates
    assert edit.start == len(text)
    assert "test_total_2" in edit.text


async def test_the_prompt_contains_function_imports_example_and_instruction(tmp_path: Path) -> None:
    project = PROJECTS["pytest, mirrored folders"]
    _, engine = await propose(project, tmp_path, instruction="Bitte auch negative Preise.")
    prompt = engine.model_tokenizer.decode(engine.requests[0].prompt)
    for part in (
        "import math",
        "class Cart:",
        "def add(self, price):",
        "def test_x():",
        "Bitte auch negative Preise.",
        "Write tests for `add` with pytest",
    ):
        assert part in prompt
    assert prompt.endswith("from shop.core.prices import Cart\n\n\ndef test_add")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "(:\n  assert",
        "():\n    pass\n",
        "():\n    total([1])\n",
        "():\n    assert 1 == 1\n",
        "():\n    assert 'total(1)'\n",
    ],
    ids=["empty", "broken", "no code", "no assertion", "no call", "name in a string"],
)
async def test_an_unusable_test_is_not_proposed(answer: str, tmp_path: Path) -> None:
    project = PROJECTS["pytest, no tests yet"]
    engine = ScriptedEngine(lambda _: answer)
    target = target_in(project, tmp_path)
    with pytest.raises(RequestError, match="no test of total that can be used"):
        await write_tests(target, Asker(engine), WorkspaceFiles(tmp_path))
    assert len(engine.requests) == 5  # all attempts
    assert not (tmp_path / "tests").exists()


@pytest.mark.parametrize(
    ("text", "cursor", "language", "match"),
    [
        ("x = 1\n", "x", "python", "into a function or class"),
        ("def f():\n    def g():\n        pass\n", "pass", "python", "inside another function"),
        ("def f\n  1\nend\n", "1", "ruby", "not for ruby"),
        ("hello", "h", "plaintext", "into a function or class"),
    ],
)
async def test_a_target_that_cannot_be_tested_is_an_error(
    text: str, cursor: str, language: str, match: str, tmp_path: Path
) -> None:
    start = text.index(cursor)
    target = Target("file:///a.x", tmp_path / "a.x", language, text, start, start)
    with pytest.raises(RequestError, match=match):
        await write_tests(target, Asker(ScriptedEngine(lambda _: "")), WorkspaceFiles(tmp_path))


async def test_a_small_window_gets_a_shorter_prompt(tmp_path: Path) -> None:
    project = PROJECTS["pytest, mirrored folders"]
    source = lay_out(project, tmp_path)
    source.write_text("import os  # " + "x" * 1000 + "\n" + PYTHON)
    text = source.read_text()
    cursor = text.index("return math")
    target = Target(source.as_uri(), source, "python", text, cursor, cursor)
    engine = ScriptedEngine(lambda _: "():\n    assert total([]) == 0\n")
    await write_tests(target, Asker(engine), WorkspaceFiles(tmp_path))
    full_request = engine.requests[0]
    assert "xxx" in engine.model_tokenizer.decode(full_request.prompt)
    engine.context_window = len(full_request.prompt) - 500 + full_request.max_new_tokens
    await write_tests(target, Asker(engine), WorkspaceFiles(tmp_path))
    assert "xxx" not in engine.model_tokenizer.decode(engine.requests[-1].prompt)
    assert "def total" in engine.model_tokenizer.decode(engine.requests[-1].prompt)


SIMPLE = {
    "is_even": "def is_even(n):\n    return n % 2 == 0\n",
    "clamp": "def clamp(value, low, high):\n    return max(low, min(value, high))\n",
    "read_lines": "def read_lines(path):\n    with open(path) as f:\n        return f.read()\n",
    "parse_bool": "def parse_bool(text):\n    return text.strip().lower() in ('1', 'true')\n",
}


async def test_the_demo_model_writes_tests_that_pytest_collects(tmp_path: Path) -> None:
    """The values that the demo model asserts may be wrong, so the tests are not run."""
    engine = LocalEngine(EngineSettings(model="demo", device="cpu"))
    num_functions_with_tests = 0
    for name, code in SIMPLE.items():
        root = tmp_path / name
        root.mkdir()
        source = root / "shop.py"
        source.write_text(code)
        cursor = code.index("return")
        target = Target(source.as_uri(), source, "python", code, cursor, cursor)
        try:
            proposal = await write_tests(target, Asker(engine), WorkspaceFiles(root))
        except RequestError:
            continue  # the model wrote no usable test
        apply(proposal)
        text = (root / "tests" / "test_shop.py").read_text()
        assert f"from shop import {name}" in text
        output = run([*PYTEST, "--collect-only"], root)
        assert f"test_shop.py::test_{name}" in output
        num_functions_with_tests += 1
    await engine.aclose()
    assert num_functions_with_tests
