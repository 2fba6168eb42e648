"""What a connection does with its transport beside reading requests: flow control both ways, and addresses.

uvicorn has an object for the first, with an event in it, for each connection; most never wait for anything.
The second it asks of the socket, for which uvloop makes a socket object each time: 4 µs of a new connection,
where the transport knows both in one.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.utils import get_local_addr, get_remote_addr


class Flow:
    """A connection's own flow control. An event to wait for is made when somebody waits."""

    transport: asyncio.Transport
    read_paused: bool
    write_paused: bool
    _drained: asyncio.Event | None

    def pause_reading(self) -> None:
        """Read no more for now: requests are pipelined, or nobody reads a body."""
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on. Once or often."""
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Called by the transport when too much waits to be written."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Called by the transport when it has been written."""
        self.write_paused = False
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def drained(self) -> None:
        """Wait until more may be written."""
        if self.write_paused:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()


def addresses(transport: asyncio.Transport) -> tuple[tuple[str, int | None] | None, tuple[str, int] | None]:
    """The server's and the client's, as uvicorn has them in a scope."""
    server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    return (
        server[:2] if type(server) is tuple else get_local_addr(transport),
        client[:2] if type(client) is tuple else get_remote_addr(transport),
    )
