"""Projects are chosen by licence; each file is read once, and tests are left out."""

import json
from pathlib import Path

from tests.training.conftest import CODE
from training.collect import CorpusDocument, find_projects, read_documents
from training.corpus import load_dialogues, load_held_out, load_train
from training.decontaminate import read_benchmark_texts
from training.prepare import write_corpus


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
    projects = {project.name: project for project in find_projects(downloads(tmp_path))}
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
        lambda _: [p for p in find_projects(here) if p.root.is_relative_to(here)],
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
