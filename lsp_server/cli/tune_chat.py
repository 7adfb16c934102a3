"""`starcoder-lsp tune chat DIALOGUES`: StarChat's recipe, an adapter that is served if it helps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.loading.adapter_store import AdapterNote, check_name, fingerprint, install
from engine.settings import EngineSettings
from lsp_server.cli import common


def chat(
    path: Annotated[
        Path, typer.Argument(metavar="DIALOGUES", help="JSON lines; see docs/tune-chat.md.")
    ],
    name: Annotated[str, typer.Option(help="Of the adapter.")] = "chat",
    model: common.Model = common.DEFAULT_MODEL,
    offline: common.Offline = False,
    config: Annotated[
        str | None,
        typer.Option(help="starchat (8 GPUs), lora (one GPU), small (CPU), or a TOML file."),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(help="Dialogues to measure with; by default a tenth of the others."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Checkpoints and result; by default ./NAME-run.")
    ] = None,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Serve it even if it did not help.")
    ] = False,
) -> None:
    """Teach the model dialogues: run it again after an interruption, and it goes on.

    An adapter that makes dialogues likelier that were held out is served under its name at once:
    set `starcoder.chatAdapter` to it.
    """
    with common.plain_errors():
        common.require_training_packages()
        import torch
        from accelerate import PartialState

        from chat.training.card import chat_model_card
        from chat.training.config import read_config
        from chat.training.data import DialogueSplit, read_dialogues, split_dialogues
        from chat.training.train import tune_chat
        from engine.loading.locate import locate

        name = check_name(name)
        chosen = read_config(config or ("lora" if torch.cuda.is_available() else "small"))
        dialogues = read_dialogues(path)
        data = split_dialogues(dialogues, chosen.seed)
        if held_out is not None:
            data = DialogueSplit(dialogues, read_dialogues(held_out))
        base_name, base = locate(EngineSettings(model=model, offline=offline), lambda *_: None)
        run = folder or Path(f"{name}-run")
        report = tune_chat(base, data, run, chosen, common.stderr().print)
        if not PartialState().is_main_process:
            return
        result = run / "result"
        text = chat_model_card(name, base_name, path.name, chosen, report)
        (result / "README.md").write_text(text, encoding="utf-8")
        table = Table(title=f"{report.held_out_dialogues} dialogues held out", title_justify="left")
        for column in ("", "before", "after"):
            table.add_column(column)
        shown = (f"{one:.2f}" for one in (report.perplexity_before, report.perplexity_after))
        table.add_row("perplexity", *shown)
        console = Console(highlight=False)
        console.print(table)
        if chosen.method == "full":
            console.print(f"The tuned model is in {result}: set starcoder.model to that folder.")
        elif report.is_improved or keep_anyway:
            install(result, name, AdapterNote(base_name, fingerprint(base), asdict(report)))
            console.print(f'Served from now on as {name}: set "starcoder.chatAdapter": "{name}".')
        else:
            console.print("It did not help on the held-out dialogues, so it is not served.")
            raise typer.Exit(2)
