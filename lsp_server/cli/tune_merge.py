"""`starcoder-lsp tune merge NAME FOLDER`: write the model with an adapter as one checkpoint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress

from engine.errors import ConfigurationError, reason_of
from engine.loading.adapter_store import AdapterFolder, find_adapter, fingerprint
from engine.settings import EngineSettings
from lsp_server.cli import common, terminal
from lsp_server.cli.outputs import check_output_folder

if TYPE_CHECKING:
    from engine.loading.adapter_merge import MergedWeights
    from engine.loading.trainable import TrainableModel

MergeDtype = Literal["auto", "float32", "bfloat16", "float16"]


def merge(
    name: Annotated[str, typer.Argument(help="Name of the adapter.")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="New folder for the checkpoint.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Hub id or directory of the adapter's model. Default: as it was trained with.",
        ),
    ] = None,
    dtype: Annotated[
        MergeDtype, typer.Option(help="Number format of the weights; auto is that of the model.")
    ] = "auto",
    offline: common.Offline = False,
) -> None:
    """Add an adapter to its model's weights, and write a checkpoint that every server loads.

    Use it for servers that load no adapters, or only a part of one: `tune list` says which. It
    needs no GPU, little memory, and the size of the model on disk.
    """
    with common.plain_errors():
        adapter = find_adapter(name)
        target = _check_target(folder)
        base = _locate_base(adapter, model, offline)
        weights = _read(adapter, base, dtype)
        _check_space(weights.num_bytes, target)
        with _appearing_at_once(target) as staged:
            _write(base, adapter, weights, staged)
        terminal.print_line(
            f"{base.name} with {adapter.name} is in {folder}. Set starcoder.model to that folder, "
            "or serve it: docs/tune.md has the commands."
        )


def _check_target(folder: Path) -> Path:
    """Return the absolute path. Raises ConfigurationError unless the folder is new or empty."""
    check_output_folder(folder, "FOLDER")
    target = folder.resolve()
    if target.is_dir() and any(target.iterdir()):
        raise ConfigurationError(f"{folder} is not empty. Give the path of a new folder.")
    return target


def _locate_base(adapter: AdapterFolder, model: str | None, offline: bool) -> TrainableModel:
    """Return the model that the adapter was trained on. Raises ConfigurationError or ModelError."""
    from engine.loading.locate import locate
    from engine.loading.trainable import read_trainable

    name, path = locate(
        EngineSettings(model=model or adapter.note.base, offline=offline), lambda *_: None
    )
    base = read_trainable(name, path, "merged")
    if fingerprint(path) != adapter.note.fingerprint:
        raise ConfigurationError(
            f"The adapter {adapter.name!r} was made for other weights than those of {name}. Give "
            "--model with the hub id or the directory of its model"
            f"{f', {adapter.note.base}' if model else ''}."
        )
    return base


def _read(adapter: AdapterFolder, base: TrainableModel, dtype: MergeDtype) -> MergedWeights:
    """Return the merged weights, which are computed when they are read."""
    import torch
    from safetensors import SafetensorError

    from engine.errors import UnsupportedModelError
    from engine.loading.adapter_merge import MergedWeights
    from engine.loading.adapter_tensors import AdapterTensors

    try:
        tensors = AdapterTensors.read(adapter)
        return MergedWeights(base, tensors, None if dtype == "auto" else getattr(torch, dtype))
    except (OSError, ValueError, KeyError, SafetensorError, UnsupportedModelError) as error:
        raise ConfigurationError(
            f"The adapter {adapter.name!r} cannot be merged into {base.name}: {reason_of(error)}."
        ) from error


def _check_space(needed: int, target: Path) -> None:
    """Raise ConfigurationError if the disk has no room for the checkpoint."""
    from engine.machine import format_bytes

    existing = next(path for path in (target, *target.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ConfigurationError(
            f"The checkpoint needs {format_bytes(needed)}, but {format_bytes(free)} is free on the "
            f"disk of {existing}. Give a folder on another disk."
        )


@contextmanager
def _appearing_at_once(target: Path) -> Iterator[Path]:
    """Yield a folder that becomes `target` at the end, so that no program sees half of it.

    It is removed after an error. Raises ConfigurationError if the disk fails.
    """
    staged = target.with_name(f".{target.name}.merging")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir()
    except FileExistsError:
        raise ConfigurationError(
            f"{staged} exists: another merge is running, or one was interrupted. Delete that "
            "folder if none is running."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{staged} cannot be created: {reason_of(error)}.") from None
    try:
        yield staged
        os.replace(staged, target)
    except OSError as error:
        raise ConfigurationError(
            f"{target} cannot be written: {reason_of(error)}. Give another folder."
        ) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _write(
    base: TrainableModel, adapter: AdapterFolder, weights: MergedWeights, folder: Path
) -> None:
    from safetensors import SafetensorError

    from engine.loading.adapter_merge import write_merged
    from lsp_server.cli.adapter_cards import merged_card
    from lsp_server.cli.merged_files import write_files

    write_files(base, adapter, folder)
    card = merged_card(base.name, adapter)
    (folder / "README.md").write_text(card, encoding="utf-8")
    with Progress(console=common.stderr(), transient=True) as progress:
        task = progress.add_task("merging", total=1.0)
        try:
            write_merged(weights, folder, lambda share: progress.update(task, completed=share))
        except SafetensorError as error:  # the library's writer also reports a full disk so
            raise OSError(reason_of(error)) from error
