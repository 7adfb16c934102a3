"""Script that limits and isolates its own process, and then runs a Python program in it.

Usage: `python -I sandbox_child.py LIMITS FOLDER`, with the program on stdin. LIMITS is a JSON
object from the names of `resource.RLIMIT_*` to numbers. FOLDER is the folder in which the program
may write; if it is empty, the program is limited but not isolated.

On Linux the program runs in its own namespaces (user, mount, PID, network, IPC, host name):

- There is no network except an unconnected loopback device.
- All mounts are read-only. /proc, /run, /tmp and /dev/shm are empty.
- Processes outside can be neither seen nor signalled. All processes inside end with the first one.

No privilege is needed if the system allows user namespaces, and the program has none.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path

# linux/sched.h, linux/mount.h, linux/prctl.h
_NEW_NS, _NEW_UTS, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_REC, _PRIVATE, _NOSUID, _NODEV = 0x4000, 1 << 18, 0x2, 0x4
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 0x1
_SYS_MOUNT_SETATTR = 442
"""The number of the system call on all architectures except Alpha, since Linux 5.12."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NOBODY = 65534
"""User id that the program runs as. As root it would have all privileges within the namespaces."""

_HIDDEN = ("/proc", "/run", "/tmp", "/dev/shm")
_TMPFS = b"size=64m,mode=0777"


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def main() -> None:
    """Limit, isolate and replace this process; never returns."""
    limits, folder = json.loads(sys.argv[1]), sys.argv[2]
    if folder:
        _isolate(folder)
        # The first process of the namespace only waits, so that signals reach the program.
        _fork_and_wait()
        _fork_and_wait()
    for name, limit in limits.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    os.execv(sys.executable, [sys.executable, "-I", "-B", "-"])


def _isolate(folder: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    _check(libc.unshare(_NEW_USER | _NEW_NS | _NEW_NET | _NEW_PID | _NEW_IPC | _NEW_UTS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {gid} 1")
    _check(libc.mount(None, b"/", None, _REC | _PRIVATE, None))
    readonly = _MountAttr(set=_MOUNT_ATTR_RDONLY)
    _check(
        libc.syscall(
            _SYS_MOUNT_SETATTR,
            _AT_FDCWD,
            b"/",
            _AT_RECURSIVE,
            ctypes.byref(readonly),
            ctypes.sizeof(readonly),
        )
    )
    needed = [Path(path).resolve() for path in (sys.executable, sys.prefix, sys.base_prefix)]
    hidden = [folder for folder in _HIDDEN if Path(folder).is_dir()]
    hidden = [
        folder for folder in hidden if not any(path.is_relative_to(folder) for path in needed)
    ]
    work = "/tmp" if "/tmp" in hidden else folder
    for mount_point in dict.fromkeys([*hidden, work]):
        _check(libc.mount(b"tmpfs", mount_point.encode(), b"tmpfs", _NOSUID | _NODEV, _TMPFS))
    os.chdir(work)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _fork_and_wait() -> None:
    """Continue in a child process that dies with this one; exit when the child exits."""
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return
    while True:
        ended, status = os.wait()  # this also reaps orphans of the program
        if ended == child:
            os._exit(0 if status == 0 else 1)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
