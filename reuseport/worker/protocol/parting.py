"""How a connection that httptools reads ends, becomes a WebSocket, or is told that it makes no sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reuseport.worker.protocol.activity import NEVER
from reuseport.worker.protocol.cycle import Cycle
from reuseport.worker.protocol.state import State


class Parting(HttpToolsProtocol):
    """The end of `by_httptools`' connections; their attributes are there."""

    __slots__ = ()

    server_state: State
    tasks: Any
    answer: Callable[[int], None]
    cycle: Cycle | None  # type: ignore[assignment]
    running: Cycle | None
    begun: Cycle | None
    pipeline: list[Cycle]  # type: ignore[assignment]
    newcomer: bool
    round: int

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's, and each request of the connection hears of it."""
        self.connections.discard(self)
        if self.logger.isEnabledFor(TRACE_LOG_LEVEL):
            self._trace("connection lost")
        # The one that runs need not be the one that came last.
        for cycle in (self.running, self.cycle):
            if cycle is not None:
                cycle.disconnected = not cycle.response_complete
                cycle.tell()
        self.resume_writing()
        if exc is None:
            self.transport.close()
            self._unset_keepalive_if_required()
        self.end()
        if self.round != NEVER:
            self.server_state.activity.lose(self)

    def handle_websocket_upgrade(self) -> None:
        """As uvicorn's; it is none of ours afterwards."""
        super().handle_websocket_upgrade()
        self.end()

    def end(self) -> None:
        """It is gone, or a WebSocket now. Or we would hold on to ourselves until the garbage collection."""
        self.parser = None  # type: ignore[assignment]
        self.cycle = self.running = self.begun = None
        self.pipeline.clear()
        if self.newcomer:
            self.newcomer = False
            self.tasks.leave(self)

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's."""
        self.answer(400)
        super().send_400_response(msg)

    def _trace(self, what: str) -> None:
        who = "{}:{} - ".format(*self.client) if self.client else ""
        self.logger.log(TRACE_LOG_LEVEL, "%sHTTP %s", who, what)
