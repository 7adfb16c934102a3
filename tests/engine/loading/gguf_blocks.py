"""Expands blocks of GGUF's formats one weight at a time, as `dequantize_row_*` in ggml-quants.c."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def half(data: bytes, offset: int) -> float:
    return float(struct.unpack_from("<e", data, offset)[0])


def signed(value: int) -> int:
    return value - 256 if value > 127 else value


def scale_and_minimum(scales: bytes, index: int) -> tuple[int, int]:
    if index < 4:
        return scales[index] & 63, scales[index + 4] & 63
    high, low = scales[index + 4], scales[index - 4]
    return (high & 15) | (low >> 6) << 4, (high >> 4) | (scales[index] >> 6) << 4


def q4_k(data: bytes) -> Iterator[float]:
    d, minimum, scales, quants = half(data, 0), half(data, 2), data[4:16], data[16:]
    for group in range(8):
        scale, offset = scale_and_minimum(scales, group)
        for lane in range(32):
            quant = quants[group // 2 * 32 + lane] >> (4 * (group % 2)) & 15
            yield d * scale * quant - minimum * offset


def q5_k(data: bytes) -> Iterator[float]:
    d, minimum, scales, high, quants = (
        half(data, 0),
        half(data, 2),
        data[4:16],
        data[16:48],
        data[48:],
    )
    for group in range(8):
        scale, offset = scale_and_minimum(scales, group)
        for lane in range(32):
            quant = quants[group // 2 * 32 + lane] >> (4 * (group % 2)) & 15
            quant += 16 * (high[lane] >> group & 1)
            yield d * scale * quant - minimum * offset


def q6_k(data: bytes) -> Iterator[float]:
    low, high, scales, d = data[:128], data[128:192], data[192:208], half(data, 208)
    for index in range(256):
        half_, group, lane = index // 128, index % 128 // 32, index % 32
        quant = low[64 * half_ + 32 * (group % 2) + lane] >> (4 * (group // 2)) & 15
        quant |= (high[32 * half_ + lane] >> (2 * group) & 3) << 4
        yield d * signed(scales[index // 16]) * (quant - 32)


def q2_k(data: bytes) -> Iterator[float]:
    scales, quants, d, minimum = data[:16], data[16:80], half(data, 80), half(data, 82)
    for index in range(256):
        half_, group, lane = index // 128, index % 128 // 32, index % 32
        quant = quants[32 * half_ + lane] >> (2 * group) & 3
        scale = scales[index // 16]
        yield d * (scale & 15) * quant - minimum * (scale >> 4)


def q3_k(data: bytes) -> Iterator[float]:
    mask, quants, scales, d = data[:32], data[32:96], data[96:108], half(data, 108)
    for index in range(256):
        half_, group, lane = index // 128, index % 128 // 32, index % 32
        quant = quants[32 * half_ + lane] >> (2 * group) & 3
        quant -= 0 if mask[lane] >> (4 * half_ + group) & 1 else 4
        number = index // 16
        low = scales[number] & 15 if number < 8 else scales[number - 8] >> 4
        high = scales[8 + number % 4] >> (2 * (number // 4)) & 3
        yield d * ((low | high << 4) - 32) * quant


def iq4_nl(data: bytes) -> Iterator[float]:
    d, quants = half(data, 0), data[2:]
    yield from (d * VALUES[quant & 15] for quant in quants)
    yield from (d * VALUES[quant >> 4] for quant in quants)


def iq4_xs(data: bytes) -> Iterator[float]:
    d, high, low, quants = half(data, 0), data[2] | data[3] << 8, data[4:8], data[8:]
    for group in range(8):
        scale = (low[group // 2] >> (4 * (group % 2)) & 15) | (high >> (2 * group) & 3) << 4
        part = quants[16 * group : 16 * group + 16]
        yield from (d * (scale - 32) * VALUES[quant & 15] for quant in part)
        yield from (d * (scale - 32) * VALUES[quant >> 4] for quant in part)


EXPAND: dict[str, tuple[Callable[[bytes], Iterator[float]], tuple[int, ...]]] = {
    "Q2_K": (q2_k, (80, 82)),
    "Q3_K": (q3_k, (108,)),
    "Q4_K": (q4_k, (0, 2)),
    "Q5_K": (q5_k, (0, 2)),
    "Q6_K": (q6_k, (208,)),
    "IQ4_NL": (iq4_nl, (0,)),
    "IQ4_XS": (iq4_xs, (0,)),
}
"""Per format the function that expands a block, and where the block has float16 scales."""
