"""A GGUF file as a model: configuration, tokenizer, chat template and weights.

GGUF is the format of llama.cpp, Ollama and LM Studio. This module presents a file as transformers
would present the same model, so that the rest of the engine does not know the format. torch is
imported only by `read`.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelNotFoundError, UnsupportedModelError
from engine.loading.gguf_config import make_config
from engine.loading.gguf_container import Container, StoredTensor, Value, is_gguf, read_container
from engine.loading.gguf_grids import is_4_bit, read_grids
from engine.loading.gguf_metadata import Metadata
from engine.loading.gguf_names import ROPE_FACTORS, named_tensors
from engine.loading.gguf_tensors import read_tensor
from engine.loading.gguf_tokenizer import make_tokenizer

if TYPE_CHECKING:
    import torch

    from engine.network.quantise import Grids

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_MAX_PARTS = 1000
_MIN_WIDE_BITS = 12
"""Mean size of a weight, in bits, from which a file's weights have not been quantised."""


class GgufFile:
    """A GGUF file, or the first file of a model that was split into several."""

    def __init__(self, path: Path) -> None:
        """Read the metadata and check that every tensor of the model is there.

        Raises UnsupportedModelError for a file that is damaged, truncated or of a kind that is not
        supported, and ModelNotFoundError if the file or another part of the model is missing.
        """
        containers = [read_container(part) for part in gguf_parts(path)]
        first = containers[0]
        _check_parts(path, containers)
        tensors = {name: tensor for each in containers for name, tensor in each.tensors.items()}
        self._metadata = Metadata(first.metadata, str(path))
        self._config = make_config(self._metadata, tensors, _rope_factors(path, tensors))
        self._tensors = named_tensors(self._config, tensors, str(path))

    def config(self) -> dict[str, Any]:
        """Return the contents of config.json for the same model.

        On a CPU weights that have few bits in the file use 4 bits if they keep their values in
        them, otherwise 8 bits, in which they change little more (`cpu_dtype`).
        """
        config = dict(self._config)
        if self.bits < _MIN_WIDE_BITS:
            config["cpu_dtype"] = "int4" if self.is_4_bit else "int8"
        return config

    def tokenizer_json(self) -> str:
        """Return the text of a tokenizer.json with the same tokens and the same behaviour.

        Raises UnsupportedModelError for a tokenizer that is damaged or of a kind that is not
        supported.
        """
        return make_tokenizer(self._metadata)

    def chat_template(self) -> str:
        """Return the model's own chat template, empty if it has none."""
        return self._metadata.text("tokenizer.chat_template", "")

    def names(self) -> frozenset[str]:
        """Return the names of the tensors, as in the state dict of transformers' model."""
        return frozenset(self._tensors)

    def read(self, name: str) -> torch.Tensor:
        """Return a tensor in new memory: float16 and bfloat16 as stored, any other in float32.

        Raises KeyError for a name that is not in `names`.
        """
        return read_tensor(self._tensors[name])

    def read_grids(self, name: str) -> Grids | None:
        """Return the grids of a matrix in 4 bits, None for a tensor in another format.

        Raises KeyError for a name that is not in `names`.
        """
        return read_grids(self._tensors[name])

    @property
    def is_4_bit(self) -> bool:
        """Whether most weights have 4 bits and can keep their values in the engine's 4 bits."""
        return is_4_bit(self.kind)

    def kind_of(self, name: str) -> str:
        """Return the number format in which a tensor is stored, such as `Q4_K`."""
        return self._tensors[name].stored.kind.name

    @property
    def kind(self) -> str:
        """The number format of most weights, such as `Q4_K`."""
        counts: Counter[str] = Counter()
        for tensor in self._tensors.values():
            counts[tensor.stored.kind.name] += tensor.stored.elements
        return counts.most_common(1)[0][0]

    @property
    def bits(self) -> float:
        """Mean size of a weight, in bits."""
        return 8 * self.num_bytes / self.parameters

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(tensor.stored.elements for tensor in self._tensors.values())

    @property
    def num_bytes(self) -> int:
        """Size of all weights in the file, in bytes."""
        return sum(tensor.stored.num_bytes for tensor in self._tensors.values())


def gguf_in(path: Path) -> Path | None:
    """Return the GGUF file that a model's path names, None if the path names something else.

    The path is a file, with any name (Ollama's have no suffix), or a directory with one GGUF model
    and no safetensors. Raises UnsupportedModelError for a directory with several such models.
    """
    if path.is_file():
        return path if path.suffix == ".gguf" or is_gguf(path) else None
    if any(path.glob("*.safetensors")):
        return None
    files = sorted(filter(is_model_name, path.glob("*.gguf")))
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:10])
        raise UnsupportedModelError(
            f"{path} contains several models. Set the path of one of these files: {names}."
        )
    return files[0] if files else None


def is_model_name(file: Path) -> bool:
    """Return whether a file can be a model by its name.

    Later parts of a model and the image encoder of one (`mmproj`) are not.
    """
    match = _PART.fullmatch(file.name)
    is_later_part = match is not None and int(match[2]) > 1
    return file.suffix == ".gguf" and not is_later_part and "mmproj" not in file.name.lower()


def gguf_parts(path: Path) -> list[Path]:
    """Return the files of a model by the name of its first, which is `NAME-00001-of-00003.gguf`.

    A file with any other name is the only one. Raises ModelNotFoundError if one is missing, and
    UnsupportedModelError if `path` is not the first.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    stem, index, count = match[1], int(match[2]), int(match[3])
    if index != 1 or not 1 <= count <= _MAX_PARTS:
        raise UnsupportedModelError(
            f"{path} is not the first part of a model. Choose {stem}-00001-of-{match[3]}.gguf."
        )
    parts = [path.with_name(f"{stem}-{each:05}-of-{match[3]}.gguf") for each in range(1, count + 1)]
    for part in parts:
        if not part.is_file():
            raise ModelNotFoundError(f"There is no file {part}. Download all parts of the model.")
    return parts


def _check_parts(path: Path, containers: list[Container]) -> None:
    """Check that the metadata of each file names its place among the parts."""
    count: Value = containers[0].metadata.get("split.count", 1)
    if count not in (0, 1, len(containers)):
        raise UnsupportedModelError(
            f"{path} is one part of a model that was split. Its parts must be in one folder, with "
            "names that end in -00001-of-00002.gguf and so on. Or choose a file that is not split."
        )
    for index, container in enumerate(containers):
        if container.metadata.get("split.no", index) != index:
            raise UnsupportedModelError(
                f"The parts of {path} do not belong together. Download all parts again."
            )


def _rope_factors(path: Path, tensors: dict[str, StoredTensor]) -> list[float] | None:
    stored = tensors.get(ROPE_FACTORS)
    if stored is None:
        return None
    if stored.kind.name != "F32" or len(stored.shape) != 1 or stored.elements > 1 << 16:
        raise UnsupportedModelError(
            f"{path} is damaged: its tensor {ROPE_FACTORS} has an unusual form. Download it again."
        )
    return list(struct.unpack_from(f"<{stored.elements}f", stored.buffer, stored.offset))
