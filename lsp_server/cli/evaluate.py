"""`starcoder-lsp eval PATH`: measure the quality of completions on files that you choose."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from engine.errors import ConfigurationError
from engine.settings import EngineSettings
from fim.context.provider import ContextProvider
from fim.evaluation.files import File, source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes, read_holes
from fim.evaluation.plot import check_picture, draw_plot
from fim.evaluation.project_context import context_provider_for
from fim.evaluation.run import Evaluator, Record, RunTest
from fim.settings import FimSettings
from lsp_server.cli import common
from lsp_server.cli.added_lines import FromGit, Since, added_files
from lsp_server.cli.engine_server import choose_engine, read_server
from lsp_server.cli.evaluation_tables import headline, print_tables, report_json
from lsp_server.cli.outputs import check_output, write_output, writing
from lsp_server.cli.results import Results
from lsp_server.session.engine_choice import EngineChoice, create_engine
from sandbox.command import Outcome
from sandbox.sandbox import make_sandbox

_MODES = 2
"""Number of ways to fill each hole: the model alone, and the whole pipeline."""


def evaluate(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Repositories, or one file of holes as JSON lines, such as HumanEval's.",
        ),
    ],
    kinds: Annotated[
        list[HoleKind] | None,
        typer.Option("--kind", help="What to cut out. Default: single lines."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Maximum number of holes.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of holes.")] = 0,
    since: Since = None,
    from_git: FromGit = None,
    model: common.Model = common.DEFAULT_MODEL,
    adapter: Annotated[
        str | None, typer.Option(help="Measure this adapter, made by `tune`.")
    ] = None,
    dtype: common.DtypeOption = "auto",
    device: common.DeviceOption = "auto",
    offline: common.Offline = False,
    engine_url: common.EngineUrl = None,
    engine_token: common.EngineToken = None,
    engine_model: common.EngineModel = None,
    tokenizer: common.TokenizerOption = None,
    tests: Annotated[bool, typer.Option(help="Run the tests of the holes, in a sandbox.")] = True,
    run_unsandboxed: Annotated[
        bool,
        typer.Option(
            help="Run the tests with resource limits only: a program may do what you may do."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the results as JSON lines; results in it are kept and not repeated."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--json", help="Write the tables to this file, as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw a plot to this file: .png or .svg.")
    ] = None,
) -> None:
    """Cut holes into files, fill them, and compare the model alone with the whole pipeline.

    Tests of the holes run in a sandbox, where code that a model wrote cannot do harm. Without a
    sandbox they do not run. Holes depend only on the files and the seed, so models and adapters
    are measured on the same holes.
    """
    with common.plain_errors():
        check_output(report, "--json")
        check_output(plot, "--plot")
        if plot is not None:
            check_picture(plot)
        server = read_server(context, engine_url, engine_token, engine_model, tokenizer)
        results = Results(out, lambda row: Record(**row))
        files = [] if _is_benchmark(paths) else source_files(*paths)
        settings = EngineSettings(model=model, dtype=dtype, device=device, offline=offline)
        choice = choose_engine(settings, server)
        fim = FimSettings(adapter=adapter)
        with added_files(paths, since, from_git, seed) as added:
            holes = _choose_holes(paths, (files, added), kinds or [HoleKind.LINE], count, seed)
            has_tests = tests and any(hole.test for hole in holes)
            run_test = _test_runner(unsandboxed=run_unsandboxed) if has_tests else None
            context_provider = context_provider_for([*files, *added])
            used = asyncio.run(_fill_holes(holes, choice, fim, run_test, context_provider, results))
        names = {hole.name for hole in holes}
        records = [record for record in results.rows if record.name in names]
        measured = used if adapter is None else f"{used} with the adapter {adapter}"
        address = None if server is None else server.address
        title = measured if address is None else f"{measured} at {address}"
        print_tables(records, title, has_project=bool(files))
        if plot is not None:
            with writing(plot):
                draw_plot(headline(records), plot)
        if report is not None:
            source = {"model": used, "server": address, "adapter": adapter}
            tables = {**source, **report_json(records)}
            write_output(report, json.dumps(tables, indent=1) + "\n")


def _is_benchmark(paths: Sequence[Path]) -> bool:
    return len(paths) == 1 and paths[0].is_file()


def _choose_holes(
    paths: Sequence[Path],
    samples: Sequence[Sequence[File]],
    kinds: Sequence[HoleKind],
    count: int,
    seed: int,
) -> list[Hole]:
    """Return the holes of a benchmark, or up to `count` of each sample that has files."""
    if _is_benchmark(paths):
        holes = read_holes(paths[0])
        if len(holes) > count:
            indices = sorted(random.Random(seed).sample(range(len(holes)), count))
            holes = [holes[index] for index in indices]
        return holes
    drawn = [draw_holes(files, kinds, count, seed) for files in samples if files]
    if not drawn or not all(drawn):
        lines = "added lines" if drawn and drawn[0] else "source files"
        raise ConfigurationError(
            f"{paths[0]} has no {lines} in which holes of this kind can be cut."
        )
    return [hole for holes in drawn for hole in holes]


def _test_runner(*, unsandboxed: bool) -> RunTest:
    try:
        box = make_sandbox(unsandboxed=unsandboxed)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"The tests of the holes cannot be run. {error.user_message} Use --no-tests to skip "
            "them, or --run-unsandboxed to run them with your own permissions and limits only."
        ) from None
    return lambda program: box.run(program) is Outcome.PASSED


async def _fill_holes(
    holes: Sequence[Hole],
    choice: EngineChoice,
    fim: FimSettings,
    run_test: RunTest | None,
    context_provider: ContextProvider,
    results: Results[Record],
) -> str:
    """Fill the holes that `results` lacks; returns the name of the model."""
    names = {hole.name for hole in holes}
    done = {(record.name, record.mode) for record in results.rows if record.name in names}
    engine = create_engine(choice)
    try:
        info = await engine.info()  # load the model first: the time of a hole must not include it
        with Progress(console=common.stderr(), transient=True) as progress:
            total = _MODES * len(holes)
            task = progress.add_task("filling holes", total=total, completed=len(done))
            evaluator = Evaluator(engine, fim, run_test, context_provider)
            async for record in evaluator.fill(holes, done):
                results.add(record)
                progress.advance(task)
    finally:
        await engine.aclose()
    return info.model
