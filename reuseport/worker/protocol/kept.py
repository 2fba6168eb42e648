"""What both parsers' connections do beside uvicorn's: they arrive, rest between two requests, and leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from reuseport.worker.protocol.keeping import Keeping
from reuseport.worker.protocol.state import State


class Kept:
    """A connection that is kept between two requests without a timer of its own."""

    server_state: State
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    timeout_keep_alive: int
    timeout_keep_alive_task: asyncio.TimerHandle | None
    timeout_keep_alive_handler: Callable[[], None]
    keeping: Keeping
    rested: int
    """The look of `keeping` in which it was answered last."""
    round: int
    """The last one of `activity` in which it had an answer."""

    def rest(self) -> None:
        """It has been answered, and is to be kept."""
        state = self.server_state
        self.rested = self.keeping.looks
        activity = state.activity
        if self.round != activity.round:
            activity.note(self)
        if self.keeping.by_timers:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if state.on_idle is not None:
            connection: Any = self
            state.on_idle(connection)

    def keep(self) -> None:
        """Keep one that has not asked yet, as if it had just been answered."""
        if self.keeping.by_timers:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.rested = self.keeping.looks


def quiet(transport: asyncio.Transport) -> bool:
    """Open, and with nothing left to write."""
    return not transport.is_closing() and transport.get_write_buffer_size() == 0
