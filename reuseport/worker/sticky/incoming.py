"""Requests that other workers move to a slot: out of its session inbox, and on as if they had come here.

Its own worker reads it, and goes on where the mover stopped: the connection is made anew, and before anything
more is read of it the parser gets what was read. A sibling that fosters the slot reads it only while nobody
else could: the slot is not in service, or its worker's event loop has been silent for AWAY.

As to any inbox, somebody may have sent what is no connection, or no request: it is closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from functools import partial

from reuseport.worker.inbox import Inbox
from reuseport.worker.protocol.naming import MOST_TRAVELS, made_as
from reuseport.worker.server import Server
from reuseport.worker.sticky.moving import BESIDE, MOST, NAMED_BESIDE, NAMED_WITH, SHORT, WITH
from reuseport.worker.sticky.sessions import Sessions

LOOK = 0.05
"""Seconds between two looks of a foster at whether anybody else reads."""


class Incoming(Inbox):
    """Reads the session inbox of `slot` while it is open. Owns its descriptor."""

    PACKET = 3 + MOST_TRAVELS + SHORT
    DESCRIPTORS = 2

    def __init__(self, fd: int, server: Server, desk: memoryview[int], sessions: Sessions, slot: int) -> None:
        super().__init__(fd, server, desk)
        self._sessions = sessions
        self._slot = slot
        self._reads = False
        self._timer: asyncio.TimerHandle | None = None

    def open_as_foster(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take up what comes, from now on, whenever nobody else does."""
        self._loop = loop
        self._look()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _resume(self) -> None:
        if self._timer is None or self._reads:
            super()._resume()

    def _look(self) -> None:
        wanted = not self._sessions.homes.serves(self._slot)
        if wanted and not self._reads:
            self.open(self._loop)
        elif self._reads and not wanted:
            self._loop.remove_reader(self._socket.fileno())
        self._reads = wanted
        self._timer = self._loop.call_later(LOOK, self._look)

    def _take(self, packet: bytes, fds: list[int]) -> None:
        kind, along = packet[:1], b""
        if kind in (NAMED_WITH, NAMED_BESIDE):
            end = 3 + int.from_bytes(packet[1:3], "big")
            along, packet = packet[3:end], kind.lower() + packet[end:]
        if packet[:1] == WITH and len(fds) == 1:
            read = packet[1:]
        elif packet[:1] == BESIDE and len(fds) == 2:
            read = _content(fds.pop())
        else:
            read = b""
        if not read or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            return
        try:
            connection = socket.socket(fileno=fds[0])
        except OSError:
            os.close(fds[0])  # no connection: whoever has the other end may send what it likes
            return
        try:
            make = made_as(partial(self._made, connection, read), along)
        except ValueError:
            connection.close()  # nor does any worker of ours say such a thing
            return
        if self._slot != self._sessions.own:
            self._sessions.miss()
        self._begin(self._go_on(connection, make))

    async def _go_on(self, connection: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        await self._loop.connect_accepted_socket(make, connection)

    def _made(self, connection: socket.socket, read: bytes) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self._server.protocol()
        protocol.brought = read  # type: ignore[attr-defined] # --sticky is refused with protocols that have none
        # Its mover closes its own descriptor in the next turn of its loop, which may be a long time.
        self._end_for_all(protocol, connection)
        return protocol


def _content(file: int) -> bytes:
    """What is in the file, if it is one that a mover makes; closes it."""
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST:
            return b""
        return os.pread(file, found.st_size, 0)
    except OSError:
        return b""
    finally:
        os.close(file)
