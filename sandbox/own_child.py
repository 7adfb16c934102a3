"""Script that builds a sandbox around itself and runs a command in it. Linux 5.12 or newer.

Usage: `main()`. The argument of the process is the descriptor of a file with one JSON object:
`parent` (the process that started it), and either `replace_by` (a command that runs in a new user
namespace, nothing else) or `layout`, `folder_bytes`, `folder_files`, `filter` (hexadecimal) and
`command`.

Three processes remain. The first waits outside of the new PID namespace. The second is process 1 of
the namespace: when it ends, the kernel ends all others in it. The third becomes the command. Each
dies with the one before, and the first dies with `parent`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox import linux
from sandbox.command import NOBODY, PRIVATE_FOLDER
from sandbox.launch import drop_privileges
from sandbox.user_namespace import enter_user_namespace

_OTHER_NAMESPACES = (
    linux.NEW_MOUNTS
    | linux.NEW_PID
    | linux.NEW_NETWORK
    | linux.NEW_IPC
    | linux.NEW_UTS
    | linux.NEW_CGROUP
)
_STAGE, _OLD, _NEW = "/tmp", "/old", "/new"
"""Where the new root is built: an empty file system with the old and the new root in it."""
_READ_ONLY = linux.READ_ONLY | linux.NO_SUID | linux.NO_DEVICES
_DEVICE = linux.READ_ONLY | linux.NO_SUID | linux.NO_EXECUTION
_SET_INTERFACE_FLAGS, _INTERFACE_UP = 0x8914, 0x1


def main() -> None:
    """Isolate this process and run the command; never returns."""
    with open(int(sys.argv[1]), "rb") as file:
        plan = json.load(file)
    try:
        linux.die_with_parent(signal.SIGKILL)
        if os.getppid() != plan["parent"]:
            os._exit(1)  # it died before
        if "replace_by" in plan:
            enter_user_namespace(0)
            os.execv(plan["replace_by"][0], plan["replace_by"])
        enter_user_namespace(_OTHER_NAMESPACES)
        _build_root(plan)
        _fork_and_wait()
        _leave_old_root()
        socket.sethostname("sandbox")
        _start_loopback()
        drop_privileges(NOBODY)
        linux.forbid_inspection()
        linux.die_with_parent(signal.SIGKILL)  # a change of the user has reset it
        linux.filter_system_calls(bytes.fromhex(plan["filter"]))
        _fork_and_wait()
        os.setsid()
        os.execve(plan["command"][0], plan["command"], {})
    except OSError as error:
        sys.exit(str(error.strerror or error))


def _build_root(plan: dict[str, Any]) -> None:
    layout = plan["layout"]
    linux.make_mounts_private()
    options = f"size=4m,nr_inodes=20000,mode=0755,uid={os.getuid()},gid={os.getgid()}"
    linux.mount("tmpfs", _STAGE, linux.NO_SUID | linux.NO_DEVICES, options)
    os.mkdir(_STAGE + _OLD)
    os.mkdir(_STAGE + _NEW)
    linux.mount("tmpfs", _STAGE + _NEW, linux.NO_SUID | linux.NO_DEVICES, options)
    linux.pivot_root(_STAGE, _STAGE + _OLD)
    os.chdir("/")
    os.mkdir(_NEW + PRIVATE_FOLDER)
    private = (
        f"size={plan['folder_bytes']},nr_inodes={plan['folder_files']},"
        f"mode=0700,uid={NOBODY},gid={NOBODY}"
    )
    linux.mount("tmpfs", _NEW + PRIVATE_FOLDER, linux.NO_SUID | linux.NO_DEVICES, private)
    for source, target in layout["binds"]:
        _show(source, target, _READ_ONLY)
    for path in layout["devices"]:
        _show(path, path, _DEVICE)
    for path in layout["special_files"]:
        _show("/dev/null", path, _READ_ONLY)  # a device that cannot be opened
    for target, path in layout["links"]:
        Path(_NEW + path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, _NEW + path)
    os.mkdir(_NEW + "/proc")


def _show(source: str, target: str, attributes: int) -> None:
    source, target = _OLD + source, _NEW + target
    if not os.path.lexists(target):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            Path(target).touch()
    linux.bind(source, target)
    linux.restrict_mount(target, attributes, recursive=True)


def _leave_old_root() -> None:
    """Mount the PID namespace's /proc, and make the new root the only one, read-only."""
    flags = linux.READ_ONLY | linux.NO_SUID | linux.NO_DEVICES | linux.NO_EXECUTION
    with suppress(PermissionError):  # in most containers; then there is no /proc
        linux.mount("proc", _NEW + "/proc", flags)
    os.chdir(_NEW)
    linux.pivot_root(".", ".")
    linux.unmount(".")  # what was the root until now, with the machine's root in it
    os.chdir("/")
    linux.restrict_mount("/", _READ_ONLY, recursive=False)


def _start_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", _INTERFACE_UP)
        fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, request)


def _fork_and_wait() -> None:
    """Continue in a child process that dies with this one; exit when the child exits."""
    child = os.fork()
    if child == 0:
        linux.die_with_parent(signal.SIGKILL)
        return
    while True:
        ended, status = os.wait()  # this also reaps orphans of the program
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
