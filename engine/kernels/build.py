"""Compiles the kernels for this machine's processor, once, into the user's cache directory.

The kernels link against the OpenMP runtime that ships with torch. With two runtimes in one process,
the threads of one would spin while the threads of the other compute.
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
from pathlib import Path

import platformdirs
import torch

from engine.kernels.native import Native

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent
_TIMEOUT_S = 300


class NoKernelsError(Exception):
    """The kernels cannot be compiled on this machine; the message says why."""


class KernelBuild:
    """Compiles and loads the kernels on a background thread.

    Everything also works without the kernels, in torch's own operations. So callers ask `ready` and
    use torch until the kernels are compiled.
    """

    def __init__(self) -> None:
        self._result: Future[Native | None] = Future()
        self._lock = threading.Lock()
        self._is_started = False

    def start(self) -> None:
        """Start compiling, unless a call has started it before."""
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
        threading.Thread(target=self._run, name="kernels", daemon=True).start()

    def ready(self) -> Native | None:
        """Return the kernels, or None while they are being compiled or if they cannot be."""
        if self._result.done():
            return self._result.result()
        self.start()
        return None

    def wait(self, timeout: float | None = None) -> Native | None:
        """Return the kernels when they are compiled, or None if they cannot be compiled.

        Raises TimeoutError after `timeout` seconds.
        """
        self.start()
        return self._result.result(timeout)

    def _run(self) -> None:
        try:
            self._result.set_result(Native(library()))
        except (NoKernelsError, OSError, subprocess.SubprocessError, AttributeError) as error:
            log.warning("no kernels, decoding is slower: %s", error)
            self._result.set_result(None)


def library(folder: Path | None = None) -> Path:
    """Return the compiled library, compiling it if `folder` does not contain it yet.

    Raises NoKernelsError without a compiler or if compiling fails, and OSError or
    subprocess.SubprocessError if files or the compiler cannot be used.
    """
    folder = folder or platformdirs.user_cache_path("starcoder-lsp") / "kernels"
    candidates = [shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")]
    compiler = next((path for path in candidates if path), None)
    if compiler is None or sys.platform == "win32":
        raise NoKernelsError("there is no C++ compiler: install g++ or clang++")
    file = folder / f"{_cache_key(compiler)}.so"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            os.replace(_compile(compiler, Path(scratch)), file)
    return file


def _compile(compiler: str, scratch: Path) -> Path:
    object_file, library = scratch / "step.o", scratch / "step.so"
    compile_flags, link_flags = _openmp_flags()
    source = str(_SOURCES / "step.cpp")
    _run(compiler, *_flags(), *compile_flags, "-c", source, "-o", str(object_file))
    _run(compiler, "-shared", str(object_file), *link_flags, "-o", str(library))
    return library


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise NoKernelsError(f"{' '.join(command)}: {done.stderr[-2000:]}")


def _flags() -> list[str]:
    native = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
    return ["-std=c++17", "-O3", native, "-fPIC", "-Wno-psabi"]


def _openmp_flags() -> tuple[list[str], list[str]]:
    """Return the flags that compile for and link with torch's own OpenMP runtime."""
    folder = Path(torch.__file__).parent / "lib"
    if gomp := sorted(folder.glob("libgomp*.so*")):
        return ["-fopenmp"], [str(gomp[0])]
    if omp := sorted(folder.glob("libomp*.dylib")):  # Apple's Clang ships without OpenMP
        return ["-Xclang", "-fopenmp"], [str(omp[0])]
    return [], []  # the kernels use one thread


def _cache_key(compiler: str) -> str:
    """Return a hash of what the library depends on: sources, compiler, flags, torch, processor."""
    digest = hashlib.sha256()
    for source in [*sorted(_SOURCES.glob("*.h")), _SOURCES / "step.cpp"]:
        digest.update(source.read_bytes())
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    digest.update(version.stdout)
    digest.update(repr((_flags(), _openmp_flags(), torch.__version__, _processor())).encode())
    return digest.hexdigest()[:20]


def _processor() -> str:
    """Return what identifies the processor's instructions.

    Machines with different processors may share one home directory.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    fields = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(fields)}))
