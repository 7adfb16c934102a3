"""Run as a script: limits itself, gives up all that it can, and becomes Python with a program.

`python -I jail.py LIMITS FOLDER`, the program on stdin. LIMITS is JSON of names of
`resource.RLIMIT_*` and numbers; FOLDER is where the program may write, or empty for limits alone,
without isolation.

On Linux the program runs in namespaces of its own (user, mount, PID, network, IPC, host name):
there is no network but an unconnected loopback, all that is mounted is read-only, /proc, /run, /tmp
and /dev/shm are empty, processes outside cannot be seen or signalled, and all inside end with the
first. No privilege is needed where the system lets users make namespaces; none is left to the
program.
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
"""On every architecture but Alpha; Linux 5.12 and later."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NOBODY = 65534
"""Not root, or the program would have every privilege within its namespaces."""

_HIDDEN = ("/proc", "/run", "/tmp", "/dev/shm")
_TMPFS = b"size=64m,mode=0777"


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def main() -> None:
    """Never returns."""
    limits, folder = json.loads(sys.argv[1]), sys.argv[2]
    if folder:
        _isolate(folder)
        _fork_and_wait()  # the namespace's first process waits, so that signals reach the program
        _fork_and_wait()
    for name, most in limits.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
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
    needed = [Path(one).resolve() for one in (sys.executable, sys.prefix, sys.base_prefix)]
    hidden = [one for one in _HIDDEN if Path(one).is_dir()]
    hidden = [one for one in hidden if not any(path.is_relative_to(one) for path in needed)]
    work = "/tmp" if "/tmp" in hidden else folder
    for place in dict.fromkeys([*hidden, work]):
        _check(libc.mount(b"tmpfs", place.encode(), b"tmpfs", _NOSUID | _NODEV, _TMPFS))
    os.chdir(work)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _fork_and_wait() -> None:
    """Go on in a child that dies with this process; this process ends as the child does."""
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return
    while True:
        ended, status = os.wait()  # orphans of the program come here too
        if ended == child:
            os._exit(0 if status == 0 else 1)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
