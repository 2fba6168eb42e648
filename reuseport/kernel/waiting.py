"""How long a connection, and what it brought, has waited for us: the kernel notes both (TCP_INFO).

Asked where somebody wants to know, for it is a system call of 2 µs. The kernel reckons in jiffies, so the
answer is wrong by up to one of them either way (CONFIG_HZ: 1 to 10 ms).
"""

from __future__ import annotations

import socket
import struct
from typing import Any

# struct tcp_info (include/uapi/linux/tcp.h): tcpi_last_data_sent at 44, tcpi_last_data_recv at 52, both in
# milliseconds. tcp_create_openreq_child() lets both begin at the end of the handshake.
_TCP_INFO = struct.Struct("=44xI4xI")


def since_handshake(connection: Any) -> float:
    """Seconds since the handshake of a connection on which nothing has been sent yet; 0 where it had none.

    Asked just after accept(2), it is the wait in the accept queue.
    """
    return _asked(connection)[0] / 1000


def since_data(connection: Any) -> float:
    """Seconds since its last bytes came, whoever has read them; 0 where nobody knows: on a unix socket."""
    return _asked(connection)[1] / 1000


def _asked(connection: Any) -> tuple[int, int]:
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return 0, 0
    sent, received = _TCP_INFO.unpack(info)
    return sent, received
