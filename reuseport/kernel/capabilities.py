"""Which of root's powers this process has (capabilities(7)), and how it lays the others down for good.

Numbers are from include/uapi/linux/capability.h. The sets belong to the thread and not to the process: call
`keep_only` before there is a second thread, which would keep its own.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from enum import IntEnum

from reuseport.records import record

# _LINUX_CAPABILITY_VERSION_3: sets of 64 bits, each in two halves.
_VERSION = 0x20080522

_HEADER = struct.Struct("=Ii")  # version, thread (0 is the caller)
_SETS = struct.Struct("=6I")  # effective, permitted, inheritable: the low halves, then the high ones

_libc = ctypes.CDLL(None, use_errno=True)


class Capability(IntEnum):
    """Those that this program has a use for, under their names without CAP_."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    KILL = 5
    SETGID = 6
    SETUID = 7
    NET_BIND_SERVICE = 10
    SYS_ADMIN = 21
    BPF = 39


@record(frozen=True)
class _Sets:
    effective: int
    permitted: int
    inheritable: int


def held() -> frozenset[Capability]:
    """Those in effect, in whatever user namespace we are. Raises OSError (capget(2))."""
    effective = _get().effective
    return frozenset(capability for capability in Capability if effective >> capability & 1)


def keep_only(wanted: Iterable[Capability]) -> None:
    """Lay down all that are not wanted, and hand on none to what we execute. Raises OSError (capset(2)).

    Where a program is executed as uid 0, the kernel gives it root's again all the same. The ambient set
    empties itself: it never holds what is not inheritable (security/commoncap.c, cap_capset).
    """
    mask = sum(1 << capability for capability in set(wanted))
    has = _get()
    _set(_Sets(has.effective & mask, has.permitted & mask, 0))


def _get() -> _Sets:
    buffer = ctypes.create_string_buffer(_SETS.size)
    _call("capget", buffer)
    low, high = struct.iter_unpack("=3I", buffer.raw)
    return _Sets(*(below | above << 32 for below, above in zip(low, high, strict=True)))


def _set(sets: _Sets) -> None:
    words = (sets.effective, sets.permitted, sets.inheritable)
    halves = [*(word & 0xFFFFFFFF for word in words), *(word >> 32 for word in words)]
    _call("capset", ctypes.create_string_buffer(_SETS.pack(*halves), _SETS.size))


def _call(name: str, sets: ctypes.Array[ctypes.c_char]) -> None:
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION, 0), _HEADER.size)
    if getattr(_libc, name)(header, sets) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}(2): {os.strerror(code)}")
