"""Connections that are kept between two requests: told of the moment they become idle, and of their end.

uvicorn starts a timer of the event loop after each response and stops it at the client's next byte; on uvloop
the two take longer than all that we do with a request. They stand here for a note of when the response was
complete. From time to time all connections are looked at, and who has been idle for --timeout-keep-alive
seconds is closed: never earlier, and at most a tenth later. Time is counted in looks, so a worker that was
blocked reads what its clients have sent meanwhile before it closes any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reuseport.worker.protocol.activity import NEVER

if TYPE_CHECKING:
    from reuseport.worker.protocol.connection import State

LOOK = 0.1
"""Seconds between two looks, at least."""
SHORT = 1
"""Seconds up to which uvicorn's timers do it after all: a tenth is less than a look."""


class Keeping:
    """Stands where uvicorn's protocols expect the event loop: they want tasks of it, and this one timer."""

    def __init__(self, state: State, loop: asyncio.AbstractEventLoop, timeout: int) -> None:
        self.create_task = loop.create_task
        self.looks = 0
        self._loop = loop
        self._state = state
        self._activity = state.activity
        self._timeout = timeout
        self._most = round(timeout / LOOK) + 1
        """Looks in which a connection may be idle: the first can come at once."""
        self._each = max(1, self._most // 10)

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle | None:
        """A connection has been answered and is to be kept; `callback`, a method of its, is to close it.

        uvicorn calls it last, and not for a connection that is closing or has another request waiting.
        """
        connection: Any = callback.__self__  # type: ignore[attr-defined]
        connection.rested = self.looks
        if connection.round != self._activity.round:
            self._activity.note(connection)
        if self._state.on_idle is not None:
            self._state.on_idle(connection)
        if self._timeout <= SHORT:
            return self._loop.call_later(delay, callback)
        return None

    def begin(self, connection: Any) -> None:
        """Keep one that has not asked yet, as if it had just been answered."""
        if self._timeout <= SHORT:
            connection.timeout_keep_alive_task = self._loop.call_later(
                connection.timeout_keep_alive, connection.timeout_keep_alive_handler
            )
        else:
            connection.rested = self.looks

    def look(self) -> None:
        """Call every LOOK seconds, or less often."""
        self.looks += 1
        if self.looks % self._each or self._timeout <= SHORT:
            return
        over = self.looks - self._most
        connections: list[Any] = list(self._state.connections)
        for connection in connections:
            # Protocols that are not ours have a timer.
            rested = getattr(connection, "rested", None)
            if rested is not None and NEVER < rested <= over and connection.between_requests():
                connection.timeout_keep_alive_handler()
