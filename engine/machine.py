"""Facts about this machine: free memory, thread settings, and out-of-memory errors.

Importing this module does not import torch. The functions that ask torch import it when called.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import psutil


def configure_threads() -> None:
    """Let idle threads sleep, and back large tensors with huge pages.

    Call this before torch is first imported. A variable that the user has set keeps its value.

    By default the threads of OpenMP spin after each operation, on a core that an editor or a
    compiler may need. On a busy machine a matrix product then takes up to 20 times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@dataclass(frozen=True, slots=True)
class Memory:
    """Free memory in bytes, by kind of device."""

    cpu: int
    """Free main memory in bytes."""
    gpus: tuple[int, ...] = ()
    """Free bytes of each CUDA device, in order of the device index."""

    @property
    def largest_gpu(self) -> int:
        """Free bytes of the GPU with the most free memory; 0 without a GPU."""
        return max(self.gpus, default=0)


def free_memory() -> Memory:
    """Measure the free memory now. This imports torch, to ask the GPUs."""
    import torch

    cpu = psutil.virtual_memory().available
    if not torch.cuda.is_available():
        return Memory(cpu)
    gpus = tuple(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
    return Memory(cpu, gpus)


def used_memory() -> tuple[int, int]:
    """Return the bytes of main memory and of GPU memory that this process uses.

    The first number includes pages of model files, which the system drops when others need memory.
    """
    cpu = psutil.Process().memory_info().rss
    torch = sys.modules.get("torch")  # not imported yet: no GPU memory is used
    if torch is None or not torch.cuda.is_initialized():
        return cpu, 0
    return cpu, sum(torch.cuda.memory_reserved(each) for each in range(torch.cuda.device_count()))


def num_physical_cores() -> int:
    """Return the number of physical CPU cores, at least 1."""
    return psutil.cpu_count(logical=False) or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out. This imports torch."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # torch's CPU allocator raises a plain RuntimeError.
    message = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in message or "can't allocate memory" in message
    )


def format_bytes(size: float) -> str:
    """Return a size in bytes for a person to read, such as `1.5 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in ("B", "KB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
