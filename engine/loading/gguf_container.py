"""Reads the container of a GGUF file: its metadata and where its tensors are. Imports no torch.

The format is described in ggml's docs/gguf.md; versions 2 and 3 have the same layout. Every length
in the file is checked against the bytes that follow it, so a damaged or hostile file causes neither
a large allocation nor a long loop. (The reader of the `gguf` package does not check them.)
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NoReturn

from engine.errors import ModelNotFoundError, UnsupportedModelError
from engine.loading.gguf_kinds import KINDS, Kind

MAX_STRINGS = 1 << 22
"""Largest number of strings in one array; the largest vocabularies have a tenth of it."""
_MAX_ENTRIES = 1 << 16
_MAX_DIMENSIONS = 4
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY, _FLOAT32 = 8, 9, 6
_SCALARS = {
    type_: struct.Struct("<" + code)
    for type_, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Strings:
    """An array of strings in the metadata, decoded when it is read."""

    buffer: mmap.mmap
    offset: int
    count: int

    def read(self) -> list[str]:
        """Return the strings; raises UnicodeDecodeError if one is not UTF-8."""
        strings, offset, buffer = [], self.offset, self.buffer
        for _ in range(self.count):
            start = offset + 8
            offset = start + _U64.unpack_from(buffer, offset)[0]
            strings.append(buffer[start:offset].decode("utf-8"))
        return strings


Value = bool | int | float | str | list[int] | list[float] | list[bool] | Strings
"""A value in the metadata."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor is."""

    buffer: mmap.mmap
    offset: int
    """First byte in the buffer."""
    shape: tuple[int, ...]
    """Sizes with the fastest dimension last, as in torch (the file has the opposite order)."""
    kind: Kind

    @property
    def elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Size in the file, in bytes."""
        return self.elements // self.kind.block * self.kind.size


@dataclass(frozen=True, slots=True)
class Container:
    """The contents of one GGUF file."""

    metadata: dict[str, Value]
    tensors: dict[str, StoredTensor]


def is_gguf(path: Path) -> bool:
    """Return whether a file starts like a GGUF file."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_container(path: Path) -> Container:
    """Return the metadata and tensors of a GGUF file, which stays memory-mapped while in use.

    Raises UnsupportedModelError for a file that is damaged, truncated, of another version, or has
    tensors in an unsupported format, and ModelNotFoundError if it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:  # an empty file
        raise UnsupportedModelError(f"{path} is empty. Download it again.") from None
    except OSError as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error.strerror}.") from None
    return _Parser(path, buffer).parse()


class _Parser:
    """Reads values one after the other."""

    def __init__(self, path: Path, buffer: mmap.mmap) -> None:
        self._path = path
        self._buffer = buffer
        self._size = len(buffer)
        self._offset = 0

    def parse(self) -> Container:
        self._check_version()
        num_tensors, num_values = self._u64(), self._u64()
        if max(num_tensors, num_values) > _MAX_ENTRIES:
            self._fail("it claims to have more than 65,536 entries")
        metadata: dict[str, Value] = {}
        for _ in range(num_values):
            key = self._string()
            if key in metadata:
                self._fail("a key occurs twice in its metadata")
            metadata[key] = self._value(self._u32())
        records = [self._record() for _ in range(num_tensors)]
        return Container(metadata, self._place(records, metadata))

    def _fail(self, problem: str) -> NoReturn:
        raise UnsupportedModelError(
            f"{self._path} is not a readable GGUF file: {problem}. Download it again, or choose "
            "another file of the model."
        )

    def _check_version(self) -> None:
        if self._take(4) != _MAGIC:
            self._fail("it does not start with the letters GGUF")
        version = self._u32()
        if version & 0xFFFF == 0:
            self._fail("its numbers are big-endian, and only little-endian files are supported")
        if version not in _VERSIONS:
            self._fail(f"its version is {version}, and only versions 2 and 3 are supported")

    def _skip(self, count: int) -> int:
        start = self._offset
        if count > self._size - start:
            self._fail("it ends too early")
        self._offset = start + count
        return start

    def _take(self, count: int) -> bytes:
        start = self._skip(count)
        return self._buffer[start : self._offset]

    def _u32(self) -> int:
        return int(_U32.unpack_from(self._buffer, self._skip(4))[0])

    def _u64(self) -> int:
        return int(_U64.unpack_from(self._buffer, self._skip(8))[0])

    def _string(self) -> str:
        try:
            return self._take(self._u64()).decode("utf-8")
        except UnicodeDecodeError:
            self._fail("a text in its metadata is not UTF-8")

    def _value(self, type_: int) -> Value:
        if type_ == _STRING:
            return self._string()
        if type_ == _ARRAY:
            return self._array(self._u32(), self._u64())
        if type_ not in _SCALARS:
            self._fail("a value in its metadata has an unknown type")
        scalar = _SCALARS[type_]
        value: float = scalar.unpack_from(self._buffer, self._skip(scalar.size))[0]
        return _shortest(value) if type_ == _FLOAT32 else value

    def _array(self, type_: int, count: int) -> Value:
        if type_ == _STRING:
            return self._strings(count)
        if type_ not in _SCALARS:
            self._fail("an array in its metadata has an unsupported type")
        scalar = _SCALARS[type_]
        start = self._skip(count * scalar.size)
        if count > MAX_STRINGS:
            self._fail("an array in its metadata is too long")
        return list(struct.unpack_from(f"<{count}{scalar.format[1:]}", self._buffer, start))

    def _strings(self, count: int) -> Strings:
        start = offset = self._offset
        last = self._size - 8
        if count > MAX_STRINGS:
            self._fail("an array in its metadata is too long")
        for _ in range(count):
            if offset > last:
                self._fail("it ends too early")
            offset += 8 + _U64.unpack_from(self._buffer, offset)[0]
        self._offset = start
        self._skip(offset - start)
        return Strings(self._buffer, start, count)

    def _record(self) -> tuple[str, tuple[int, ...], Kind, int]:
        name = self._string()
        num_dimensions = self._u32()
        if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
            self._fail("a tensor has no or too many dimensions")
        shape = tuple(reversed([self._u64() for _ in range(num_dimensions)]))
        type_, offset = self._u32(), self._u64()
        if type_ not in KINDS:
            supported = ", ".join(kind.name for kind in KINDS.values())
            raise UnsupportedModelError(
                f"{self._path} has tensors in a format that is not supported (ggml type {type_}). "
                f"Choose a file in one of these formats: {supported}."
            )
        kind = KINDS[type_]
        if not all(shape) or shape[-1] % kind.block:
            self._fail(f"a tensor has a size that its format {kind.name} does not allow")
        return name, shape, kind, offset

    def _place(
        self, records: list[tuple[str, tuple[int, ...], Kind, int]], metadata: dict[str, Value]
    ) -> dict[str, StoredTensor]:
        """Return the tensors; their data starts after the records, at an aligned offset."""
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 8 or alignment & (alignment - 1):
            self._fail("the alignment of its tensors is not a power of two from 8")
        start = -(-self._offset // alignment) * alignment
        tensors: dict[str, StoredTensor] = {}
        for name, shape, kind, offset in records:
            tensor = StoredTensor(self._buffer, start + offset, shape, kind)
            if name in tensors or offset % alignment:
                self._fail("a tensor occurs twice or is not aligned")
            if tensor.offset + tensor.num_bytes > self._size:
                self._fail("it ends too early")
            tensors[name] = tensor
        if sum(tensor.num_bytes for tensor in tensors.values()) > max(0, self._size - start):
            self._fail("its tensors overlap")
        return tensors


def _shortest(value: float) -> float:
    """Return the shortest decimal number with the same float32: 1e-05, not 9.99999975e-06."""
    for digits in range(6, 9):
        candidate = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", candidate) == struct.pack("<f", value):
                return candidate
        except OverflowError:
            continue
    return value
