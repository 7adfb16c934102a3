"""Run a program that checks Triton's kernels in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def run_triton_program(module: str) -> dict[str, Any]:
    """Return the results of a program that prints one JSON object in its last line.

    Without a GPU it runs in Triton's interpreter, which must be chosen before Triton is imported.
    """
    pytest.importorskip("triton", reason="optional: needs Triton")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results
