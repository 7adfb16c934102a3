"""Configurations of fine-tuning on dialogues: those that ship, and TOML files of the user."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import ConfigurationError

CONFIGS_FOLDER = Path(__file__).parent / "configs"

_Positive = Annotated[int, Field(ge=1)]


class TuneChatConfig(BaseModel):
    """Settings of fine-tuning on dialogues."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["full", "lora"]
    """Whether all weights or a LoRA adapter are trained."""
    system: str = ""
    """System message of dialogues without one; StarChat was trained with an empty one."""
    block_size: Annotated[int, Field(ge=16)]
    """Tokens of a training sequence."""
    epochs: Annotated[float, Field(gt=0)]
    """Number of passes over the data."""
    batch_per_device: _Positive
    """Sequences in one forward pass of a device."""
    accumulation: _Positive
    """Number of forward passes in one optimiser step."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant_with_warmup"]
    """Learning-rate schedule after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    """Warm-up steps as a share of all steps."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Weight decay of the optimiser."""
    gradient_checkpointing: bool
    """Whether activations are recomputed in the backward pass, to save memory."""
    save_steps: _Positive
    """Number of steps between checkpoints."""
    log_steps: _Positive
    """Number of steps between log lines."""
    seed: int
    """Seed of the split and the training."""
    rank: _Positive = 16
    """Rank of the LoRA matrices."""
    alpha: _Positive = 32
    """Scale of the LoRA update: it is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the adapter's input."""
    deepspeed: str | None = None
    """Path of a DeepSpeed configuration, or `zero3` for the one that ships; None for no DeepSpeed.

    It should not name a scheduler: that one would replace `schedule`, as in the published run.
    """

    @property
    def deepspeed_file(self) -> str | None:
        """Path of the DeepSpeed configuration."""
        return str(CONFIGS_FOLDER / "zero3.json") if self.deepspeed == "zero3" else self.deepspeed


def read_config(name: str) -> TuneChatConfig:
    """Return a configuration that ships (`starchat`, `lora`, `small`) or that of a TOML file.

    Raises ConfigurationError if it cannot be read.
    """
    file = CONFIGS_FOLDER / f"{name}.toml"
    if not file.exists():
        file = Path(name)
    try:
        return TuneChatConfig(**tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        names = ", ".join(sorted(config.stem for config in CONFIGS_FOLDER.glob("*.toml")))
        raise ConfigurationError(
            f"There is no configuration {name!r}. Name a TOML file, or one of {names}."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{file}: {field}: {first['msg']}.") from None
