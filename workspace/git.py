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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from workspace.repository import default_excludes_file, find_repository

DEFAULT_TIMEOUT_S = 20.0
_MAX_OUTPUT_BYTES = 64 << 20
_POLL_S = 0.05
_CHUNK_BYTES = 1 << 16
_NOTHING_FOUND = 1
"""Exit status of `check-ignore` and `config` for an answer without entries."""

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


_NO_REPOSITORY = ("not a git repository", "cannot use bare repository")
"""Messages of git for a folder without a repository that may be used; LC_ALL fixes the language."""


class GitError(Exception):
    """git is missing, failed, took too long or was stopped. The message is for the user."""


class NoRepositoryError(GitError):
    """A folder is not in the working tree of a repository: in none, in a bare one, or in `.git`."""


def list_files(
    folder: Path, *, untracked: bool, should_stop: Callable[[], bool] = lambda: False
) -> list[str]:
    """Return the paths, relative to a folder, of the files that git tracks in it.

    With `untracked` they include the files that git neither tracks nor ignores. Raises GitError,
    also if the folder is in no repository.
    """
    options = ["-co", "--exclude-standard"] if untracked else ["-c"]
    settings = _ignore_settings(folder, DEFAULT_TIMEOUT_S, should_stop) if untracked else ()
    output = run_git(folder, "ls-files", "-z", *options, settings=settings, should_stop=should_stop)
    return [path for path in output.decode("utf-8", "replace").split("\0") if path]


def ignored_paths(
    folder: Path, paths: Iterable[str], *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> set[str]:
    """Return those of some paths, relative to a folder without links, that git ignores.

    A tracked file is not ignored. The paths need not exist. Raises GitError, also if the folder is
    in no repository.
    """
    # `check-ignore` takes no literal pathspecs; after "./", no character has a meaning for it. With
    # its index it would take a tracked `i.ts` for the file `[id].ts`.
    content = b"".join(b"./" + os.fsencode(path) + b"\0" for path in paths)
    output = run_git(
        folder,
        *("check-ignore", "--no-index", "--stdin", "-z"),
        settings=_ignore_settings(folder, timeout_s, lambda: False),
        content=content,
        statuses=(0, _NOTHING_FOUND),
        timeout_s=timeout_s,
        variables={"GIT_LITERAL_PATHSPECS": "0"},
    )
    matching = {os.fsdecode(path.removeprefix(b"./")) for path in _entries(output)}
    if not matching:
        return matching
    output = run_git(folder, "ls-files", "-z", "-c", "--", *sorted(matching), timeout_s=timeout_s)
    return matching - set(map(os.fsdecode, _entries(output)))


def _entries(output: bytes) -> list[bytes]:
    return [entry for entry in output.split(b"\0") if entry]


def _ignore_settings(
    folder: Path, timeout_s: float, should_stop: Callable[[], bool]
) -> tuple[str, ...]:
    """Return the setting of the user's excludes file, in place of one that the repository names.

    The user may choose it for some folders only (`includeIf`), so git is asked in this folder.
    """
    arguments = ("config", "-z", "--show-scope", "--get-all", "core.excludesFile")
    try:
        output = run_git(
            folder,
            *arguments,
            statuses=(0, _NOTHING_FOUND),
            timeout_s=timeout_s,
            should_stop=should_stop,
        )
    except GitError:  # git before 2.26 does not know --show-scope
        output = b""
    parts = [os.fsdecode(part) for part in output.split(b"\0")[:-1]]
    values = [
        value
        for scope, value in zip(parts[::2], parts[1::2], strict=False)
        if scope in ("system", "global")
    ]
    file = os.path.expanduser(values[-1]) if values else default_excludes_file()
    return (f"core.excludesFile={file}",)


def staged_diff(
    folder: Path, max_bytes: int, should_stop: Callable[[], bool] = lambda: False
) -> str:
    """Return the first `max_bytes` bytes of the diff of the staged changes.

    Raises GitError, also if the folder is not in the working tree of a repository.
    """
    # Elsewhere `git diff` compares two files, and complains about its options.
    answer = run_git(folder, "rev-parse", "--is-inside-work-tree", should_stop=should_stop)
    if answer.strip() != b"true":
        raise NoRepositoryError(f"{folder} belongs to git itself: it is not in a working tree.")
    output = run_git(
        folder, "diff", "--cached", *NO_DIFF_PROGRAMS, max_bytes=max_bytes, should_stop=should_stop
    )
    return output.decode("utf-8", "replace")


def run_git(
    folder: Path,
    *arguments: str,
    settings: Sequence[str] = (),
    content: bytes = b"",
    statuses: Sequence[int] = (0,),
    variables: Mapping[str, str] = MappingProxyType({}),
    max_bytes: int = _MAX_OUTPUT_BYTES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    should_stop: Callable[[], bool] = lambda: False,
) -> bytes:
    """Return the first `max_bytes` bytes that a git command writes to stdout.

    The command reads `content` from stdin. It has failed if its exit status is not in `statuses`.
    `variables` change its environment. A command that shows differences needs the options in
    `NO_DIFF_PROGRAMS`. Commands that filter file contents or run hooks (`status`, `checkout`,
    `commit`) must not be run. Raises GitError.
    """
    command = _command(folder, settings, arguments, timeout_s)
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as stdin:
        stdin.write(content)
        stdin.seek(0)
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**_environment(os.environ), **variables},
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
        if process.returncode not in statuses and not is_truncated:
            errors.seek(0)
            message = _first_line(errors.read(_CHUNK_BYTES))
            has_none = any(reason in message for reason in _NO_REPOSITORY)
            raise NoRepositoryError(message) if has_none else GitError(message)
    return bytes(output[:max_bytes])


def _command(
    folder: Path, settings: Sequence[str], arguments: Sequence[str], timeout_s: float
) -> list[str]:
    # A folder above this one may belong to the same untrusted repository.
    repository = find_repository(Path(os.path.realpath(folder)))
    untrusted = folder if repository is None else repository.root
    git = _find_program("git", untrusted)
    if git is None:
        raise GitError(
            "git is not installed, not on the PATH of the editor, or inside of this folder."
        )
    options = [part for setting in (*_SAFE_CONFIG, *settings) for part in ("-c", setting)]
    command = [git, "--no-pager", *options, "-C", str(folder), *arguments]
    # git blocks for ever at a FIFO named .gitignore. `timeout` ends it also after this process was
    # killed.
    if (timeout := _find_program("timeout", untrusted)) is not None and sys.platform != "win32":
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
