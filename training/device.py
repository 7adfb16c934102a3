"""Name and peak rate of the device that a run uses."""

from __future__ import annotations

import platform

import torch

_PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Peak rates of dense bfloat16 matrix products, from the data sheets, by a part of the name."""


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the kind of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()})"


def peak_flops(device: torch.device) -> float | None:
    """Return the operations per second of dense bfloat16 matrix products, if they are known."""
    name = device_name(device)
    return next((rate for part, rate in _PEAK_FLOPS.items() if part in name), None)
