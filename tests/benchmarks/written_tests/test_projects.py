"""The functions of `benchmarks.written_tests` are complete, and their sources run."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.written_tests.project import ECOSYSTEMS, Project, load_projects, read_project
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.registry import find_convention
from chat.tasks.target import WorkspaceFiles
from syntax.grammars import count_errors
from tests.chat.tasks.test_write_tests import find_or_skip

PROJECTS = load_projects()
COUNTS = {
    ("python", "pytest"): 20,
    ("python", "unittest"): 6,
    ("javascript", "node"): 10,
    ("typescript", "vitest"): 6,
    ("typescript", "jest"): 2,
    ("go", "go"): 6,
    ("rust", "cargo"): 6,
    ("java", "junit5"): 4,
}
TOPICS = set(
    """numbers, strings, lists, dicts, sorting, parsing, recursion, exceptions, floats, printing,
    files, async, generators, classes, methods, annotated, unicode, dates, none, fixture,
    regular expressions, injected dependency, early returns, nested loops,
    realistic length""".replace("\n    ", " ").split(", ")
)
LANGUAGES = {
    ".py": "python",
    ".js": "javascript",
    ".ts": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
}

of_each = pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)


def test_there_are_sixty_functions_in_six_ecosystems() -> None:
    assert len(PROJECTS) == 60
    assert len({project.name for project in PROJECTS}) == 60
    assert Counter((each.ecosystem, each.framework) for each in PROJECTS) == COUNTS
    assert {project.ecosystem for project in PROJECTS} == set(ECOSYSTEMS)


def test_every_topic_occurs_and_only_these() -> None:
    assert {topic for project in PROJECTS for topic in project.topics} == TOPICS


def test_some_functions_are_long_and_some_projects_have_tests_before() -> None:
    lengths = [
        len(project.text.split("\n"))
        for project in PROJECTS
        if "realistic length" in project.topics
    ]
    assert len(lengths) >= 2
    assert all(30 <= length <= 65 for length in lengths)
    assert sum(project.test_file in project.files for project in PROJECTS) >= 10
    assert {name for project in PROJECTS for name in project.files} >= {"tests/conftest.py"}


@of_each
def test_a_project_has_its_symbol_and_its_convention(project: Project, tmp_path: Path) -> None:
    target = project.materialize(tmp_path)
    for name, text in project.files.items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text
        if (language := LANGUAGES.get(Path(name).suffix)) is not None:
            assert count_errors(text, language) == 0, name
    symbol = target.symbol()
    assert ".".join((*symbol.parents, symbol.name)) == project.symbol
    assert target.text[target.start :].startswith(symbol.name)
    subject = Subject(symbol, target.file(), target.text, target.language)
    files = WorkspaceFiles(tmp_path, boundary=tmp_path)
    convention = find_convention(subject, files)
    assert convention.framework == project.framework
    assert convention.test_file.relative_to(tmp_path) == Path(project.test_file)


@pytest.mark.parametrize(
    "project",
    [project for project in PROJECTS if project.ecosystem == "python"],
    ids=lambda project: project.name,
)
def test_python_sources_can_be_imported(project: Project, tmp_path: Path) -> None:
    project.materialize(tmp_path)
    program = "import runpy, sys\nfor file in sys.argv[1:]: runpy.run_path(file)\n"
    files = [name for name in project.files if name.endswith(".py")]
    environment = {"PYTHONPATH": f"{tmp_path}:{tmp_path / 'src'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", "-c", program, *files]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_javascript_sources_are_modules_that_node_accepts(tmp_path: Path) -> None:
    node = find_or_skip("node")
    for project in load_projects(ecosystems=["javascript"]):
        folder = tmp_path / project.name
        project.materialize(folder)
        for name in (name for name in project.files if name.endswith(".js")):
            done = subprocess.run([node, "--check", folder / name], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


def test_names_that_do_not_exist_and_incomplete_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no function clmp, x"):
        load_projects(["clmp", "clamp", "x"])
    assert [project.name for project in load_projects(ecosystems=["java"])] == [
        project.name for project in PROJECTS if project.ecosystem == "java"
    ]
    file = tmp_path / "half.txtar"
    file.write_text("framework: pytest\nsource: a.py\n\n-- a.py --\n")
    with pytest.raises(ValueError, match="the line 'symbol' is missing"):
        read_project(file)
