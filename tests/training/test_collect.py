"""Projects are chosen by licence; each file is read once, and tests are left out."""

import json
import random
from pathlib import Path

import pytest

from tests.training.conftest import CODE
from training.collect import (
    HELD_OUT,
    LANGUAGES,
    LISTS,
    CorpusDocument,
    debian_licences,
    find_projects,
    is_permissive,
    read_documents,
)
from training.corpus import load_dialogues, load_held_out, load_train
from training.decontaminate import read_benchmark_texts
from training.prepare import SHARES, read_limits, write_corpus


def package(folder: Path, name: str, licence: str, files: dict[str, str]) -> None:
    site = folder / "python" / name
    info = site / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1\nLicense-Expression: {licence}\n")
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))


def downloads(folder: Path) -> Path:
    test = "def test_mean():\n    assert mean([1]) == 1\n"
    package(
        folder,
        "free",
        "MIT",
        {"free/a.py": CODE, "free/tests/test_a.py": test, "free/data.bin": "x"},
    )
    package(folder, "owned", "GPL-3.0-only", {"owned/a.py": CODE + "# own\n"})
    package(folder, "click", "BSD-3-Clause", {"click/a.py": CODE.replace("12", "13")})
    node = folder / "node" / "node_modules" / "@scope" / "lib"
    (node / "dist").mkdir(parents=True)
    (node / "package.json").write_text(json.dumps({"name": "@scope/lib", "license": "MIT"}))
    (node / "index.ts").write_text("export const add = (a: number, b: number) => a + b;\n" * 9)
    (node / "dist" / "lib.min.js").write_text("x")
    (node / "types.d.ts").write_text("export {};\n")
    return folder


def test_only_permissively_licensed_projects_are_read(tmp_path: Path) -> None:
    projects = {
        project.name: project for project in find_projects(downloads(tmp_path), has_installed=False)
    }
    assert "owned" not in projects
    free, lib = projects["free"], projects["@scope/lib"]
    assert [d.path for d in read_documents(free)] == ["free/a.py"]
    assert [d.path for d in read_documents(free, free.tests)] == ["free/tests/test_a.py"]
    assert [d.path for d in read_documents(lib)] == ["index.ts", "package.json"]
    assert CorpusDocument("p", "a/b.tsx", "").language == "typescript"


def test_the_corpus_holds_out_projects_and_counts_outcomes(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    here = downloads(tmp_path / "downloads")
    monkeypatch.setattr(
        "training.prepare.find_projects",
        lambda _: list(find_projects(here, has_installed=False)),
    )
    benchmark = tmp_path / "b.jsonl"
    benchmark.write_text(json.dumps({"text": "never seen anywhere " * 5}) + "\n")
    assert read_benchmark_texts(benchmark)
    report = write_corpus(tmp_path / "out", 0, downloads=here, benchmarks=[benchmark])
    held_out = list(load_held_out(tmp_path / "out"))
    training = list(load_train(tmp_path / "out"))
    assert {d.project for d in held_out} == {"click"}
    # The other file is a near duplicate of the held-out one and is read second, so it is dropped.
    assert "free" not in {d.project for d in training}
    assert report["documents"]["near duplicate"] == 1
    assert report["projects"]["click"]["held_out"] is True
    assert list(load_dialogues(tmp_path / "out")) == []


def test_packages_of_npm_and_debian_are_projects(tmp_path: Path) -> None:
    here = downloads(tmp_path)
    packed = here / "npm" / "x" / "zod-4.0.0"
    (packed / "src").mkdir(parents=True)
    (packed / "package.json").write_text(json.dumps({"name": "zod", "license": "MIT"}))
    (packed / "src" / "a.ts").write_text("export {};\n")
    name = "golang-github-spf13-cobra-dev"
    go = here / "debian" / "tree" / name / "usr/share/gocode/src/github.com/spf13/cobra"
    go.mkdir(parents=True)
    (go / "command.go").write_text("package cobra\n")
    (go / "command_test.go").write_text("package cobra\n")
    unlisted = here / "debian" / "tree" / "unlisted"
    unlisted.mkdir()
    (unlisted / "a.java").write_text("class A {}\n")
    projects = {project.name: project for project in find_projects(here, has_installed=False)}
    assert [d.path for d in read_documents(projects["zod"])] == ["package.json", "src/a.ts"]
    (command,) = read_documents(projects[name])
    assert command.path == "github.com/spf13/cobra/command.go"
    assert "unlisted" not in projects
    assert {"zod", name} <= HELD_OUT


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("a/B.java", "class B {}", "java"),
        ("a.cc", "", "cpp"),
        ("a.hpp", "", "cpp"),
        ("a.h", "#pragma once\nint add(int a, int b);\n", "c"),
        ("a.h", "#pragma once\nnamespace a {\n  int add(int a, int b);\n}\n", "cpp"),
        ("a.sql", "", "sql"),
        ("a.bash", "", "shell"),
        ("a.jsx", "", "javascript"),
    ],
)
def test_a_document_has_a_language(path: str, text: str, language: str) -> None:
    assert CorpusDocument("p", path, text).language == language


def test_every_language_except_python_has_a_share() -> None:
    assert set(LANGUAGES.values()) == {*SHARES, "python"}


def test_every_listed_package_has_a_permissive_licence_and_every_name_is_known() -> None:
    licences = debian_licences()
    assert [name for name, licence in licences.items() if not is_permissive(licence)] == []
    node = json.loads((LISTS / "package.json").read_text())["dependencies"]
    pins = [pin.rpartition("@")[0] for pin in (LISTS / "npm.txt").read_text().split()]
    python = [pin.split("==")[0] for pin in (LISTS / "python.txt").read_text().split()]
    installed = {"torch", "click", "jinja2", "networkx", "starlette", "cachetools", "httpx2"}
    assert read_limits().keys() | HELD_OUT <= {*licences, *node, *pins, *python, *installed}


def test_the_number_of_processes_does_not_change_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = downloads(tmp_path / "downloads")
    for number in range(4):
        package(here, f"free{number}", "MIT", {f"a/{i}.py": source(number, i) for i in range(5)})
    projects = list(find_projects(here, has_installed=False))
    monkeypatch.setattr("training.prepare.find_projects", lambda _: projects)
    for num_workers in (1, 2):
        write_corpus(tmp_path / str(num_workers), 0, downloads=here, num_workers=num_workers)
    names = ["train.jsonl", "held_out.jsonl", "dialogues.jsonl", "notebooks.jsonl", "corpus.json"]
    for name in names:
        text = (tmp_path / "1" / name).read_text()
        assert text
        assert text == (tmp_path / "2" / name).read_text()


def test_a_project_has_a_maximum_of_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = downloads(tmp_path / "downloads")
    for name in ("large", "small"):
        package(here, name, "MIT", {f"a/{i}.py": source(name, i) for i in range(9)})
    projects = list(find_projects(here, has_installed=False))
    monkeypatch.setattr("training.prepare.find_projects", lambda _: projects)
    monkeypatch.setattr("training.prepare.read_limits", lambda: {"large": 3000})
    monkeypatch.setattr("training.prepare.CHARACTERS_PER_PROJECT", 1500)
    report = write_corpus(tmp_path / "out", 0, downloads=here)["projects"]
    assert 0 < report["small"]["characters"] <= 1500 < report["large"]["characters"] <= 3000


def source(*seed: object) -> str:
    rng = random.Random(f"{seed}")
    names = [f"name{rng.randrange(9999)}" for _ in range(20)]
    body = "".join(f"    {name} = {rng.choice(names)}(value)\n" for name in names)
    example = f">>> {names[0]}(1)\n    7"
    return (
        f'def {names[0]}(value):\n    """Return {" ".join(names[:9])}.\n\n    {example}\n    """\n'
        f"{body}    return value\n"
    )
