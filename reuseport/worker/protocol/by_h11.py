"""h11, whose connection object knows what it holds: uvicorn's protocol and request cycle, kept by us."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any

import h11
from h11._connection import DEFAULT_MAX_INCOMPLETE_EVENT_SIZE
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.utils import is_ssl

from reuseport.scoreboard import Desk
from reuseport.worker.protocol.activity import NEVER
from reuseport.worker.protocol.awaited import (
    BODY,
    HEAD,
    IS_SILENT,
    OWES_NOTHING,
    READING,
    RESTS,
    Sign,
    Waits,
    untaken,
)
from reuseport.worker.protocol.count import Application, Message, Receive, Send
from reuseport.worker.protocol.kept import Kept, quiet
from reuseport.worker.protocol.lateness import late, too_late
from reuseport.worker.protocol.load import Load
from reuseport.worker.protocol.state import State
from reuseport.worker.protocol.watching import Watching


class FirstTask:
    """Stands where a connection that has not asked yet expects the set of tasks: it is load until it asks."""

    __slots__ = ("_connection", "_load", "discard")

    def __init__(self, connection: TransferableH11, load: Load) -> None:
        self._connection = connection
        self._load = load
        self.discard = load.discard

    def __len__(self) -> int:
        return len(self._load)

    def add(self, task: asyncio.Task[None]) -> None:
        """Its first request begins."""
        self._connection.tasks = self._load
        self._load.ask(self._connection, task)


class TransferableH11(Kept, H11Protocol):
    """A connection read by h11."""

    server_state: State
    tasks: Any
    app: Any
    access_logger: Any
    rested = NEVER
    round = NEVER
    waits: Waits | None = None
    sign: Sign = None
    since = 0
    heard = False
    _asked = False

    def __init__(
        self,
        config: Any,
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        H11Protocol.__init__(self, config, server_state, app_state, _loop)
        most = config.h11_max_incomplete_event_size
        self.conn = Watching(DEFAULT_MAX_INCOMPLETE_EVENT_SIZE if most is None else most, server_state.limits)
        self.keeping = server_state.shared_with(config, self.loop).keeping
        # Request cycles get it from here, and call nothing but `info`.
        self.access_logger = server_state.access_log or self.access_logger
        self._application: Application = self.app
        if self.limit_concurrency is not None or server_state.limits.wait:
            self.app = self._ask

    def arrived(self) -> None:
        """It was accepted: load until it asks."""
        self.tasks = FirstTask(self, self.server_state.load)

    def connection_lost(self, exc: Exception | None) -> None:
        H11Protocol.connection_lost(self, exc)
        self.end()
        if self.round != NEVER:
            self.server_state.activity.lose(self)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self.end()

    def end(self) -> None:
        """It is gone, or a WebSocket now. Or we would hold on to ourselves until the garbage collection."""
        self.app = self._application
        if isinstance(self.tasks, FirstTask):
            self.tasks = self.server_state.load
            self.server_state.load.leave(self)

    def send_400_response(self, msg: str) -> None:
        # uvicorn says 400 to everything; h11 knows better when a head is too large for it.
        hint = getattr(sys.exc_info()[1], "error_status_hint", 400)
        limits = self.server_state.limits
        if hint == 413 or (hint == 431 and (limits.head_size or limits.fields)):
            self.server_state.requests.turn_away(Desk.BODY_TOO_LARGE if hint == 413 else Desk.HEAD_TOO_LARGE)
            self.refuse(hint)
            return
        self.server_state.requests.answer(400)
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """uvicorn's, with `rest` in the place of its timer."""
        if self.limit_concurrency is not None:
            # uvicorn answers 503 beyond it, without asking the application. A connection's requests are
            # answered one by one: before each answer it was asked once or not at all.
            if not self._asked:
                self.server_state.requests.answer(503)
            self._asked = False
        self.server_state.total_requests += 1
        # Its task is taken off the books a turn of the loop later, and many may be answered in this one.
        self.server_state.load.beat()
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.rest()
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE:
            self.conn.start_next_cycle()
            self.handle_events()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        super().data_received(data)

    def resting(self) -> bool:
        """Whether it surely waits for the next request: h11 tells by `awaits`."""
        return False

    def awaits(self) -> tuple[Waits, Sign]:
        """What it waits for from its client, and a sign that it is still the same."""
        if self.transport.get_write_buffer_size():
            return READING, untaken(self.transport)
        conn = self.conn
        cycle: RequestResponseCycle | None = self.cycle
        if conn.their_state is h11.IDLE:
            if conn.trailing_data[0]:
                return HEAD, cycle
            return IS_SILENT if cycle is None and self.rested == NEVER else RESTS
        if cycle is None or cycle.response_complete:
            return OWES_NOTHING if cycle is None else RESTS
        owes = conn.their_state is h11.SEND_BODY and not self.flow.read_paused
        return (BODY, cycle) if owes and not cycle.waiting_for_100_continue else OWES_NOTHING

    def hush(self) -> bool:
        """Take the word from the application; whether it has not begun to speak."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        cycle.disconnected = True
        cycle.message_event.set()
        return not cycle.response_started

    def _ask(self, scope: Message, receive: Receive, send: Send) -> Awaitable[Any]:
        self._asked = True
        state = self.server_state
        if scope["type"] == "http" and late(self.transport, state.limits):
            state.requests.turn_away(Desk.WAITED)
            state.requests.answer(503)
            return too_late(scope, receive, send)
        return self._application(scope, receive, send)

    def between_requests(self) -> bool:
        """Whether every request that has begun is answered."""
        conn = self.conn
        return (
            conn.our_state is h11.IDLE and conn.their_state is h11.IDLE and conn.trailing_data == (b"", False)
        )

    def idle(self) -> bool:
        """Whether the descriptor is all there is to this connection."""
        return not is_ssl(self.transport) and quiet(self.transport) and self.between_requests()
