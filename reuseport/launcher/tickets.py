"""The keys of TLS session tickets: one to make them with, and the one before, which is still taken.

They change with time, not with a reload: a session outlives a deploy, and a key that gets known opens no more
than two periods. A worker that hears late makes tickets with a key that all others still take; one that has
none of them, or another's, has its clients greet it in full.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from reuseport.launcher.guarded import GuardedLoop

SIZE = 80
"""Bytes: its name, an HMAC's key, a cipher's."""


class TicketKeys:
    """Of one server. They are told to workers, on their channels, and written nowhere."""

    def __init__(self, loop: GuardedLoop, period: float, tell: Callable[[tuple[str, ...]], None]) -> None:
        """`tell` all workers, every `period` seconds; 0: these are for as long as we live."""
        self._loop = loop
        self._period = period
        self._tell = tell
        self.keys: tuple[str, ...] = (os.urandom(SIZE).hex(),)
        """In hexadecimal digits, the newest first."""
        if period:
            loop.call_later(period, self._rotate)

    def _rotate(self) -> None:
        self._loop.call_later(self._period, self._rotate)
        self.keys = (os.urandom(SIZE).hex(), self.keys[0])
        self._tell(self.keys)
