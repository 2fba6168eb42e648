"""A visitor's connection: uvicorn's h11 protocol with bounds, for the process that supervises serves it.

h11 because it bounds what a request's head may have (64 KiB). Everything else that a visitor could make us
hold is bounded here: how many there are, and how long one may be silent between two requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MOST = 128
"""Visitors at a time. One more is cut off: each costs a descriptor, and workers need some, too."""
PATIENCE = 10.0
"""Seconds without a running response after which a visitor is cut off, whatever it sends meanwhile."""

# uvicorn would warn of each malformed request in the server's own log.
log = logging.getLogger("reuseport.admin")


class Visitors(ServerState):
    """uvicorn's state, which knows all connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._timer = loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._timer = self._loop.call_later(PATIENCE / 4, self._look)
        silent_since = self._loop.time() - PATIENCE
        for visitor in list(self.connections):
            if isinstance(visitor, Visitor) and visitor.rests_since(silent_since):
                visitor.transport.abort()

    def close(self) -> None:
        """Cut everybody off."""
        self._timer.cancel()
        for visitor in list(self.connections):
            if isinstance(visitor, Visitor):
                visitor.transport.abort()


class Visitor(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = log
        self.access_log = False
        self._rested_at = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's
        """Take it in, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()

    def on_response_complete(self) -> None:
        """From now on it rests, until its next request has come whole."""
        self._rested_at = self.loop.time()
        super().on_response_complete()

    def rests_since(self, moment: float) -> bool:
        """No response runs, and none has since."""
        running = self.cycle is not None and not self.cycle.response_complete
        return not running and self._rested_at <= moment
