"""Unix sockets that have a path: who listens there, who is about to.

sock_diag(7) tells name and state of each apart. Where it knows no Unix sockets, /proc/net/unix is read
(proc_net_unix(5)). There a name is printed as it is, so anybody can write lines that are none: what is found
there may be a lie of any other user, and a line that makes no sense is no line.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from reuseport.kernel import diagnosis
from reuseport.records import record

_TABLE = Path("/proc/net/unix")

_LISTEN, _CLOSE = 10, 7  # include/net/tcp_states.h, which Unix sockets have theirs from
_SHOW_NAME = 1  # UDIAG_SHOW_NAME, include/uapi/linux/unix_diag.h
_NAME = 0  # UNIX_DIAG_NAME
_REQUEST = struct.Struct("=BBxxIIIII")  # unix_diag_req: family, protocol, states, inode, show, cookie
_ANSWER = struct.Struct("=BBBxI8x")  # unix_diag_msg: family, type, state, inode, cookie

_ACCEPTS = 1 << 16  # __SO_ACCEPTCON, include/linux/net.h
_UNCONNECTED = 1  # SS_UNCONNECTED, include/uapi/linux/net.h


@record(frozen=True)
class Named:
    """One of them, by the path that its owner gave, perhaps relative to where that one was."""

    path: str
    inode: int
    listens: bool
    """Otherwise it is bound, and neither listens nor is connected."""


def named_sockets() -> tuple[Named, ...]:
    """All in this network namespace, whoever's; those of the abstract namespace are left out."""
    try:
        return tuple(_told())
    except OSError:
        return tuple(_read())


def _told() -> Iterator[Named]:
    states = 1 << _LISTEN | 1 << _CLOSE
    for answer in diagnosis.answers(_REQUEST.pack(socket.AF_UNIX, 0, states, 0, _SHOW_NAME, 0, 0)):
        _, _, state, inode = _ANSWER.unpack_from(answer)
        name = diagnosis.attributes(answer[_ANSWER.size :]).get(_NAME, b"")
        if name and not name.startswith(b"\0"):
            yield Named(os.fsdecode(name.rstrip(b"\0")), inode, state == _LISTEN)


def _read() -> Iterator[Named]:
    try:
        table = _TABLE.read_bytes()
    except OSError:
        return
    for line in table.split(b"\n")[1:]:
        words = line.split(maxsplit=7)
        try:
            listens = bool(int(words[3], 16) & _ACCEPTS)
            unconnected, inode = int(words[5], 16) == _UNCONNECTED, int(words[6])
            path = words[7]
        except (IndexError, ValueError):
            continue
        # One that listens is unconnected, too.
        if unconnected and not path.startswith(b"@"):
            yield Named(os.fsdecode(path), inode, listens)
