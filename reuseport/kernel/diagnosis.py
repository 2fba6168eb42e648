"""What the kernel says of all sockets of a kind: sock_diag(7), asked in one go.

Unlike the tables in /proc/net, which are text with other people's names in it: a path may hold a line of its
own, which looks like any other.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

# include/uapi/linux/netlink.h, sock_diag.h
_SOCK_DIAG = 4
_BY_FAMILY = 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301

_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 65536


def answers(request: bytes) -> Iterator[bytes]:
    """Each socket's message, for a request that begins with its family. Raises OSError: nobody can say."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        asking.send(_HEAD.pack(_HEAD.size + len(request), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + request)
        while True:
            for kind, body in _messages(asking.recv(_BUFFER)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    error = -struct.unpack_from("=i", body)[0]
                    raise OSError(error, os.strerror(error))
                yield body


def attributes(packed: bytes) -> dict[int, bytes]:
    """What stands behind a message's fixed part, by type."""
    found = {}
    while len(packed) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(packed)
        found[kind] = packed[_ATTRIBUTE.size : size]
        packed = packed[_aligned(size) :]
    return found


def _messages(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each."""
    while packet:
        size, kind, *_ = _HEAD.unpack_from(packet)
        yield kind, packet[_HEAD.size : size]
        packet = packet[_aligned(size) :]


def _aligned(size: int) -> int:
    return (size + 3) & ~3
