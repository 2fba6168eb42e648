"""One look at all connections, from time to time: who has been waited for long enough is let go.

uvicorn starts a timer of the event loop after each response and stops it at the client's next byte; on uvloop
the two take longer than all that we do with a request. Here a connection notes in which look it was answered
last, and nothing else (awaited.py). A time is never cut short, and lasts at most two tenths longer. It is
counted in looks, so a worker that was blocked reads what its clients have sent meanwhile before it closes any
of them. While nobody is connected there is nothing to look at.

A look at thousands is cut into slices, between which requests have their turn: others do not notice how many
are connected, or how many leave at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from reuseport.worker.protocol import farewell
from reuseport.worker.protocol.activity import NEVER
from reuseport.worker.protocol.awaited import ARRIVAL, BODY, FAREWELL, HEAD, NOT, READING, REST
from reuseport.worker.protocol.limits import BEAR_ALL, Limits

LOOK = 0.1
"""Seconds between two looks, at least."""
SHORT = 1
"""Seconds up to which timers do it after all between two requests: a tenth is less than a look."""
SLICE = 0.0005
"""Seconds after which a look lets requests come first."""
BETWEEN = 0.002
"""Seconds until it goes on."""
AT_ONCE = 32
"""Connections that are looked at without a look at the clock."""


class Keeping:
    """Closes connections that are `rested`, the look of their last answer, too long ago, and gives up those
    whose clients owe us something for too long.
    """

    def __init__(self, connections: AbstractSet[Any], timeout: int, limits: Limits = BEAR_ALL) -> None:
        self.looks = 0
        self.by_timers = timeout <= SHORT
        """Each connection has a timer of its own between two requests."""
        self._connections = connections
        self._left: Iterator[Any] | None = None
        """Whom this look has still to come to."""
        self._goes_on: asyncio.TimerHandle | None = None
        kept = looks(timeout)
        self._kept = 0 if self.by_timers else kept
        self._most = {
            NOT: 0,
            ARRIVAL: looks(limits.arrival),
            HEAD: looks(limits.head),
            BODY: looks(limits.body),
            READING: looks(limits.write),
        }
        """Looks for which a connection may wait; 0: for ever."""
        self._each = max(1, min(filter(None, (self._kept, *self._most.values())), default=10) // 10)
        # Not by a tenth: its time is short, and nobody waits for its end.
        self._most[FAREWELL] = looks(farewell.TIME)

    def look(self) -> None:
        """Call every LOOK seconds, or less often."""
        self.looks += 1
        if self._left is None:
            if self.looks % self._each:
                return
            self._left = iter(list(self._connections))
        if self._goes_on is None:
            self._go_on()

    def _go_on(self) -> None:
        """Of one look, as much as may be done at once."""
        self._goes_on = None
        over = self.looks - self._kept
        until = time.monotonic() + SLICE
        while self._left is not None:
            number = 0
            for connection in islice(self._left, AT_ONCE):
                number += 1
                # Protocols that are not ours have a timer.
                rested = getattr(connection, "rested", None)
                if rested is None or (rested > over and connection.resting()):
                    continue
                if self._let_go(connection, rested <= over) and time.monotonic() > until:
                    break
            else:
                if number < AT_ONCE:
                    self._left = None
                    return
            if time.monotonic() > until:
                self._goes_on = asyncio.get_running_loop().call_later(BETWEEN, self._go_on)
                return

    def _let_go(self, connection: Any, over: bool) -> bool:
        """Whether its time was; `over`: that for which it is kept between two requests."""
        if connection not in self._connections:
            return False  # gone since this look began
        waits, sign = connection.awaits()
        if waits is REST:
            if over and connection.rested != NEVER and self._kept:
                connection.timeout_keep_alive_handler()
                return True
        elif most := self._most[waits]:
            if connection.waits is not waits or not _same(connection.sign, sign):
                connection.waits, connection.sign, connection.since = waits, sign, self.looks
                connection.heard = False
            elif waits is BODY and connection.heard:
                connection.heard, connection.since = False, self.looks
            elif self.looks - connection.since >= most:
                connection.give_up(waits)
                return True
        return False


def looks(seconds: float) -> int:
    """In which so much time cannot be over: the first can come at once. 0: for ever."""
    return round(seconds / LOOK) + 1 if seconds else 0


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is int and one == other)
