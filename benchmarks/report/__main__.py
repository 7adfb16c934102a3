"""Measures the published comparisons with other programs, and writes their tables.

Each comparison runs in a process of its own. Its record is kept in docs/figures/, and the table in
the document is made from the record. A test compares the two, so that nobody edits a figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import PeerOption
from benchmarks.peers.checkpoint import BenchOption
from benchmarks.report.records import ROOT, Measurement, Record, file_of, load, measure, save
from benchmarks.report.tables import rendered, summary, written

MEASUREMENTS = (
    Measurement(
        "decode", "benchmarks.decode", ("--shape", "1b", "--prompt", "64", "--rounds", "5")
    ),
    Measurement("real-model", "benchmarks.real_model.speed", ("--rounds", "5")),
)
DOCUMENTS = {
    "docs/engine.md": ("decode",),
    "docs/models.md": ("real-model",),
}
"""The documents with the names of the measurements whose tables they have."""
SUMMARY = "README.md"
"""The document with a summary of all measurements."""


def tables_of(document: str, records: Mapping[str, Record]) -> dict[str, str]:
    """Return the texts of a document's places by their names."""
    if document == SUMMARY:
        return {"summary": summary(records)}
    return {name: rendered(records[name]) for name in DOCUMENTS[document] if name in records}


def write_tables(root: Path = ROOT) -> None:
    """Write the tables of all measurements that have a record into the documents."""
    names = [measurement.name for measurement in MEASUREMENTS]
    figures = root / "docs" / "figures"
    records = {name: load(name, figures) for name in names if file_of(name, figures).exists()}
    for document in (*DOCUMENTS, SUMMARY):
        file = root / document
        text = written(file.read_text(encoding="utf-8"), tables_of(document, records))
        file.write_text(text, encoding="utf-8")


def paths_of(
    measurement: Measurement,
    llama: Path | None,
    bench: Path | None,
    real_model: Path | None,
    gguf: Path | None,
) -> list[str]:
    """Return the arguments of a measurement that are paths of this machine.

    Raises typer.BadParameter if one is missing.
    """
    if llama is None or bench is None:
        raise typer.BadParameter("Give llama.cpp: --llama and --bench.")
    paths = ["--llama", str(llama), "--bench", str(bench)]
    if measurement.name != "real-model":
        return paths
    if real_model is None or gguf is None:
        raise typer.BadParameter("Give --real-model and --gguf, or choose others: --only.")
    return [*paths, str(real_model), "--gguf", str(gguf)]


def main(
    llama: PeerOption = None,
    bench: BenchOption = None,
    real_model: Annotated[
        Path | None, typer.Option(help="Folder of SmolLM2 as a checkpoint: SmolLM2-135M-Instruct.")
    ] = None,
    gguf: Annotated[Path | None, typer.Option(help="The GGUF file of SmolLM2.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a measurement; may be repeated.")
    ] = None,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Write the tables of the records that exist.")
    ] = False,
) -> None:
    """Measure, keep the records, and write the tables. This takes half an hour."""
    names = [measurement.name for measurement in MEASUREMENTS]
    if unknown := set(only or ()) - set(names):
        raise typer.BadParameter(f"--only {unknown.pop()}: choose from {', '.join(names)}.")
    if not tables_only:
        chosen = [each for each in MEASUREMENTS if not only or each.name in only]
        paths = [paths_of(each, llama, bench, real_model, gguf) for each in chosen]
        for measurement, of_machine in zip(chosen, paths, strict=True):
            save(measurement.name, measure(measurement, of_machine))
    write_tables()


if __name__ == "__main__":
    typer.run(main)
