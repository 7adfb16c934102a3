"""Make the corpus and the tokenizer from the source files on this machine."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path

import tokenizers

from training.collect import HELD_OUT, LISTS, CorpusDocument, SourceProject, find_projects
from training.corpus import CorpusReport, ProjectReport, write_json_lines
from training.decontaminate import BenchmarkTexts, read_benchmark_texts
from training.dialogues import MinedDialogue
from training.filters import MAX_CHARACTERS, Deduplicator, drop_duplicates
from training.formats import NotebookCell, parse_notebook
from training.history import read_commits
from training.mining import Workers, examine_file, mine, mine_tests, open_workers
from training.tokenizer import add_chat_tokens, load_tokenizer, train_tokenizer
from training.vocabulary import sample_texts

CHARACTERS_PER_PROJECT = 5_000_000
"""Maximum characters of one project, so that none dominates its language.

Some large projects have their own maximum in `lists/limits.txt`.
"""

_CANDIDATES_PER_LIMIT = 3
"""Size of the files of a project that are read, in multiples of the project's maximum."""

SHARES = {
    "javascript": 0.22,
    "typescript": 0.20,
    "go": 0.18,
    "rust": 0.17,
    "java": 0.17,
    "cpp": 0.14,
    "c": 0.10,
    "markdown": 0.06,
    "html": 0.02,
    "css": 0.02,
    "json": 0.005,
    "yaml": 0.02,
    "shell": 0.02,
    "sql": 0.02,
}
"""Maximum characters of each other language, as a share of those of Python."""


def write_corpus(
    folder: Path,
    seed: int,
    *,
    downloads: Path | None = None,
    benchmarks: Sequence[Path] = (),
    histories: Sequence[Path] = (),
    num_workers: int = 1,
) -> CorpusReport:
    """Write the corpus to `folder`; return the counts of kept and dropped data.

    Files: `train.jsonl`, `held_out.jsonl`, `commits.jsonl`, `notebooks.jsonl`, `dialogues.jsonl`.
    Held-out projects are read first, so that their near duplicates in other projects are dropped.
    The result does not depend on the number of workers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    projects = sorted(
        find_projects(downloads), key=lambda project: (project.name not in HELD_OUT, project.name)
    )
    texts = BenchmarkTexts(text for file in benchmarks for text in read_benchmark_texts(file))
    with open_workers(num_workers) as workers:
        return _write_corpus(folder, projects, texts, histories, seed, workers)


def _write_corpus(
    folder: Path,
    projects: Sequence[SourceProject],
    texts: BenchmarkTexts,
    histories: Sequence[Path],
    seed: int,
    workers: Workers,
) -> CorpusReport:
    rng = random.Random(seed)
    outcomes, reports = dict[str, int](), dict[str, ProjectReport]()
    documents = list(_choose_documents(projects, texts, seed, workers, outcomes, reports))
    training = _limit_languages([d for d in documents if d.project not in HELD_OUT], rng)
    held_out = [document for document in documents if document.project in HELD_OUT]
    mined = list(workers.map(partial(mine, seed), training))
    redacted = [document.redacted for document in mined]
    held_out = [document.redacted for document in workers.map(partial(mine, seed), held_out)]
    dialogues = [dialogue for document in mined for dialogue in document.dialogues]
    dialogues += _dialogues_from_tests(projects, redacted, seed, workers)
    notebooks = [notebook for document in mined for notebook in document.notebooks]
    notebooks += _notebook_files(projects)
    commits = [commit for repository in histories for commit in read_commits(repository)]
    for name, rows in (
        ("train", map(asdict, redacted)),
        ("held_out", map(asdict, held_out)),
        ("notebooks", ([asdict(cell) for cell in notebook] for notebook in notebooks)),
        ("dialogues", map(asdict, dialogues)),
        ("commits", map(asdict, commits)),
    ):
        write_json_lines(folder / f"{name}.jsonl", rows)
    private = Counter[str]()
    for document in mined:
        private.update(document.redactions)
    report = CorpusReport(
        documents=outcomes,
        private=dict(private),
        languages=_characters_by_language(redacted),
        commits=len(commits),
        notebooks=len(notebooks),
        dialogues=dict(Counter(dialogue.task for dialogue in dialogues)),
        projects=reports,
    )
    (folder / "corpus.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


def _choose_documents(
    projects: Sequence[SourceProject],
    benchmarks: BenchmarkTexts,
    seed: int,
    workers: Workers,
    outcomes: dict[str, int],
    reports: dict[str, ProjectReport],
) -> Iterator[CorpusDocument]:
    """Yield the chosen documents of every project, and fill `outcomes` and `reports`."""
    limits, deduplicator = read_limits(), Deduplicator()
    files = (
        (project.name, project.root, file)
        for project in projects
        for file in _candidates(project, limits.get(project.name, CHARACTERS_PER_PROJECT), seed)
    )
    examined = workers.map(partial(examine_file, benchmarks), files)
    by_name = {project.name: project for project in projects}
    for name, group in groupby(filter(None, examined), key=lambda e: e.document.project):
        limit = limits.get(name, CHARACTERS_PER_PROJECT)
        chosen = _limit_project(drop_duplicates(group, deduplicator, outcomes), limit)
        reports[name] = ProjectReport(
            licence=by_name[name].licence,
            files=len(chosen),
            characters=sum(len(document.text) for document in chosen),
            held_out=name in HELD_OUT,
        )
        yield from chosen


def read_limits() -> dict[str, int]:
    """Return the maximum characters of the large projects that may exceed the usual maximum."""
    lines = (LISTS / "limits.txt").read_text(encoding="utf-8").splitlines()
    return {name: int(limit) for name, limit in map(str.split, lines)}


def _candidates(project: SourceProject, limit: int, seed: int) -> Iterator[Path]:
    """Yield the files of a project at random until they have several times the limit."""
    files = list(project.files)
    random.Random(f"{seed} {project.name}").shuffle(files)
    size = 0
    for file in files:
        if size > limit * _CANDIDATES_PER_LIMIT:
            return
        with suppress(OSError):
            num_bytes = file.stat().st_size
            if num_bytes <= 4 * MAX_CHARACTERS:
                size += min(num_bytes, MAX_CHARACTERS)
                yield file


def _limit_project(documents: Iterable[CorpusDocument], limit: int) -> list[CorpusDocument]:
    """Choose the first documents that fit in the maximum characters of a project."""
    size, chosen = 0, []
    for document in documents:
        if size + len(document.text) <= limit:
            chosen.append(document)
            size += len(document.text)
    return chosen


def _dialogues_from_tests(
    projects: Iterable[SourceProject],
    documents: Iterable[CorpusDocument],
    seed: int,
    workers: Workers,
) -> Iterator[MinedDialogue]:
    by_project: dict[str, list[CorpusDocument]] = {}
    for document in documents:
        if document.language == "python":
            by_project.setdefault(document.project, []).append(document)
    tasks = (
        (by_project[project.name], replace(project, files=(), notebooks=()))
        for project in projects
        if project.name in by_project and project.tests
    )
    return chain.from_iterable(workers.map(partial(mine_tests, seed), tasks, chunk=1))


def _limit_languages(documents: list[CorpusDocument], rng: random.Random) -> list[CorpusDocument]:
    """Shuffle the documents and limit every other language to its share of Python."""
    rng.shuffle(documents)
    python = _characters_by_language(documents).get("python", 0)
    remaining = {language: share * python for language, share in SHARES.items()}
    chosen = []
    for document in documents:
        if document.language != "python":
            remaining[document.language] -= len(document.text)
            if remaining[document.language] < 0:
                continue
        chosen.append(document)
    return chosen


def _characters_by_language(documents: Iterable[CorpusDocument]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for document in documents:
        sizes[document.language] = sizes.get(document.language, 0) + len(document.text)
    return sizes


def _notebook_files(projects: Iterable[SourceProject]) -> Iterator[list[NotebookCell]]:
    """Yield the notebooks of the projects that are not held out."""
    for project in projects:
        if project.name not in HELD_OUT:
            for file in sorted(project.notebooks):
                try:
                    yield parse_notebook(file.read_text(encoding="utf-8"))
                except (OSError, ValueError):
                    continue


def write_tokenizer(folder: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Train a tokenizer on a sample of the corpus, and write it to `tokenizer.json`.

    ChatML's tokens get the last ids.
    """
    tokenizer = add_chat_tokens(train_tokenizer(sample_texts(folder), vocab_size))
    tokenizer.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder / "tokenizer.json")
