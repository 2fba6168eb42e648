"""Who waits in the accept queue of a listener. By itself, for a worker needs nothing else of this room's."""

from __future__ import annotations

import socket
import struct

from reuseport.records import record

# struct tcp_info (include/uapi/linux/tcp.h): tcpi_unacked and tcpi_sacked at 24. For a listener
# tcp_get_info() puts sk_ack_backlog and sk_max_ack_backlog there.
_TCP_INFO = struct.Struct("=24xII")


@record(frozen=True)
class AcceptQueue:
    """Connections that wait for accept(2), and how many may."""

    waiting: int
    limit: int


def accept_queue(listener: socket.socket) -> AcceptQueue:
    """Read a TCP listener's queue through TCP_INFO (tcp(7)): 1.6 µs, any duplicate of the descriptor will do.

    A bound socket that does not listen has no queue: (0, 0). For a connection the answer means nothing.
    """
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    return AcceptQueue(*_TCP_INFO.unpack(info))
