"""Compiles the kernels for this very processor, once, into the user's cache directory.

They link against the OpenMP runtime that torch brought along: two of them in one process would each
have threads that spin while the other's work.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import platformdirs
import torch

from engine.kernels.native import Native

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent
_TIMEOUT_S = 300


class _NoKernelsError(Exception):
    """Why there are none."""


@cache
def kernels() -> Future[Native | None]:
    """Begin to make the kernels, in the background; the result is None where they cannot be made.

    Without them everything works, in torch's own operations.
    """
    made: Future[Native | None] = Future()

    def run() -> None:
        try:
            made.set_result(Native(library()))
        except (_NoKernelsError, OSError, subprocess.SubprocessError, AttributeError) as error:
            log.warning("no kernels, decoding is slower: %s", error)
            made.set_result(None)

    threading.Thread(target=run, name="kernels", daemon=True).start()
    return made


def ready() -> Native | None:
    """Return the kernels if they are there by now."""
    made = kernels()
    return made.result() if made.done() else None


def library(folder: Path | None = None) -> Path:
    """Return the compiled library, compiling it if it is not in `folder` yet.

    Raises OSError, subprocess.SubprocessError or, without a compiler, an error that says so.
    """
    folder = folder or platformdirs.user_cache_path("starcoder-lsp") / "kernels"
    found = [shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")]
    compiler = next((path for path in found if path), None)
    if compiler is None or sys.platform == "win32":
        raise _NoKernelsError("there is no C++ compiler (g++ or clang++)")
    file = folder / f"{_key(compiler)}.so"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            os.replace(_compile(compiler, Path(scratch)), file)
    return file


def _compile(compiler: str, scratch: Path) -> Path:
    made, library = scratch / "step.o", scratch / "step.so"
    compile_flags, link_flags = _openmp()
    _run(compiler, *_flags(), *compile_flags, "-c", str(_SOURCES / "step.cpp"), "-o", str(made))
    _run(compiler, "-shared", str(made), *link_flags, "-o", str(library))
    return library


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise _NoKernelsError(f"{' '.join(command)}: {done.stderr[-2000:]}")


def _flags() -> list[str]:
    native = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
    return ["-std=c++17", "-O3", native, "-fPIC", "-Wno-psabi"]


def _openmp() -> tuple[list[str], list[str]]:
    """Return the flags to compile and to link with torch's own OpenMP runtime."""
    folder = Path(torch.__file__).parent / "lib"
    if gomp := sorted(folder.glob("libgomp*.so*")):
        return ["-fopenmp"], [str(gomp[0])]
    if omp := sorted(folder.glob("libomp*.dylib")):  # Apple's Clang lacks it
        return ["-Xclang", "-fopenmp"], [str(omp[0])]
    return [], []  # one thread


def _key(compiler: str) -> str:
    """Return a name for what is compiled: of what, by what, for what."""
    digest = hashlib.sha256()
    for source in [*sorted(_SOURCES.glob("*.h")), _SOURCES / "step.cpp"]:
        digest.update(source.read_bytes())
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    digest.update(version.stdout)
    digest.update(repr((_flags(), _openmp(), torch.__version__, _processor())).encode())
    return digest.hexdigest()[:20]


def _processor() -> str:
    """Return what its instructions depend on: a home directory may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
