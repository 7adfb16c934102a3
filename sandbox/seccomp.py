"""The filter of system calls, as a program for seccomp (Linux, seccomp(2) and linux/filter.h)."""

from __future__ import annotations

import errno
import platform
import socket
import struct

from sandbox.system_calls import FILTERED, LAST_KNOWN, PROCESSORS, forbidden

# linux/bpf_common.h: load a word; jump if equal, greater or any bit is set; AND; return.
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
# linux/seccomp.h
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data. An argument has 8 bytes, the lower 4 first."""

_NEW_NAMESPACES = 0x7E020000
"""All CLONE_NEW* that clone(2) accepts: mounts, cgroup, UTS, IPC, user, PID and network."""
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, which type into a terminal."""
_UNIX, _INET, _INET6, _STREAM, _PACKETS, _TYPE_MASK, _ANY_PROTOCOL = 1, 2, 10, 1, 5, 0xF, 0

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand. Jumps are relative to the next instruction."""


def has_filter(machine: str = platform.machine()) -> bool:
    """Return whether there is a filter for a processor."""
    return machine in PROCESSORS


def filter_program(machine: str = platform.machine()) -> bytes:
    """Return the filter for a processor: instructions of 8 bytes (struct sock_filter).

    A forbidden call fails with EPERM, an unknown one with ENOSYS. A call in the numbering of
    another processor, such as 32-bit x86, kills the process.
    """
    processor = PROCESSORS[machine]
    filtered = {name: numbers[processor.column] for name, numbers in FILTERED.items()}
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, processor.audit_arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, LAST_KNOWN),  # also the numbers of x32, which have bit 30 set
        _fail(errno.ENOSYS),
        # The flags of clone3 are in memory, which a filter cannot read. C libraries then use clone.
        (_EQUAL, 0, 1, filtered["clone3"]),
        _fail(errno.ENOSYS),
    ]
    for number in forbidden(machine).values():
        program += [(_EQUAL, 0, 1, number), _fail(errno.EPERM)]
    program += _rule(filtered["clone"], _clone())
    program += _rule(filtered["ioctl"], _ioctl())
    program += _rule(filtered["socket"], _socket())
    program += _rule(filtered["socketpair"], _socketpair())
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(
        struct.pack("=HBBI", code, true, false, operand) for code, true, false, operand in program
    )


def _fail(number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERROR | number)


def _load_argument(index: int) -> _Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _rule(number: int, body: list[_Instruction]) -> list[_Instruction]:
    """Return instructions that run `body` for one call. The body returns in any case."""
    return [(_EQUAL, 0, len(body), number), *body]


def _clone() -> list[_Instruction]:
    return [
        _load_argument(0),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        _fail(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _ioctl() -> list[_Instruction]:
    body = [_load_argument(1)]
    for request in _TERMINAL_INPUT:
        body += [(_EQUAL, 0, 1, request), _fail(errno.EPERM)]
    return [*body, (_RETURN, 0, 0, _ALLOW)]


def _socket() -> list[_Instruction]:
    # A Unix socket could connect to a socket that appears in a readable folder: reading a folder
    # only does not prevent that.
    return [
        _load_argument(0),
        (_EQUAL, 2, 0, _INET),
        (_EQUAL, 1, 0, _INET6),
        _fail(errno.EAFNOSUPPORT),
        # Others would make the kernel load modules: SCTP, DCCP, L2TP.
        _load_argument(2),
        (_EQUAL, 3, 0, _ANY_PROTOCOL),
        (_EQUAL, 2, 0, socket.IPPROTO_TCP),
        (_EQUAL, 1, 0, socket.IPPROTO_UDP),
        _fail(errno.EPROTONOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _socketpair() -> list[_Instruction]:
    # A connected stream, with or without borders of messages, cannot be connected to anything else
    # (net/unix/af_unix.c, unix_stream_connect); a datagram socket can. Rust starts programs with it.
    return [
        _load_argument(0),
        (_EQUAL, 0, 4, _UNIX),
        _load_argument(1),
        (_AND, 0, 0, _TYPE_MASK),
        (_EQUAL, 2, 0, _STREAM),
        (_EQUAL, 1, 0, _PACKETS),
        _fail(errno.EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    ]
