"""Goodbyes of TLS that nobody answers, while a worker leaves.

Closing a TLS connection sends close_notify, and the event loop waits for the client's, for half a minute
(asyncio: ssl_shutdown_timeout). Who keeps connections in a pool reads nothing until the next request, and so
answers nothing: each of them would hold a stop up for all that time. RFC 8446, 6.1, asks nobody to wait.

Not by a shorter ssl_shutdown_timeout, which runs while output is still to be read, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reuseport.worker.protocol.awaited import untaken

PATIENCE = 1.0
"""Seconds for an answer, from when the client has taken all that was written."""
LOOK = 0.2
"""Seconds between two looks."""


class Unanswered:
    """Lets go of connections that are closing, and have nothing more to tell."""

    def __init__(self, connections: Iterable[Any]) -> None:
        self._connections = connections
        self._seen: dict[Any, tuple[int, float]] = {}
        """Of those that are closing: what the client had not taken, and since when it is so much."""
        self._next = float("-inf")

    def look(self, now: float) -> None:
        """Call it as often as you like; `now` in seconds of one clock."""
        if now < self._next:
            return
        self._next = now + LOOK
        closing = [one for one in self._connections if _is_closing(one)]
        self._seen = {one: self._since(one, now) for one in closing}
        for connection, (left, since) in self._seen.items():
            if not left and now - since >= PATIENCE:
                connection.transport.abort()

    def _since(self, connection: Any, now: float) -> tuple[int, float]:
        left = untaken(connection.transport)
        before = self._seen.get(connection)
        return before if before is not None and before[0] == left else (left, now)


def _is_closing(connection: Any) -> bool:
    # A protocol of the operator's own (--http module:class) need not keep its transport where uvicorn's do.
    transport = getattr(connection, "transport", None)
    return transport is not None and bool(transport.is_closing())
