"""A listener for an event loop that accepts many at once: it says once that nothing more can be accepted.

asyncio looks away for a second when no descriptor is free, but not before it has tried as often as the accept
queue may be long, with a traceback in the log for each (selector_events.py, _accept_connection, up to 3.13):
fifteen thousand lines a second, and nearly as long nobody else is answered, for as long as clients wait.
"""

from __future__ import annotations

import errno
import math
import socket
import time
from typing import Any

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Nothing more can be accepted for now (accept(2)). Its other errors concern one connection each."""
TOLD = 0.5
"""Seconds for which an event loop that was told needs not be told again: less than it looks away."""


class Listener(socket.socket):
    """As any socket, but for that."""

    _told_at = -math.inf

    # All of the library's, not around it: one call less for every connection.
    def accept(self) -> tuple[socket.socket, Any]:
        """Raises OSError, of EXHAUSTED once; then BlockingIOError, as if nobody waited."""
        try:
            fd, address = self._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in EXHAUSTED:
                now = time.monotonic()
                if now < self._told_at + TOLD:
                    raise BlockingIOError from error
                self._told_at = now
            raise
        return socket.socket(self.family, self.type, self.proto, fileno=fd), address
