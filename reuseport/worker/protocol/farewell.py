"""The last word to a client that is turned away, and the time to read it.

Who closes a connection while bytes of the client are unread, or still come, makes the kernel send a reset,
which throws away our answer before the client has read it. So we end our side, take and forget what comes,
and close when the client does (RFC 9112, 9.6), or when it has had its time.
"""

from __future__ import annotations

import asyncio
import http
import socket
import struct
from typing import Any

from reuseport.worker.protocol.activity import NEVER
from reuseport.worker.protocol.awaited import FAREWELL, Sign, Waits
from reuseport.worker.protocol.head import STATUS_LINES, Defaults

TIME = 2.0
"""Seconds that a client has to close."""
MOST = 1 << 20
"""Bytes that it may still send, and that nobody reads."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""struct linger: no time."""


def refusal(status: int, defaults: Defaults) -> bytes:
    """A whole response that closes."""
    text = http.HTTPStatus(status).phrase.encode()
    return b"".join(
        (
            STATUS_LINES[status],
            defaults[0],
            b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(text),
            b"connection: close\r\n\r\n",
            text,
        )
    )


def reset(transport: asyncio.Transport) -> None:
    """Close at once, and leave nothing to the kernel, where what waits for a client that does not read would
    stay for minutes.
    """
    found = transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


class Farewell(asyncio.Protocol):
    """In the place of a connection's protocol, from our last word on."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._left = MOST
        self.transport: asyncio.Transport = connection.transport
        self._connections = connection.server_state.connections
        self.rested = NEVER
        self.waits: Waits | None = None
        self.sign: Sign = None
        self.since = 0
        self.heard = False

    def begin(self) -> None:
        """The last word is written."""
        self._connections.discard(self._connection)
        self._connections.add(self)
        self.transport.set_protocol(self)
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Nobody reads it."""
        self._left -= len(data)
        if self._left < 0:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """For the protocol that it was made for as well."""
        self._connections.discard(self)
        self._connection.connection_lost(exc)

    def awaits(self) -> tuple[Waits, Sign]:
        """The client's end."""
        return FAREWELL, self

    def resting(self) -> bool:
        """It is on its way out."""
        return False

    def give_up(self, _waits: Waits) -> None:
        """It has had its time."""
        reset(self.transport)

    def shutdown(self) -> None:
        """The worker ends."""
        self.transport.close()
