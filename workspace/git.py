"""Runs git in a folder that is not trusted.

A repository's own configuration can name programs that git runs: monitors, hooks, text converters,
pagers, signature checkers, helpers of remotes. All of them are switched off here, on the command
line and in the environment, which have precedence over the repository. This is the only module
that runs git.

Sources: git-config(1), git(1) "ENVIRONMENT VARIABLES", gitattributes(5).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

DEFAULT_TIMEOUT_S = 20.0
_MAX_OUTPUT_BYTES = 64 << 20
_POLL_S = 0.05
_CHUNK_BYTES = 1 << 16

_SAFE_CONFIG = (
    "safe.bareRepository=explicit",  # a folder with the files of a repository is none
    "core.fsmonitor=",  # a program that reports changed files
    f"core.hooksPath={os.devnull}",
    "core.pager=cat",
    "core.sshCommand=false",
    "core.askPass=",
    "core.alternateRefsCommand=",
    "credential.helper=",
    "diff.external=",
    "diff.ignoreSubmodules=all",  # a submodule has a configuration of its own
    "log.showSignature=false",  # it runs gpg.program
    "protocol.allow=never",
    "submodule.recurse=false",
)
_SAFE_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # unlike protocol.NAME.allow, a repository cannot override it
    "GIT_ASKPASS": "",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # never write to the repository
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
NO_DIFF_PROGRAMS = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")
"""Options with which a command that shows differences runs no program of the repository."""


class GitError(Exception):
    """git is missing, failed, took too long or was stopped. The message is for the user."""


def list_files(
    folder: Path, *, untracked: bool, should_stop: Callable[[], bool] = lambda: False
) -> list[str]:
    """Return the paths, relative to a folder, of the files that git tracks in it.

    With `untracked` they include the files that git neither tracks nor ignores. Raises GitError,
    also if the folder is in no repository.
    """
    options = ["-co", "--exclude-standard"] if untracked else ["-c"]
    output = run_git(folder, "ls-files", "-z", *options, should_stop=should_stop)
    return [path for path in output.decode("utf-8", "replace").split("\0") if path]


def staged_diff(
    folder: Path, max_bytes: int, should_stop: Callable[[], bool] = lambda: False
) -> str:
    """Return the first `max_bytes` bytes of the diff of the staged changes. Raises GitError."""
    output = run_git(
        folder, "diff", "--cached", *NO_DIFF_PROGRAMS, max_bytes=max_bytes, should_stop=should_stop
    )
    return output.decode("utf-8", "replace")


def run_git(
    folder: Path,
    *arguments: str,
    max_bytes: int = _MAX_OUTPUT_BYTES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    should_stop: Callable[[], bool] = lambda: False,
) -> bytes:
    """Return the first `max_bytes` bytes that a git command writes to stdout.

    A command that shows differences needs the options in `NO_DIFF_PROGRAMS`. Commands that filter
    file contents or run hooks (`status`, `checkout`, `commit`) must not be run. Raises GitError.
    """
    command = _command(folder, arguments, timeout_s)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(os.environ),
            start_new_session=True,
        )
        output = bytearray()
        reader = threading.Thread(target=_read, args=(process, output, max_bytes), daemon=True)
        reader.start()
        try:
            _wait(reader, time.monotonic() + timeout_s, should_stop)
        finally:
            is_truncated = len(output) > max_bytes
            _end(process, must_kill=reader.is_alive() or is_truncated)
            reader.join()
        if process.returncode != 0 and not is_truncated:
            errors.seek(0)
            raise GitError(_first_line(errors.read(_CHUNK_BYTES)))
    return bytes(output[:max_bytes])


def _command(folder: Path, arguments: tuple[str, ...], timeout_s: float) -> list[str]:
    git = _find_program("git", folder)
    if git is None:
        raise GitError(
            "git is not installed, not on the PATH of the editor, or inside of this folder."
        )
    settings = [part for setting in _SAFE_CONFIG for part in ("-c", setting)]
    command = [git, "--no-pager", *settings, "-C", str(folder), *arguments]
    # git blocks for ever at a FIFO named .gitignore. `timeout` ends it also after this process was
    # killed.
    if (timeout := _find_program("timeout", folder)) is not None and sys.platform != "win32":
        return [timeout, "-s", "KILL", f"{timeout_s + 1:.0f}", *command]
    return command


def _find_program(name: str, folder: Path) -> str | None:
    """Return the absolute path of a program outside of a folder.

    A relative entry of PATH could lead into the folder.
    """
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if os.path.isabs(entry) and (program := shutil.which(name, path=entry)) is not None:
            real_path = Path(os.path.realpath(program))
            if not real_path.is_relative_to(os.path.realpath(folder)):
                return program
    return None


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the inherited environment without variables that change what git does."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("GIT_")}
    return kept | _SAFE_ENVIRONMENT


def _read(process: subprocess.Popen[bytes], output: bytearray, max_bytes: int) -> None:
    """Append the output until its end, or until it has more than `max_bytes` bytes."""
    assert process.stdout is not None
    while len(output) <= max_bytes and (data := process.stdout.read1(_CHUNK_BYTES)):  # type: ignore[attr-defined]
        output += data


def _wait(reader: threading.Thread, deadline: float, should_stop: Callable[[], bool]) -> None:
    """Wait for the end of the output; raises GitError after the deadline or if it should stop."""
    while reader.is_alive():
        reader.join(_POLL_S)
        if should_stop():
            raise GitError("git was stopped.")
        if time.monotonic() > deadline and reader.is_alive():
            raise GitError("git took too long and was stopped.")


def _end(process: subprocess.Popen[bytes], *, must_kill: bool) -> None:
    """Wait for the process, and for none of its children: they are killed."""
    if must_kill:
        _kill(process)
    try:
        process.wait(_POLL_S * 20)
    except subprocess.TimeoutExpired:  # it has closed its output but goes on
        _kill(process)
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _first_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return f"git: {lines[0]}" if lines else "git failed."
