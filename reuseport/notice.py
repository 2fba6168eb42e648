"""The notice that a worker gives to its application: it drains, so what would run for ever should end now.

One object a process, which requests find in their scope and other code in the package. The worker alone sets
it, once. In a process that is no worker it never comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator


class Draining:
    """Whether this process takes leave. May be asked and awaited in any thread and in any event loop."""

    def __init__(self) -> None:
        self._set = False
        self._waiters: set[asyncio.Future[None]] = set()

    def is_set(self) -> bool:
        """Whether the worker drains; costs nothing."""
        return self._set

    async def wait(self) -> None:
        """Return when the worker drains, at once if it does already."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            # After the waiter can be seen: another thread may set it in between.
            if not self._set:
                await waiter
        finally:
            self._waiters.discard(waiter)

    def __await__(self) -> Generator[object, None, None]:
        """`await draining` is `await draining.wait()`."""
        return self.wait().__await__()

    def set(self) -> None:
        """The worker's. Wake whoever waits."""
        self._set = True
        for waiter in list(self._waiters):
            try:
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)
            except RuntimeError:  # a loop of the application's that is closed: nobody waits there any more
                self._waiters.discard(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


draining = Draining()
"""Set when this worker begins to drain: `draining.is_set()`, `await draining.wait()`. Requests find it in
`scope["extensions"]["reuseport.draining"]`.
"""
