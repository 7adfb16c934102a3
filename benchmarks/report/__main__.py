"""Measures the published comparisons with other programs, and writes their tables.

Each comparison runs in a process of its own. Its record is kept in docs/figures/, and the table in
the document is made from the record. A test compares the two, so that nobody edits a figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import PEER_VARIABLE
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


def main(
    llama: Annotated[
        Path,
        typer.Option(envvar=PEER_VARIABLE, help="Path of a Python that has llama-cpp-python."),
    ],
    bench: Annotated[
        Path, typer.Option(envvar="STARCODER_LLAMA_BENCH", help="Path of `llama-bench`.")
    ],
    real_model: Annotated[
        Path | None, typer.Option(help="Folder of SmolLM2 as a checkpoint: SmolLM2-135M-Instruct.")
    ] = None,
    gguf: Annotated[Path | None, typer.Option(help="The GGUF file of SmolLM2.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a measurement; may be repeated.")
    ] = None,
) -> None:
    """Measure, keep the records, and write the tables. This takes about an hour."""
    names = [measurement.name for measurement in MEASUREMENTS]
    if unknown := set(only or ()) - set(names):
        raise typer.BadParameter(f"--only {unknown.pop()}: choose from {', '.join(names)}.")
    for measurement in MEASUREMENTS:
        if only and measurement.name not in only:
            continue
        paths = ["--llama", str(llama), "--bench", str(bench)]
        if measurement.name == "real-model":
            if real_model is None or gguf is None:
                raise typer.BadParameter("Give --real-model and --gguf, or choose others: --only.")
            paths += [str(real_model), "--gguf", str(gguf)]
        save(measurement.name, measure(measurement, paths))
        write_tables()


if __name__ == "__main__":
    typer.run(main)
