"""Lets a model write tests for 60 functions, and counts those with a test and with passing tests.

The functions are in `projects`. The model writes the tests with the product's own requests. Those
that the product shows then run with the project's own runner in the sandbox.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.common import ModelOption
from benchmarks.written_tests.environment import make_environment
from benchmarks.written_tests.measure import Measurement, measure_all
from benchmarks.written_tests.project import ECOSYSTEMS, Project, load_projects
from benchmarks.written_tests.report import print_tables, write_json
from benchmarks.written_tests.runners import run_tests
from chat.asker import Asker
from chat.tasks.checking.checking import CheckSettings
from engine.api import Engine
from engine.local import LocalEngine
from engine.settings import EngineSettings
from lsp_server.cli import common
from lsp_server.cli.engine_server import choose_engine, read_server
from lsp_server.cli.outputs import check_output
from lsp_server.session.engine_choice import create_engine

_ROOT = Path(__file__).parents[2]
_NODE_MODULES = [
    _ROOT / "editors" / "vscode" / "node_modules",
    _ROOT / ".editors" / "jest" / "node_modules",
]
"""Where `make check` and `make test-editors` install Vitest and Jest."""


def main(
    context: typer.Context,
    model: ModelOption = "demo",
    engine_url: common.EngineUrl = None,
    engine_token: common.EngineToken = None,
    engine_model: common.EngineModel = None,
    tokenizer: common.TokenizerOption = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Measure only this function.")
    ] = None,
    ecosystem: Annotated[
        list[str] | None,
        typer.Option(help=f"Measure only functions of {', '.join(ECOSYSTEMS)}."),
    ] = None,
    node_modules: Annotated[
        list[Path] | None,
        typer.Option(help="Folder in which Vitest or Jest is. The default is this project's own."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write every measurement there.")
    ] = None,
) -> None:
    """Count the functions that get tests, and those whose tests pass; print seconds."""
    projects = _choose(only or [], ecosystem or [])
    with common.plain_errors():
        check_output(out, "--out")
        server = read_server(context, engine_url, engine_token, engine_model, tokenizer)
        choice = choose_engine(EngineSettings(model=model), server)
        engine = LocalEngine(choice.process) if server is None else create_engine(choice)
        modules = [each.resolve() for each in node_modules or _NODE_MODULES if each.is_dir()]
        used, measurements = asyncio.run(_measure(engine, projects, modules))
    print_tables(measurements, used, Console())
    if out is not None:
        write_json(measurements, used, out)


def _choose(names: Sequence[str], ecosystems: Sequence[str]) -> list[Project]:
    if unknown := sorted(set(ecosystems) - set(ECOSYSTEMS)):
        raise typer.BadParameter(f"There is no ecosystem {', '.join(unknown)}.")
    try:
        return load_projects(names, ecosystems or ECOSYSTEMS)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


async def _allow(folder: Path, what: str) -> bool:
    """Let generated tests run: all of them are in folders of this program."""
    return True


async def _measure(
    engine: Engine, projects: Sequence[Project], modules: Sequence[Path]
) -> tuple[str, list[Measurement]]:
    """Return the name of the model, and the measurement of each project."""
    progress, measurements = common.stderr(), []
    with tempfile.TemporaryDirectory(prefix="written-tests-") as folder:
        # The product runs tests with the Python of PATH, if a project has none.
        python = make_environment(Path(folder))
        os.chmod(folder, 0o755)  # if this runs as root, the program of a sandbox is another user
        os.environ["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        try:
            info = await engine.info()  # load the model first: no function's time must include it
            run = partial(run_tests, all_modules=modules)
            check = CheckSettings(_allow)
            async for each in measure_all(
                projects, Asker(engine), run, modules=modules, check=check
            ):
                outcome = "no test" if each.run is None else f"tests {each.run.outcome}"
                progress.print(f"{each.ecosystem}/{each.name}: {outcome}, {each.seconds:.1f} s")
                measurements.append(each)
        finally:
            await engine.aclose()
    return info.model, measurements


if __name__ == "__main__":
    typer.run(main)
