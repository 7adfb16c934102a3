"""How to tune for dialogues: configurations that ship, and files of the user's own in that form."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import ConfigurationError

FOLDER = Path(__file__).parent / "configs"

_Positive = Annotated[int, Field(ge=1)]


class TuneChatConfig(BaseModel):
    """One configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["full", "lora"]
    system: str = ""
    """System message of dialogues that bring none; StarChat was trained with an empty one."""
    block_size: Annotated[int, Field(ge=16)]
    """Tokens of a training sequence."""
    epochs: Annotated[float, Field(gt=0)]
    batch_per_device: _Positive
    accumulation: _Positive
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["cosine", "linear", "constant_with_warmup"]
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_checkpointing: bool
    save_steps: _Positive
    log_steps: _Positive
    seed: int
    rank: _Positive = 16
    alpha: _Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    deepspeed: str | None = None
    """`zero3` for the one that ships, or the path of a DeepSpeed configuration.

    It names no scheduler: one there would win over `schedule`, as it did in the published run.
    """

    @property
    def deepspeed_file(self) -> str | None:
        """The path of the DeepSpeed configuration."""
        return str(FOLDER / "zero3.json") if self.deepspeed == "zero3" else self.deepspeed


def read_config(name: str) -> TuneChatConfig:
    """Return a configuration that ships (`starchat`, `lora`, `small`), or one from a TOML file.

    Raises ConfigurationError.
    """
    file = FOLDER / f"{name}.toml"
    if not file.exists():
        file = Path(name)
    try:
        return TuneChatConfig(**tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in FOLDER.glob("*.toml")))
        raise ConfigurationError(
            f"There is no configuration {name!r}: name a TOML file, or one of {known}."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is no TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{file}: {field}: {first['msg']}.") from None
