"""Accepts one by one, where somebody must be let in first: in the place of the event loop's own accepting.

The event loop empties an accept queue whenever it turns. Where connections are limited, who is beyond the
limit stays in the queue: the client is connected and waits, a sibling with room is made to take it over
(fostering), and the kernel is told to choose others. Where proxies announce their clients, the announcement
is read before the connection has a protocol.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable

from reuseport.kernel.accepting import EXHAUSTED

AGAIN = 0.01
"""Seconds until the next look for room, or for a free descriptor, while there is none."""
SAID = 60.0
"""Seconds for which it is enough to have said that there is none."""
AT_ONCE = 64
"""Connections accepted before the event loop turns."""

log = logging.getLogger("uvicorn.error")


class Gate:
    """One listener, which is its own from now on. Stands where an asyncio.Server is expected."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        room: Callable[[], int],
        welcome: Callable[[socket.socket], None],
    ) -> None:
        """`room` says how many may come now, `welcome` gets them."""
        self.sockets: tuple[socket.socket, ...] = (listener,)
        self._loop = loop
        self._listener = listener
        self._room = room
        self._welcome = welcome
        self._waiting: asyncio.TimerHandle | None = None
        self._said_at = -math.inf

    def open(self, backlog: int) -> None:
        """Listen, and accept from now on."""
        self._listener.listen(backlog)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(AT_ONCE):
            if self._room() <= 0:
                self._rest()
                return
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._say(error)
                    self._rest()
                    return
                continue  # this client has already left
            connection.setblocking(False)
            self._welcome(connection)

    def _say(self, error: OSError) -> None:
        now = self._loop.time()
        if now >= self._said_at + SAID:
            self._said_at = now
            log.error("connections wait: %s; raise ulimit -n", error.strerror)

    def _rest(self) -> None:
        """No more for now."""
        self._loop.remove_reader(self._listener.fileno())
        self._waiting = self._loop.call_later(AGAIN, self._look)

    def _look(self) -> None:
        if self._room() > 0:
            self._waiting = None
            self._loop.add_reader(self._listener.fileno(), self._on_readable)
        else:
            self._waiting = self._loop.call_later(AGAIN, self._look)

    def pause(self) -> None:
        """Accept no more; what is queued is for who holds a duplicate."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._loop.remove_reader(self._listener.fileno())

    def close(self) -> None:
        """Let go of the listener. Once or often."""
        if self._listener.fileno() >= 0:
            self.pause()
            self._listener.close()
