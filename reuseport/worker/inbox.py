"""Connections that other workers pass to this slot: read them from the slot's inbox and go on serving them.

The inbox is one end of a SOCK_SEQPACKET pair that belongs to the slot, as its listeners do: the launcher
holds a duplicate of both ends, so a connection under way when this worker dies waits for its successor.

Who passes a connection on closes its own descriptor at once, but for a rescued one: its worker's loop is
blocked, so for as long the client would not see an end that we make by closing ours. It is told explicitly.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from reuseport.channel import close_all, receive_packet
from reuseport.scoreboard import Desk, add
from reuseport.worker.passing import RESCUED
from reuseport.worker.protocol.activity import NEVER
from reuseport.worker.protocol.connection import TransferableH11, TransferableHttpTools
from reuseport.worker.protocol.naming import MOST_TRAVELS, made_as
from reuseport.worker.server import Server

AGAIN = 0.1
"""Seconds until the next try when no descriptor is free."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})
"""This process, or the host, has no descriptor left (dup(2)). Connections that end give some back."""
AT_ONCE = 16
"""Connections taken up before the event loop turns: a flood of them must not stall the requests of others."""

log = logging.getLogger("uvicorn.error")


class Inbox:
    """Reads one inbox while it is open. Owns its descriptor."""

    PACKET = 1 + MOST_TRAVELS
    """Bytes of one, at most."""
    DESCRIPTORS = 1
    """That come with one."""

    def __init__(self, fd: int, server: Server, desk: memoryview[int]) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._server = server
        self._desk = desk
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take up what comes, from now on."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._on_readable)

    def close(self) -> None:
        """Take up nothing more: what still comes waits for whoever opens this inbox next. Once or often."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _on_readable(self) -> None:
        # Others look whether we turn while something is in here.
        self._server.server_state.load.stir()
        for _ in range(AT_ONCE):
            if not self._room():
                return
            try:
                packet, fds, flags = receive_packet(self._socket, self.PACKET, self.DESCRIPTORS)
            except BlockingIOError:
                return
            if not packet:  # end of file: the launcher and every worker that could send are gone
                self._loop.remove_reader(self._socket.fileno())
                return
            if flags & socket.MSG_CTRUNC:
                log.error("a connection passed to us is lost: no descriptor is free; raise ulimit -n")
            self._take(packet, fds)

    def _take(self, packet: bytes, fds: list[int]) -> None:
        """What one packet has brought; the descriptors are ours."""
        for fd in fds:
            try:
                connection = socket.socket(fileno=fd)
            except OSError:
                os.close(fd)  # no connection: whoever has the other end may send what it likes
                continue
            try:
                make = made_as(self._server.protocol, packet[1:])
            except ValueError:
                connection.close()  # nor does any worker of ours say such a thing
                continue
            self._begin(self._take_up(connection, make, rescued=packet[:1] == RESCUED))

    def _begin(self, taking_up: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(taking_up)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _room(self) -> bool:
        """Whether descriptors are free. Without them the kernel would drop the connection, so it waits."""
        free: list[int] = []
        try:
            while len(free) < self.DESCRIPTORS:
                free.append(os.dup(self._socket.fileno()))
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            log.error("connections passed to us wait: no descriptor is free; raise ulimit -n")  # noqa: TRY400
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_later(AGAIN, self._resume)
            return False
        finally:
            close_all(free)
        return True

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)

    async def _take_up(
        self, connection: socket.socket, make: Callable[[], asyncio.Protocol], *, rescued: bool
    ) -> None:
        _, protocol = await self._loop.connect_accepted_socket(make, connection)
        add(self._desk, Desk.HANDOFFS_RECEIVED)
        if rescued:
            self._end_for_all(protocol, connection)
        # uvicorn starts the keep-alive clock after a response; the one this connection waits after was given
        # by another worker. If the client has spoken meanwhile, the clock is not ours to start.
        if isinstance(protocol, TransferableHttpTools | TransferableH11) and _unasked(protocol):
            protocol.keep()

    def _end_for_all(self, protocol: asyncio.BaseProtocol, connection: socket.socket) -> None:
        """When this connection ends here, and is not passed on, it ends wherever else it is held."""
        lost = protocol.connection_lost

        def end(exc: Exception | None) -> None:
            # Who passes it on takes it out of there first (passing.py).
            if protocol in self._server.server_state.connections:
                with contextlib.suppress(OSError):  # the client was quicker
                    connection.shutdown(socket.SHUT_WR)
            lost(exc)

        protocol.connection_lost = end  # type: ignore[method-assign] # of this one; it is asked for when it ends


def _unasked(protocol: TransferableHttpTools | TransferableH11) -> bool:
    """Nothing has come since it was taken up: once answered, it is idle too, but with a clock of its own."""
    return protocol.rested == NEVER and protocol.idle()
