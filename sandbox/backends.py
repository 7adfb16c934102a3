"""The ways to isolate a program: bubblewrap, our own code, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from sandbox.command import NOBODY, PRIVATE_FOLDER, Limits
from sandbox.layout import Layout
from sandbox.seccomp import filter_program

_LAUNCH = Path(__file__).with_name("launch.py")
_PACKAGES = str(Path(__file__).parents[1])
_OWN_CHILD = (
    "import sys; sys.path.append(sys.argv.pop()); from sandbox.own_child import main; main()"
)


class Backend(StrEnum):
    """How a program is isolated."""

    BUBBLEWRAP = "bubblewrap"
    """By bwrap, a maintained tool that Flatpak uses. Version 0.7 or newer."""
    OWN = "own"
    """By `sandbox.own_child`, with the same result."""
    NONE = "none"
    """Not at all: the program has limits, but can do everything that the user can."""


def launcher() -> list[str]:
    """Return the command that reads a program's start from stdin and becomes the program."""
    return [sys.executable, "-I", "-S", "-B", "-c", _LAUNCH.read_text(encoding="utf-8")]


@contextmanager
def started_with(
    backend: Backend, layout: Layout, limits: Limits
) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """Return the command that starts the launcher in isolation, and descriptors it inherits.

    Raises FileNotFoundError if the backend is not installed.
    """
    if backend is Backend.OWN:
        own = _own_child(
            layout=layout.as_json(),
            folder_bytes=limits.folder_bytes,
            folder_files=limits.folder_files,
            filter=filter_program().hex(),
            command=launcher(),
        )
        with own as started:
            yield started
        return
    # Arguments of a process have a maximum length, and every user can read them.
    arguments = bubblewrap_arguments(layout, limits)
    options = "\0".join(arguments).encode() + b"\0"
    with _readable(filter_program()) as system_calls, _readable(options) as rest:
        command = [bubblewrap_program(), "--seccomp", str(system_calls), "--args"]
        command += [str(rest), *launcher()]
        if os.getuid() != 0:
            yield command, (system_calls, rest)
            return
        # bwrap can only map one user, and the program of a sandbox must not be root. So the
        # launcher changes the user; outside of the new user namespace its three capabilities mean
        # nothing.
        with _own_child(replace_by=command) as (replacing, (plan,)):
            yield replacing, (plan, system_calls, rest)


@contextmanager
def _own_child(**plan: object) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    with _readable(json.dumps({"parent": os.getpid(), **plan}).encode()) as descriptor:
        command = [sys.executable, "-I", "-S", "-B", "-c", _OWN_CHILD, str(descriptor), _PACKAGES]
        yield command, (descriptor,)


@contextmanager
def _readable(data: bytes) -> Iterator[int]:
    """Return a descriptor from which a child process reads data."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        yield file.fileno()


def bubblewrap_program() -> str:
    """Return the absolute path of bwrap. Raises FileNotFoundError if it is not installed."""
    program = shutil.which("bwrap")
    # A relative entry of PATH could be a folder that somebody else made.
    if program is None or not os.path.isabs(program):
        raise FileNotFoundError("bubblewrap (bwrap) is not installed")
    return program


def bubblewrap_arguments(layout: Layout, limits: Limits) -> list[str]:
    """Return bwrap's options, besides the filter and who the program is."""
    arguments = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    arguments += ["--unshare-cgroup", "--hostname", "sandbox", "--new-session"]
    arguments += ["--die-with-parent", "--cap-drop", "ALL", *_identity()]
    arguments += ["--perms", "1777", "--size", str(limits.folder_bytes), "--tmpfs", PRIVATE_FOLDER]
    for folder in _folders_above(layout):
        arguments += ["--dir", folder]  # bwrap alone would make some that only root may enter
    for source, target in layout.binds:
        arguments += ["--ro-bind", source, target]
    for path in layout.devices:
        arguments += ["--dev-bind", path, path]
    for path in layout.special_files:
        arguments += ["--ro-bind", "/dev/null", path]  # a device that cannot be opened
    for target, path in layout.links:
        arguments += ["--symlink", target, path]
    return [*arguments, "--proc", "/proc", "--remount-ro", "/proc", "--remount-ro", "/"]


def _identity() -> list[str]:
    """Return the options that make the program `NOBODY`, or let the launcher do it."""
    if os.getuid() != 0:
        return ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    return [f for name in ("SETUID", "SETGID", "SETPCAP") for f in ("--cap-add", f"CAP_{name}")]


def _folders_above(layout: Layout) -> list[str]:
    """Return the folders that the new root needs for its contents, parents first."""
    shown = [target for _, target in layout.binds]
    paths = [*shown, *layout.devices, *(path for _, path in layout.links)]
    above = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(
        folder
        for folder in above - {"/", PRIVATE_FOLDER}
        if not any(Path(folder).is_relative_to(path) for path in shown)
    )
