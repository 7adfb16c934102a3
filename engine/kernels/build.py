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
from engine.private_files import NotPrivateError, make_private_folder, read_private_file

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
            self._result.set_result(load_kernels())
        except (NoKernelsError, OSError, subprocess.SubprocessError, AttributeError) as error:
            log.warning("no kernels, decoding is slower: %s", error)
            self._result.set_result(None)


def load_kernels(folder: Path | None = None) -> Native:
    """Return the kernels, from the library in `folder` or from one that is compiled now.

    A library is used only if its name has the hash of its contents and if no other user could have
    written it. Any other library is compiled again, and so is one that cannot be loaded. If
    `folder` cannot be used, the library lies in a temporary folder until it is loaded. (A library
    that another program of the same user wrote, with the right hash, is loaded: such a program can
    do everything that the library could.)

    Raises NoKernelsError without a compiler or if compiling fails, and OSError or
    subprocess.SubprocessError if files or the compiler cannot be used.
    """
    folder = folder or platformdirs.user_cache_path("starcoder-lsp") / "kernels"
    compiler = _find_compiler()
    try:
        had_other_writers = make_private_folder(folder)
        if had_other_writers:
            _remove_all(folder)
        return _load_or_compile(compiler, folder)
    except OSError as error:
        log.warning("compiled kernels cannot be kept in %s: %s", folder, error.strerror or error)
    with tempfile.TemporaryDirectory(prefix="starcoder-lsp-kernels-") as scratch:
        return Native(_compiled(compiler, Path(scratch), _cache_key(compiler)))


def _find_compiler() -> str:
    candidates = [shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")]
    compiler = next((path for path in candidates if path), None)
    if compiler is None or sys.platform == "win32":
        raise NoKernelsError("there is no C++ compiler: install g++ or clang++")
    return compiler


def _load_or_compile(compiler: str, folder: Path) -> Native:
    key = _cache_key(compiler)
    for file in sorted(folder.glob(f"{key}-*.so")):
        try:
            _check_library(file)
            return Native(file)
        except (OSError, AttributeError) as error:
            log.warning("the compiled kernels are damaged and are compiled again: %s", error)
            file.unlink(missing_ok=True)
    return Native(_compiled(compiler, folder, key))


def _remove_all(folder: Path) -> None:
    for file in folder.glob("*.so"):
        file.unlink(missing_ok=True)


def _check_library(file: Path) -> None:
    """Raise OSError unless a library is an unchanged file that only this user can write.

    Loading a truncated library would end the process with a signal.
    """
    if file.name != _library_name(file.stem.partition("-")[0], read_private_file(file)):
        raise NotPrivateError(file, "has other contents than its name says")


def _library_name(key: str, content: bytes) -> str:
    """Return a file name that says for what the library is, and the hash of its contents."""
    return f"{key}-{hashlib.sha256(content).hexdigest()}.so"


def _compiled(compiler: str, folder: Path, key: str) -> Path:
    """Compile the library and return its file in `folder`, where it appears as a whole."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        library = _compile(compiler, Path(scratch))
        library.chmod(0o700)
        file = folder / _library_name(key, library.read_bytes())
        with library.open("rb") as content:
            os.fsync(content.fileno())  # else the new name may outlive the contents
        os.replace(library, file)
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
