"""A visitor's connection: uvicorn's h11 protocol with bounds, for the process that supervises serves it.

h11 because it bounds what a request's head may have. Everything else that a visitor could make us hold or do
is bounded here: how many there are, how long one may be silent, leave its answer unread or hang on to a
connection that we closed, and for how long visitors together keep the event loop from turning.
"""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import math

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MOST = 128
"""Visitors at a time and door. For one more somebody has to go: workers need descriptors, too."""
PATIENCE = 10.0
"""Seconds without a running response, or without room for one, after which a visitor is cut off."""
MOST_HEAD = 16 * 1024
"""Bytes. A browser sends us the cookies of every other server on the same host."""
PIECE = 2048
"""Bytes read at once. In chunks of one byte h11 takes 10 ms for them, a second for asyncio's 256 KiB."""
A_TURN = 4
"""Visitors who are heard in one turn of the loop."""
TURN = 0.005
"""Seconds after which no further one is."""

# uvicorn would warn of each malformed request, and of each upgrade, in the server's own log.
log = logging.getLogger("reuseport.admin.visitor")
log.setLevel(logging.ERROR)


class Visitors(ServerState):
    """uvicorn's state, which knows all connections: of one door, so that none is shut from another."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._timer = loop.call_later(PATIENCE, self._look)
        self._speaking: collections.deque[Visitor] = collections.deque()

    def present(self) -> list[Visitor]:
        """Who is not on the way out."""
        visitors = (visitor for visitor in self.connections if isinstance(visitor, Visitor))
        return [visitor for visitor in visitors if not visitor.transport.is_closing()]

    def make_room(self) -> None:
        """Somebody came. If that is one too many, whoever has been silent for longest has to go."""
        present = self.present()
        if len(present) > MOST:
            min(present, key=Visitor.silent_since).transport.abort()

    def hear(self, visitor: Visitor) -> None:
        """It has sent something: its turn comes, a few visitors in each turn of the loop."""
        self._speaking.append(visitor)
        if len(self._speaking) == 1:
            self._loop.call_soon(self._listen)

    def _listen(self) -> None:
        over = self._loop.time() + TURN
        for _ in range(min(A_TURN, len(self._speaking))):
            self._speaking.popleft().understand()
            if self._loop.time() > over:
                break
        if self._speaking:
            self._loop.call_soon(self._listen)

    def _look(self) -> None:
        self._timer = self._loop.call_later(PATIENCE / 4, self._look)
        now = self._loop.time()
        for visitor in list(self.connections):
            if isinstance(visitor, Visitor):
                visitor.look(now)

    def close(self) -> None:
        """Cut everybody off."""
        self._timer.cancel()
        for visitor in list(self.connections):
            if isinstance(visitor, Visitor):
                visitor.transport.abort()


class Visitor(H11Protocol):
    """One connection."""

    def __init__(self, config: Config, visitors: Visitors, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, visitors, {}, loop)
        self.logger = log
        self.access_log = False
        self._visitors = visitors
        self._rested_at = self.loop.time()
        self._full_since = self._closing_since = math.inf
        self._speaks = False

    # ── what uvicorn does, in our time ────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's
        """Take it in; somebody may have to go for it."""
        # How much asyncio's selector loop reads at once; it has no other way to be told.
        transport.max_size = PIECE  # type: ignore[attr-defined]
        super().connection_made(transport)
        self._visitors.make_room()

    def handle_events(self) -> None:
        """Read no more, until what has come is understood in our turn."""
        if not self._speaks:
            self._speaks = True
            self.transport.pause_reading()
            self._visitors.hear(self)

    def understand(self) -> None:
        """It is our turn."""
        self._speaks = False
        if self.transport.is_closing():
            return
        super().handle_events()
        if not self.flow.read_paused:
            self.transport.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be understood, like every error, unless an answer has begun."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # Whoever waits for the rest of the body has nobody to answer any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps({"error": msg}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """From now on it rests, until its next request has come whole."""
        self._rested_at = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """It does not take what it asked for."""
        self._full_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does."""
        self._full_since = math.inf
        super().resume_writing()

    # ── patience ──────────────────────────────────────────────────────────────────────────────────────

    def silent_since(self) -> float:
        """Since when it has neither a running response nor anything that waits to be understood."""
        return math.inf if self._speaks else self._rests_since()

    def _rests_since(self) -> float:
        running = self.cycle is not None and not self.cycle.response_complete
        return math.inf if running else self._rested_at

    def look(self, now: float) -> None:
        """Cut it off if it has gone too far."""
        if self.transport.is_closing():
            # What was left to be sent when it was closed keeps it from being gone.
            self._closing_since = min(self._closing_since, now)
        if min(self._rests_since(), self._full_since, self._closing_since) <= now - PATIENCE:
            self.transport.abort()
