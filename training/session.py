"""A training session: the run with its files, or a run on a rented GPU."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState

from training.checkpoint import join_parts, split_file, write_weights
from training.demo_run import DemoRunOptions, demo_run
from training.plot import plot_loss
from training.pretrain import train

_CHECKPOINT, _LOG, _PLOT = "checkpoint.pt", "loss.jsonl", "loss.png"
_WEIGHTS, _REPORTS = "weights.pt", "reports.tar.gz"
_REPORT_FILES = (_LOG, _PLOT, "evaluation.json")
_RESERVED_SECONDS = 8.0
"""Seconds at the end of the minutes of a rented GPU, to write the weights."""


def pretrain(
    options: DemoRunOptions,
    started_at: float,
    *,
    is_cpu: bool = False,
    threads: int | None = None,
    reserved_seconds: float = 0.0,
    seconds_between_checkpoints: float = 240.0,
    after_save: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> None:
    """Train, continue from a checkpoint if there is one, and plot the loss.

    On a CPU the process gets the lowest priority.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    state = PartialState(cpu=is_cpu)
    if state.device.type == "cpu":
        if hasattr(os, "nice"):
            os.nice(19)
        if threads:
            torch.set_num_threads(threads)
    log = options.folder / _LOG
    with demo_run(options, state, say) as run:
        is_finished = train(
            run,
            options.folder / _CHECKPOINT,
            log,
            started_at=started_at,
            reserved_seconds=reserved_seconds,
            seconds_between_checkpoints=seconds_between_checkpoints,
            after_save=after_save,
            say=say,
        )
    if state.is_main_process:
        say(f"{'finished' if is_finished else 'stopped'} at step {run.step}: {run.report()}")
        if log.read_text(encoding="utf-8"):
            tokens_per_step = run.plan.rows_per_step * options.length
            plot_loss(log, options.folder / _PLOT, tokens_per_step)


class Session:
    """A run on a rented machine, which may end it at any moment and returns only a few files.

    Each checkpoint is also written to `out`, in parts and without optimiser state.
    """

    def __init__(
        self,
        options: DemoRunOptions,
        out: Path,
        started_at: float,
        say: Callable[[str], None] = print,
        seconds_between_checkpoints: float = 60.0,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._options, self._out, self._started_at, self._say = options, out, started_at, say
        self._seconds_between_checkpoints = seconds_between_checkpoints

    def run(self, *, is_cpu: bool = False) -> None:
        """Train, and write the weights before the minutes are over.

        If the run fails, the weights of its last checkpoint are in `out`.
        """
        try:
            pretrain(
                self._options,
                self._started_at,
                is_cpu=is_cpu,
                reserved_seconds=_RESERVED_SECONDS,
                seconds_between_checkpoints=self._seconds_between_checkpoints,
                after_save=self._write,
                say=self._say,
            )
        finally:
            self._write_reports()

    def evaluate(self, count: int, human_eval: Path | None) -> None:
        """Measure the checkpoint on the device of the run, and add the numbers to the reports."""
        from training.evaluate import evaluate

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        evaluate(
            self._options.folder,
            corpus=self._options.corpus,
            human_eval=human_eval,
            count=count,
            device=device,
            say=self._say,
        )
        self._write_reports()

    def _write(self) -> None:
        weights = self._options.folder / _WEIGHTS
        write_weights(self._options.folder / _CHECKPOINT, weights)
        split_file(weights, self._out)
        self._write_reports()

    def _write_reports(self) -> None:
        """Write one archive of all reports, because the number of returned files is limited."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for file in map(self._options.folder.joinpath, _REPORT_FILES):
                if file.exists():
                    archive.add(file, file.name)
        partial = self._out / f"{_REPORTS}.partial"
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, self._out / _REPORTS)


def receive(parts: Path, folder: Path) -> None:
    """Make the checkpoint and the reports of a run from the files that a session wrote.

    Raises ValueError if the parts do not give the checkpoint that was split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(parts / _REPORTS) as archive:
        for name in _REPORT_FILES:
            if name in archive.getnames():
                (folder / name).write_bytes(_read(archive, name))
    join_parts(parts, _WEIGHTS, folder / _CHECKPOINT)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
