"""`starcoder-lsp tune chat DIALOGUES`: train a chat adapter by StarChat's recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.loading.adapter_store import AdapterNote, check_name, fingerprint, install
from engine.settings import EngineSettings
from lsp_server.cli import common, terminal
from lsp_server.cli.adapter_cards import serving_advice
from lsp_server.cli.outputs import check_output_folder

if TYPE_CHECKING:
    from chat.training.config import TuneChatConfig
    from chat.training.data import DialogueSplit
    from chat.training.train import ChatReport


def chat(
    path: Annotated[
        Path, typer.Argument(metavar="DIALOGUES", help="File of JSON lines; see docs/tune-chat.md.")
    ],
    name: Annotated[str, typer.Option(help="Name of the adapter.")] = "chat",
    model: common.Model = common.DEFAULT_MODEL,
    offline: common.Offline = False,
    config: Annotated[
        str | None,
        typer.Option(help="starchat (8 GPUs), lora (one GPU), small (CPU), or a TOML file."),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(help="Dialogues to measure with. Default: a tenth of DIALOGUES."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints and the result. Default: ./NAME-run."),
    ] = None,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Serve the adapter even if it did not help.")
    ] = False,
) -> None:
    """Train the model on dialogues; after an interruption, run it again to continue.

    The dialogues are written in the model's own chat template, or in ChatML. An adapter that lowers
    the perplexity of held-out dialogues is served under its name immediately. To use it, set
    `starcoder.chatAdapter` to the name.
    """
    with common.plain_errors():
        name = check_name(name)
        check_output_folder(folder or Path(f"{name}-run"), "--folder")
        common.require_training_packages()
        import torch

        from chat.training.config import read_config
        from chat.training.data import DialogueSplit, read_dialogues, split_dialogues

        tune_config = read_config(config or ("lora" if torch.cuda.is_available() else "small"))
        dialogues = read_dialogues(path)
        data = split_dialogues(dialogues, tune_config.seed)
        if held_out is not None:
            data = DialogueSplit(dialogues, read_dialogues(held_out))
        settings = EngineSettings(model=model, offline=offline)
        run = _Run(path, name, folder or Path(f"{name}-run"), keep_anyway)
        _tune(run, settings, data, tune_config)


@dataclass(frozen=True, slots=True)
class _Run:
    """The arguments of one training run that do not concern the training itself."""

    dialogues: Path
    name: str
    folder: Path
    keep_anyway: bool


def _tune(run: _Run, settings: EngineSettings, data: DialogueSplit, config: TuneChatConfig) -> None:
    """Train, print the report, and install the adapter if it helped."""
    from accelerate import PartialState

    from chat.training.card import chat_model_card
    from chat.training.train import tune_chat
    from engine.loading.trainable import locate_trainable

    base = locate_trainable(settings, lambda *_: None)
    report = tune_chat(base, data, run.folder, config, common.stderr().print)
    if not PartialState().is_main_process:
        return  # only one of several processes reports and installs
    result = run.folder / "result"
    card = chat_model_card(run.name, base.name, run.dialogues.name, config, report)
    if config.method == "lora":
        card += f"\nOther servers: {serving_advice(result, run.name)}\n"
    (result / "README.md").write_text(card, encoding="utf-8")
    _print_report(report)
    if config.method == "full":
        terminal.print_line(f"The tuned model is in {result}. Set starcoder.model to that folder.")
    elif report.is_improved or run.keep_anyway:
        note = AdapterNote(base.name, fingerprint(base.path), asdict(report))
        name, installed = run.name, install(result, run.name, note)
        terminal.print_line(f'Served from now on as {name}. Set "starcoder.chatAdapter": "{name}".')
        terminal.print_line(serving_advice(installed, name))
    else:
        terminal.print_line(
            "The adapter did not help on the held-out dialogues, so it is not served."
        )
        raise typer.Exit(1)


def _print_report(report: ChatReport) -> None:
    title = f"{report.held_out_dialogues} dialogues held out"
    row = ("perplexity", f"{report.perplexity_before:.2f}", f"{report.perplexity_after:.2f}")
    terminal.print_table(title, ("", "before", "after"), [row])
