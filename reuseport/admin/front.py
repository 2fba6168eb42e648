"""Waits at the doors. Who serves there is loaded when the first visitor comes, in a thread.

A launcher that nobody visits holds no web framework, and one that is visited goes on supervising while it is
imported: the visitor waits in the door's accept queue for the third of a second that it takes.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reuseport.admin.doors import Door, opened
from reuseport.admin.sampler import Sampler
from reuseport.instance import Attach, Instance
from reuseport.settings.table import Settings

if TYPE_CHECKING:
    from reuseport.admin.service import Service

AGAIN = 5.0
"""Seconds until the next try, when it failed for something that may be there again, such as a descriptor."""

log = logging.getLogger("reuseport")


@contextmanager
def admin(settings: Settings) -> Iterator[Attach]:
    """Open the doors; what is yielded begins to wait there. Raises ConfigurationError."""
    with opened(settings) as doors:

        def attach(
            loop: asyncio.AbstractEventLoop, instance: Instance
        ) -> Callable[[], Coroutine[None, None, None]]:
            front = Front(loop, instance, doors, settings)
            front.begin()
            return front.end

        yield attach


class Front:
    """From the first visitor to the end. Borrows the doors."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, instance: Instance, doors: Sequence[Door], settings: Settings
    ) -> None:
        self._loop = loop
        self._instance = instance
        self._closed = list(doors)
        """Doors that nobody serves at yet."""
        self._settings = settings
        self._sampler = Sampler(loop, instance)
        self._loading: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._service: Service | None = None

    def begin(self) -> None:
        """Wait for visitors. Whoever wants an admin page also wants to see what was before it was opened."""
        self._wait()
        if any(not door.acts for door in self._closed):
            self._sampler.begin()

    def _wait(self) -> None:
        for door in self._closed:
            self._loop.add_reader(door.listener.fileno(), self._on_visitor)

    def _on_visitor(self) -> None:
        self._stop_waiting()
        self._loading = self._loop.create_task(self._load())
        self._loading.add_done_callback(self._tell)

    def _stop_waiting(self) -> None:
        for door in self._closed:
            self._loop.remove_reader(door.listener.fileno())

    async def _load(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, "load") as thread:
            module = await self._loop.run_in_executor(
                thread, importlib.import_module, "reuseport.admin.service"
            )
        if self._service is None:
            self._service = module.Service(self._loop, self._instance, self._sampler, self._settings)
        while self._closed:
            await self._service.open(self._closed[0])
            del self._closed[0]

    def _tell(self, loading: asyncio.Task[None]) -> None:
        """Nobody awaits it: without a word, visitors would wait for ever and nobody know why."""
        if loading.cancelled() or (error := loading.exception()) is None:
            return
        log.error("control and admin cannot be served", exc_info=error)
        if isinstance(error, OSError):
            self._again = self._loop.call_later(AGAIN, self._wait)

    async def end(self) -> None:
        """Let go of everybody who looks; the launcher is about to end."""
        self._sampler.end()
        if self._again is not None:
            self._again.cancel()
        self._stop_waiting()
        if self._loading is None:
            return
        self._loading.cancel()
        await asyncio.wait([self._loading])
        if self._service is not None:
            await self._service.close()
