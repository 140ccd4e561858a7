"""Starts a program whose writes and syncs somebody else decides on: `python -I -S disk_gate.py NAME COMMAND ...`.

The kernel stops each of these calls and asks (seccomp user notification, Linux 5.5 and later; no root is needed). The
descriptor it asks through goes to whoever listens on the abstract socket NAME; then this process becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

# From linux/seccomp.h, linux/filter.h and linux/audit.h.
NO_NEW_PRIVS = 38
SET_MODE_FILTER, NEW_LISTENER = 1, 1 << 3
ALLOW, ASK = 0x7FFF0000, 0x7FC00000
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
RECEIVE, ANSWER = 0xC0502100, 0xC0182101
GO_ON = 1
QUESTION = struct.Struct("QIIiIQ6Q")  # id, pid, flags; call, architecture, instruction, six arguments

_CALLS = {
    "x86_64": (0xC000003E, 317, {1: "write", 18: "pwrite", 74: "fsync", 75: "fdatasync", 77: "ftruncate"}),
    "aarch64": (0xC00000B7, 277, {64: "write", 68: "pwrite", 82: "fsync", 83: "fdatasync", 46: "ftruncate"}),
}
ARCHITECTURE, SECCOMP, NAMES = _CALLS[platform.machine()]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def ask_about_writes() -> int:
    """From here on the kernel asks about the calls in `NAMES`; the descriptor that it asks through."""
    code = [(LOAD, 0, 0, 4), (EQUALS, 1, 0, ARCHITECTURE), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0)]
    for ahead, number in enumerate(reversed(NAMES)):
        code.insert(4, (EQUALS, ahead + 1, 0, number))
    code += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ASK)]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    program = _Program(len(code), ctypes.cast(packed, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    asks = libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program))
    if asks < 0:
        raise OSError(ctypes.get_errno(), "seccomp: a kernel of Linux 5.5 or later is needed")
    return int(asks)


def main(name: str, command: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(f"\0{name}")
        socket.send_fds(link, [b"."], [ask_about_writes()])
    os.execvp(command[0], command)  # the descriptor closes with it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
