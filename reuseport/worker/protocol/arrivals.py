"""How long connections wait in the accept queue: of one every tenth of a second, the first that was accepted.

Who is accepted first in a turn of the event loop has waited longest, so a sample of the first ones finds what
matters; and nobody else pays for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from reuseport.kernel.waiting import since_handshake
from reuseport.scoreboard import Desk

ROUND = 50
"""Looks, of a tenth of a second each."""
TURNS = 3
"""Of the event loop, within which a protocol that was made is connected, but for its TLS handshake."""


class Arrivals:
    """Writes ACCEPT_WAIT, the longest wait of this round of looks and the last one."""

    def __init__(self, desk: memoryview[int]) -> None:
        self._desk = desk
        self.due = True
        """The next connection is to be asked."""
        self._looks = 0
        self._longest = self._before = 0.0
        """Seconds, of this round and the last."""

    def look(self) -> None:
        """Call every tenth of a second."""
        self.due = True
        self._looks += 1
        if self._looks % ROUND == 0:
            self._before, self._longest = self._longest, 0.0
        self._desk[Desk.ACCEPT_WAIT] = int(max(self._before, self._longest) * 1e9)

    def take(self, connection: Any) -> None:
        """It was just accepted, and is not connected yet."""
        self.due = False
        self._ask(asyncio.get_running_loop(), connection, TURNS)

    def _ask(self, loop: asyncio.AbstractEventLoop, connection: Any, turns: int) -> None:
        transport = getattr(connection, "transport", None)
        if transport is not None:
            found = transport.get_extra_info("socket")
            if found is not None and not transport.is_closing():
                self._longest = max(self._longest, since_handshake(found))
        elif turns:
            loop.call_soon(self._ask, loop, connection, turns - 1)
