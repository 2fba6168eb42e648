"""Views that are made after they were asked for, and seldom enough, however many ask.

Whoever has just changed something wants to see it changed, so nothing old is given out. Instead, who asks too
soon waits: a view may take a tenth of the event loop's time, and all who wait share the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

REST = 9
"""Times as long as a view took to make, until the next one is made."""

T = TypeVar("T")


class Fresh(Generic[T]):
    """Makes one kind of view."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._rested_at = 0.0
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """One that is made from now on. Raises what making it does."""
        if self._next is None:
            self._next = asyncio.create_task(self._make_next())
        # Who asked first may leave; the others still want it.
        return await asyncio.shield(self._next)

    async def _make_next(self) -> T:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._rested_at - loop.time())
        # Who asks from here on asks after it was made.
        self._next = None
        begun = loop.time()
        try:
            return self._make()
        finally:
            now = loop.time()
            self._rested_at = now + REST * (now - begun)
