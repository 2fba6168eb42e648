"""Sockets that are bound and neither listen nor are connected: reservations, servers that are just starting.

/proc/net/tcp has no row for them. sock_diag(7) has, since Linux 6.8 (TCPF_BOUND_INACTIVE,
net/ipv4/inet_diag.c); an older kernel answers as if there were none, so who asks has to look for one that he
knows of.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from reuseport.kernel.addresses import Endpoint

# include/uapi/linux/netlink.h, sock_diag.h, inet_diag.h
_SOCK_DIAG = 4
_BY_FAMILY = 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301

_BOUND_INACTIVE = 13
"""A state only to ask for (include/net/tcp_states.h); they are reported as closed."""

_HEAD = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states; any address
_ANSWER = struct.Struct("=4x2s2x16s28x12xII")  # inet_diag_msg: source port and address, uid, inode
_BUFFER = 65536


@dataclass(frozen=True)
class Silent:
    """One of them: where it is bound, its owner's uid, its inode."""

    endpoint: Endpoint
    uid: int
    inode: int


def silent_sockets() -> tuple[Silent, ...]:
    """All in this network namespace, whoever's. Raises OSError where there is nobody to ask."""
    return tuple(each for family in (socket.AF_INET, socket.AF_INET6) for each in _of(family))


def _of(family: socket.AddressFamily) -> Iterator[Silent]:
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << _BOUND_INACTIVE)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        asking.send(_HEAD.pack(_HEAD.size + len(request), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + request)
        while True:
            for kind, body in _messages(asking.recv(_BUFFER)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    error = -struct.unpack_from("=i", body)[0]
                    raise OSError(error, os.strerror(error))
                port, address, uid, inode = _ANSWER.unpack_from(body)
                yield Silent(_endpoint(family, address, int.from_bytes(port)), uid, inode)


def _messages(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each; they are aligned to 4 bytes."""
    while packet:
        size, kind, *_ = _HEAD.unpack_from(packet)
        yield kind, packet[_HEAD.size : size]
        packet = packet[(size + 3) & ~3 :]


def _endpoint(family: socket.AddressFamily, address: bytes, port: int) -> Endpoint:
    if family == socket.AF_INET:
        return Endpoint(family, (socket.inet_ntop(family, address[:4]), port))
    return Endpoint(family, (socket.inet_ntop(family, address), port, 0, 0))
