"""Script: the last step before a program, inside its sandbox. The program replaces it.

Usage: `python -I -S -c TEXT_OF_THIS_FILE`. stdin begins with 8 bytes, the length of a JSON object
that follows: `limits` (names of `resource.RLIMIT_*` and numbers), `uid` (who the program becomes,
null to change nothing), `mark` (written to stdout as the first line, as proof that the sandbox
works), `command`, `environment`, `folder` and `writable` (paths; null for all). The rest of stdin
belongs to the program.

It imports only the standard library, because the project is not visible in the sandbox.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct

# linux/prctl.h, linux/capability.h
_DROP_BOUNDING, _NO_NEW_PRIVILEGES, _AMBIENT, _CLEAR_ALL = 24, 38, 47, 4
# linux/landlock.h; the numbers of the calls are equal on all processors.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _BENEATH, _WRITE_FILE, _MOVE = 1, 1, 1 << 1, 1 << 13
_FIRST_VERSION_WITH_MOVE = 2
_CAPABILITIES, _CAPABILITY_VERSION = 64, 0x20080522


def main() -> None:
    """Give up all privileges, set the limits, and become the program; never returns."""
    start = json.loads(_read(int.from_bytes(_read(8), "big")))
    os.closerange(3, 1 << 16)
    if start["uid"] is not None:
        drop_privileges(start["uid"])
    if start["writable"] is not None:
        restrict_writing(start["writable"])
    os.chdir(start["folder"])
    for name, limit in start["limits"].items():
        kind = getattr(resource, name, None)  # each system has its own
        if kind is not None:
            _, hard = resource.getrlimit(kind)
            limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(kind, (limit, limit))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a program inherits that
    os.write(1, start["mark"].encode() + b"\n")
    os.execvpe(start["command"][0], start["command"], start["environment"])


def drop_privileges(uid: int) -> None:
    """Become a user and group without any capability, and without a way to get one."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0)  # fails if it is not there
    if os.getuid() != uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    libc.prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header, nothing = struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)
    if libc.capset(header, nothing) != 0 or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the privileges could not be dropped")


def restrict_writing(paths: list[str]) -> None:
    """Let this process open files for writing only in some folders, by Landlock if it is there.

    Everything else is on read-only mounts. But one can write to a FIFO on a read-only mount.
    """
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    if syscall(_CREATE_RULESET, None, 0, _ASK_VERSION) < _FIRST_VERSION_WITH_MOVE:
        return
    # Without a rule for it, Landlock forbids to move files between folders.
    rights = struct.pack("=Q", _WRITE_FILE | _MOVE)
    ruleset = syscall(_CREATE_RULESET, rights, len(rights), 0)
    for path in filter(os.path.exists, paths):
        folder = os.open(path, os.O_PATH)
        allowed = _WRITE_FILE | _MOVE if os.path.isdir(path) else _WRITE_FILE
        syscall(_ADD_RULE, ruleset, _BENEATH, struct.pack("=Qi", allowed, folder), 0)
        os.close(folder)
    if syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock could not be set up")
    os.close(ruleset)


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            raise EOFError("stdin ended early")
        data += part
    return data


if __name__ == "__main__":
    main()
