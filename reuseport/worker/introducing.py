"""Reads what proxies announce (PROXY protocol) before a connection has a protocol, or TLS begins.

Never a byte more than the announcement: what is behind it is the client's, and stays in the kernel until the
event loop reads it. A client that announces nothing within its time, or garbage, is closed without an answer;
so is one whose proxy says nothing because it hung up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from reuseport.worker.protocol.announced import LONGEST, Announced, NoHeaderError, read


class Introductions:
    """Connections whose announcement is not complete. Owns them until they are introduced, or closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        introduced: Callable[[socket.socket, Announced], None],
        refused: Callable[[socket.socket], None],
    ) -> None:
        """`introduced` gets each connection and what was said of it; `refused` hears of who was closed."""
        self._loop = loop
        self._introduced = introduced
        self._refused = refused
        self._pending: dict[socket.socket, tuple[bytes, int]] = {}
        """What has come, and the look of its arrival."""
        self._looks = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, connection: socket.socket) -> None:
        """It has been accepted, and is the proxy's."""
        self._pending[connection] = b"", self._looks
        self._loop.add_reader(connection.fileno(), self._on_readable, connection)
        # Mostly it is there already.
        self._on_readable(connection)

    def look(self, most: int) -> None:
        """Close who has announced nothing for so many looks; call every tenth of a second. 0: nobody."""
        self._looks += 1
        over = self._looks - most
        for connection, (_, since) in list(self._pending.items()) if most else ():
            if since < over:
                self._refuse(connection)

    def close(self) -> None:
        """Nobody is introduced any more."""
        for connection in list(self._pending):
            self._forget(connection)
            connection.close()

    def _on_readable(self, connection: socket.socket) -> None:
        if connection not in self._pending:
            return
        before, since = self._pending[connection]
        try:
            more = connection.recv(LONGEST + 1 - len(before), socket.MSG_PEEK)
            found = read(before + more) if more else None
        except BlockingIOError:
            return
        except (OSError, NoHeaderError):
            more = b""
        if not more:
            self._refuse(connection)
            return
        length = len(more) if found is None else found.length - len(before)
        # All of it is the header's: nobody else will read it.
        taken = connection.recv(length)
        if found is None or len(taken) < length:
            self._pending[connection] = before + taken, since
            return
        self._forget(connection)
        self._introduced(connection, found.said)

    def _forget(self, connection: socket.socket) -> None:
        del self._pending[connection]
        self._loop.remove_reader(connection.fileno())

    def _refuse(self, connection: socket.socket) -> None:
        self._forget(connection)
        self._refused(connection)
        with contextlib.suppress(OSError):
            connection.close()
