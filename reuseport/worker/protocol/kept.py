"""What both parsers' connections do beside uvicorn's: they arrive, rest between two requests, and leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from reuseport.scoreboard import Desk
from reuseport.worker.protocol.awaited import ARRIVAL, BODY, HEAD, READING, Sign, Waits
from reuseport.worker.protocol.farewell import Farewell, refusal, reset
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
    waits: Waits | None
    sign: Sign
    """What it was found waiting for, by the look `since`."""
    since: int
    heard: bool
    """A part of a body has come since the last look."""

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

    # ── who is turned away ────────────────────────────────────────────────────────────────────────────

    def give_up(self, waits: Waits) -> None:
        """Its client has had its time."""
        if self.transport.is_closing() and waits is not READING:
            return
        self.server_state.requests.turn_away(TOO_LONG[waits])
        if waits is ARRIVAL:
            # It has asked for nothing, so nobody would read an answer.
            self.transport.close()
        elif waits is READING:
            reset(self.transport)
        else:
            self.refuse(408)

    def refuse(self, status: int) -> None:
        """Answer in the application's place, and leave; the application hears that its client has gone."""
        if self.hush():
            self.server_state.requests.answer(status)
            self.transport.write(refusal(status, self.server_state.defaults))
            Farewell(self).begin()
        else:
            # A response has begun, and what is behind half of one would be taken for the rest.
            self.transport.abort()

    def hush(self) -> bool:
        """Take the word from the application; whether it has not begun to speak."""
        raise NotImplementedError


TOO_LONG = {
    ARRIVAL: Desk.SILENT,
    HEAD: Desk.SLOW_HEAD,
    BODY: Desk.SLOW_BODY,
    READING: Desk.NOT_READING,
}


def quiet(transport: asyncio.Transport) -> bool:
    """Open, and with nothing left to write."""
    return not transport.is_closing() and transport.get_write_buffer_size() == 0
