"""Sockets that are bound and neither listen nor are connected: reservations, servers that are just starting.

/proc/net/tcp has no row for them. sock_diag(7) has, since Linux 6.8 (TCPF_BOUND_INACTIVE,
net/ipv4/inet_diag.c); an older kernel answers as if there were none, so who asks has to look for one that he
knows of.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from reuseport.kernel import diagnosis
from reuseport.kernel.addresses import Endpoint
from reuseport.records import record

_BOUND_INACTIVE = 13
"""A state only to ask for (include/net/tcp_states.h); they are reported as closed."""

# include/uapi/linux/inet_diag.h
_REQUEST = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states; any address
_ANSWER = struct.Struct("=4x2s2x16s28x12xII")  # inet_diag_msg: source port and address, uid, inode


@record(frozen=True)
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
    for answer in diagnosis.answers(request):
        port, address, uid, inode = _ANSWER.unpack_from(answer)
        yield Silent(_endpoint(family, address, int.from_bytes(port)), uid, inode)


def _endpoint(family: socket.AddressFamily, address: bytes, port: int) -> Endpoint:
    if family == socket.AF_INET:
        return Endpoint(family, (socket.inet_ntop(family, address[:4]), port))
    return Endpoint(family, (socket.inet_ntop(family, address), port, 0, 0))
