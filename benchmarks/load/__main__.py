"""Load of one server by many typists and chat users: our `serve`, vLLM, or a URL.

    python -m benchmarks.load --vllm ENV/bin/python --users 8 --users 32 --users 128
    python -m benchmarks.load --users 128 --minutes 5 --flood 64 --check-metrics
    python -m benchmarks.load --find-limit

Typists replay recorded sessions (`benchmarks.load.recording`). The users of a measurement do not
share prompts, and no prompt comes twice. Only one server runs at a time. The load generator runs on
the same machine: the table has its processor time, and by how much it was late.

A replay sends each request when the recorded typist did, and cancels the previous one. With a
server beyond its limit, real clients send less, because a key joins a request that still runs. So
the limit is measured well, and what is beyond it is worse than in reality.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.common import JsonOption, ModelOption, machine
from benchmarks.load import prometheus, recording
from benchmarks.load.report import conclusions, table
from benchmarks.load.run import Load, Measurement, measure
from benchmarks.load.servers import Server, existing_server, our_server, vllm_server
from benchmarks.load.summary import Summary, next_to_try, row, summarize
from benchmarks.load.users import Replay
from engine.local import LocalEngine
from engine.settings import EngineSettings
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages

_SESSIONS, _PASSAGES, _LINES = 12, 1, 12
"""Number of sessions, of passages in each, and of lines in each passage."""
_DEFAULT_USERS = (8, 32, 128)
_FIRST_TRY = 8
_MAX_TRY = 512


def _recorded(file: Path, folder: Path, model: str) -> recording.Recording:
    """Return the recording in a file, which is made if it does not exist."""
    if not file.exists():
        recording.save(asyncio.run(_record(folder, model)), file)
    return recording.load(file)


async def _record(folder: Path, model: str) -> recording.Recording:
    typed = passages(source_files(folder), _SESSIONS * _PASSAGES, _LINES, 0)
    engine = LocalEngine(EngineSettings(model=model))
    engine.start()
    try:
        return await recording.record(engine, typed, _PASSAGES)
    finally:
        await engine.aclose()


@contextmanager
def _server(
    name: str, model: str, vllm: Path | None, keys: Path | None, num_users: int
) -> Iterator[Server]:
    """Start the server of this name, or take the one at this URL."""
    if name.startswith(("http://", "https://")):
        yield existing_server(name, keys.read_text(encoding="utf-8").split() if keys else [])
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with ExitStack() as stack:
        if name == "vllm":
            assert vllm is not None
            yield stack.enter_context(vllm_server(vllm, model, port))
        else:
            yield stack.enter_context(our_server(model, port, num_users))


def _stop(*_: object) -> None:
    """End as after Ctrl-C, so that the servers end too."""
    raise KeyboardInterrupt


class _Session:
    """Measurements of one server after another, with a table at the end."""

    def __init__(self, console: Console, *, check_metrics: bool) -> None:
        self.summaries: list[Summary] = []
        self.problems: list[str] = []
        self._console, self._check_metrics = console, check_metrics

    def measure(self, server: Server, replay: Replay, load: Load) -> Summary:
        """Measure one number of users."""
        measured = asyncio.run(measure(server, replay, load, seed=len(self.summaries)))
        summary = summarize(measured)
        self.summaries.append(summary)
        self._console.print(
            f"{server.name}: {load.typists} typists, p95 {summary.suggestion.p95:.0f} ms"
        )
        if self._check_metrics:
            self._check(measured, server)
        return summary

    def _check(self, measured: Measurement, server: Server) -> None:
        if not server.is_ours:
            return
        wrong = prometheus.disagreements(
            measured.metrics_before, measured.metrics_after, measured.outcomes
        )
        self.problems += [f"{server.name}, {measured.load.typists} typists: {w}" for w in wrong]


def main(
    server: Annotated[
        list[str] | None,
        typer.Option(help="`serve`, `vllm` or a URL; several are measured in turn."),
    ] = None,
    users: Annotated[list[int] | None, typer.Option(help="Numbers of typists.")] = None,
    minutes: Annotated[float, typer.Option(help="Minutes per number of typists.")] = 1.0,
    flood: Annotated[
        int, typer.Option(help="Also measure with one more user who keeps this many requests open.")
    ] = 0,
    find_limit: Annotated[
        bool, typer.Option(help="Search the largest number of typists with 95 % within 300 ms.")
    ] = False,
    check_metrics: Annotated[
        bool, typer.Option(help="Compare the server's metrics with the users' own counts.")
    ] = False,
    vllm: Annotated[
        Path | None, typer.Option(help="The Python of an environment with vLLM.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="File with a key per line, one per user, for a server by URL."),
    ] = None,
    model: ModelOption = "demo",
    folder: Annotated[
        Path | None, typer.Option(help="Code that is typed. Default: Python's library.")
    ] = None,
    sessions: Annotated[
        Path, typer.Option(help="Recorded typing; made by the first run, which takes minutes.")
    ] = Path("runs/load-sessions.json"),
    json_file: JsonOption = None,
) -> None:
    """Measure the times, fates and fairness of requests, and the server's memory."""
    signal.signal(signal.SIGTERM, _stop)
    console = Console()
    names = server or (["serve", "vllm"] if vllm else ["serve"])
    if "vllm" in names and vllm is None:
        raise typer.BadParameter("Give the Python of vLLM's environment with --vllm.")
    typed = _recorded(sessions, folder or Path(sysconfig.get_path("stdlib")) / "email", model)
    console.print(
        f"{len(typed.sessions)} sessions; a typist sends {typed.requests_per_second:.2f} requests "
        f"per second"
    )
    session = _Session(console, check_metrics=check_metrics)
    numbers = users or ([_FIRST_TRY] if find_limit else list(_DEFAULT_USERS))
    for name in names:
        num_keys = Load(_MAX_TRY if find_limit else max(numbers), 0).users
        with _server(name, model, vllm, keys, num_keys) as running:
            replay = Replay.build(typed, running.model, is_ours=running.is_ours)
            serves = {}
            for number in numbers:
                serves[number] = session.measure(running, replay, Load(number, minutes * 60)).serves
            while find_limit and (number := next_to_try(serves) or 0) and number <= _MAX_TRY:
                serves[number] = session.measure(running, replay, Load(number, minutes * 60)).serves
            if flood:
                session.measure(running, replay, Load(numbers[-1], minutes * 60, flood))
    console.print(table(session.summaries))
    for sentence in [*conclusions(session.summaries), *session.problems]:
        console.print(sentence)
    console.print(machine())
    if json_file is not None:
        rows = [row(summary) for summary in session.summaries]
        result = {"machine": machine(), "measurements": rows, "metrics": session.problems}
        json_file.write_text(json.dumps(result))
    if session.problems or any(each.faults() for each in session.summaries):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
