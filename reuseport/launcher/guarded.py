"""The event loop as the launcher itself uses it: the one seam that every callback of ours goes through.

What becomes of one that fails is decided here and nowhere else. asyncio would tell of it and go on, with an
exit that was never acted on; and it forgets whose callback it was once that has removed its own reader. Tasks
and transports of visitors are given to the loop itself: what fails there is told, and their own affair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Seen = TypeVar("Seen")

log = logging.getLogger("reuseport")


class GuardedLoop:
    """`failed` gets the error of any callback that was given here; it must not raise."""

    def __init__(self, loop: asyncio.AbstractEventLoop, failed: Callable[[Exception], None]) -> None:
        self._loop = loop
        self._failed = failed
        self._told: set[str] = set()

    def guard(self, callback: Callable[[*Arguments], object]) -> Callable[[*Arguments], None]:
        """The same callback; what it raises comes to `failed`."""

        def guarded(*arguments: *Arguments) -> None:
            try:
                callback(*arguments)
            except Exception as error:  # noqa: BLE001 - the seam: whatever it is, we must not go deaf
                self._failed(error)

        return guarded

    def attempt(self, look: Callable[[], Seen]) -> Seen | None:
        """What a look brings, or a telling, that nobody depends on; None when it fails.

        That is told, once for each error, and we go on: nobody is served worse.
        """
        try:
            return look()
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            if words not in self._told:
                self._told = {*list(self._told)[:99], words}
                log.exception("defect in the launcher, which goes on")
            return None

    def time(self) -> float:
        """Seconds of the loop's clock."""
        return self._loop.time()

    def add_reader(self, fd: int, callback: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
        """Call it whenever the descriptor is readable."""
        self._loop.add_reader(fd, self.guard(callback), *arguments)

    def remove_reader(self, fd: int) -> None:
        """Call it no more."""
        self._loop.remove_reader(fd)

    def add_writer(self, fd: int, callback: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
        """Call it whenever the descriptor is writable."""
        self._loop.add_writer(fd, self.guard(callback), *arguments)

    def remove_writer(self, fd: int) -> None:
        """Call it no more."""
        self._loop.remove_writer(fd)

    def call_soon(self, callback: Callable[[*Arguments], object], *arguments: *Arguments) -> asyncio.Handle:
        """Call it in the next turn."""
        return self._loop.call_soon(self.guard(callback), *arguments)

    def call_soon_threadsafe(
        self, callback: Callable[[*Arguments], object], *arguments: *Arguments
    ) -> asyncio.Handle:
        """The same from another thread. Raises RuntimeError when the loop is closed."""
        return self._loop.call_soon_threadsafe(self.guard(callback), *arguments)

    def call_later(
        self, delay: float, callback: Callable[[*Arguments], object], *arguments: *Arguments
    ) -> asyncio.TimerHandle:
        """Call it in so many seconds."""
        return self._loop.call_later(delay, self.guard(callback), *arguments)

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *arguments: *Arguments
    ) -> asyncio.TimerHandle:
        """Call it at this time of the loop's clock."""
        return self._loop.call_at(when, self.guard(callback), *arguments)
