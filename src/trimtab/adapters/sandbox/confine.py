"""Takes rights away from the calling process, for good: files by Landlock, network and new programs by seccomp.

CPU and memory are the runner's to limit. Linux only, Landlock from kernel 5.13 on; `confine` says what took hold.
Threads that run already are not confined: call it before any is started.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.sandbox.filter import deny_calls
from trimtab.core.portable import imported

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_ASK_VERSION = 1
_READ_FILE, _READ_DIR, _EXECUTE = 1 << 2, 1 << 3, 1 << 0
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # known from this ABI on
_NO_NEW_PRIVS = 38


@dataclass(frozen=True)
class Confinement:
    """What a confined worker may still do. `reads`: folders and files that it may read.

    `imports`: modules that it imports before; `calls`: functions ("module:name") that it calls before, so that what
    they compile is there when nothing can be written any more.
    """

    reads: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


def confine(what: Confinement) -> tuple[str, ...]:
    """Import what is named, then give up all rights but reading `reads` and Python's own files; nothing can undo it.

    Returns what took hold: "landlock", "seccomp". Raises OSError when the kernel knows one but refuses it.
    """
    for module in what.imports:
        importlib.import_module(module)
    for path in what.calls:
        imported(path)()
    if sys.platform != "linux":
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    held = []
    if _landlock(libc, (*what.reads, *_own_files())):
        held.append("landlock")
    if deny_calls(libc, platform.machine()):
        held.append("seccomp")
    return tuple(held)


def _own_files() -> Iterable[str]:
    """What Python, its libraries and the meter read."""
    found = [one for one in sys.path if one]
    return (*found, sys.prefix, sys.base_prefix, "/usr/lib", "/lib", "/lib64", "/proc/self", "/sys/devices/system/cpu")


def _landlock(libc: ctypes.CDLL, reads: Iterable[str]) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return False
    rights = max(bits for since, bits in _FILE_RIGHTS.items() if since <= version)
    network = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0  # abstract sockets and signals
    attributes = struct.pack("=QQQ", rights, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _checked(libc.syscall(_CREATE_RULESET, attributes, size, 0), "landlock")
    try:
        for one in dict.fromkeys(reads):
            _allow_reading(libc, rules, Path(one))
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0), "landlock")
    finally:
        os.close(rules)
    return True


def _allow_reading(libc: ctypes.CDLL, rules: int, place: Path) -> None:
    try:
        opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    try:
        rights = _READ_FILE | _EXECUTE | (_READ_DIR if place.is_dir() else 0)
        _checked(libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights, opened), 0), f"landlock: {place}")
    finally:
        os.close(opened)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
