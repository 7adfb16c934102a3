"""The memory of a project: how fast it is built and searched, and how much it takes.

The text is that of the Python packages that are installed. A key press stores the text of a document
with 50,000 lines. While the memory is built, the event loop of the same process sleeps for 1 ms
again and again; the delay is how much later than that it wakes up. A search runs in a thread of its
own time, so other programs on the machine do not count. Quote the size with each number.
"""

from __future__ import annotations

import asyncio
import random
import sysconfig
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, machine, percentile, write_json
from fim.memory.project_memory import ProjectMemory

_MAX_FILE_CHARACTERS = 200_000
_LONG_DOCUMENT = "value = other_value + 1\n" * 50_000
_NUM_SEARCHES = 400
