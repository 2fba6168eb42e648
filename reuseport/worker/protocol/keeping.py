"""Connections that are kept between two requests, until their time is over.

uvicorn starts a timer of the event loop after each response and stops it at the client's next byte; on uvloop
the two take longer than all that we do with a request. Here a connection notes in which look it was answered
last. From time to time all connections are looked at, and who has been idle for --timeout-keep-alive seconds
is closed: never earlier, and at most a tenth later. Time is counted in looks, so a worker that was blocked
reads what its clients have sent meanwhile before it closes any of them.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from reuseport.worker.protocol.activity import NEVER

LOOK = 0.1
"""Seconds between two looks, at least."""
SHORT = 1
"""Seconds up to which timers do it after all: a tenth is less than a look."""


class Keeping:
    """Closes connections that are `rested`, the look of their last answer, too long ago."""

    def __init__(self, connections: AbstractSet[Any], timeout: int) -> None:
        self.looks = 0
        self.by_timers = timeout <= SHORT
        """Each connection has a timer of its own."""
        self._connections = connections
        self._most = round(timeout / LOOK) + 1
        """Looks in which a connection may be idle: the first can come at once."""
        self._each = max(1, self._most // 10)

    def look(self) -> None:
        """Call every LOOK seconds, or less often."""
        self.looks += 1
        if self.looks % self._each or self.by_timers:
            return
        over = self.looks - self._most
        for connection in list(self._connections):
            # Protocols that are not ours have a timer.
            rested = getattr(connection, "rested", None)
            if rested is not None and NEVER < rested <= over and connection.between_requests():
                connection.timeout_keep_alive_handler()
