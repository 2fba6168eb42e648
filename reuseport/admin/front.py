"""Waits at the doors. Who serves there is loaded, in a thread, when all workers are ready or a visitor comes.

Not before: workers that start need the CPU more. And not later: what is on the disk may be another version by
then, and whoever put it there wants us to reload. A launcher without doors holds no web framework.

When it cannot be loaded, whoever comes is told so (503), and the next one has it tried again.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reuseport.admin import agent
from reuseport.admin.agent import Agent
from reuseport.admin.apology import MOST, apologize
from reuseport.admin.doors import Door, opened
from reuseport.admin.sampler import Sampler
from reuseport.history import Kind, Record
from reuseport.instance import Attach, Instance
from reuseport.settings.table import Settings

if TYPE_CHECKING:
    from reuseport.admin.service import Service

AGAIN = 1.0
"""Seconds between two tries, however many visitors come: each costs a third of a second of CPU time."""

log = logging.getLogger("reuseport")


@contextmanager
def admin(settings: Settings) -> Iterator[Attach]:
    """Open the doors; what is yielded begins to wait there. Raises ConfigurationError."""
    with opened(settings) as doors, agent.opened(settings) as agents:

        def attach(
            loop: asyncio.AbstractEventLoop, instance: Instance
        ) -> Callable[[], Coroutine[None, None, None]]:
            front = Front(loop, instance, doors, settings)
            front.begin()
            checked = Agent(loop, instance, agents, settings.min_ready)
            checked.begin()

            async def end() -> None:
                checked.end()
                await front.end()

            return end

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
        self._tried_at = float("-inf")
        self._why = ""
        """The last failure, as it was told."""
        self._apologies: set[asyncio.Task[None]] = set()
        self._unwatch = instance.history.watch(self._on_record)

    def begin(self) -> None:
        """Wait for visitors. Whoever wants an admin page also wants to see what was before it was opened."""
        self._wait()
        if any(not door.acts for door in self._closed):
            self._sampler.begin()

    def _on_record(self, record: Record) -> None:
        if record.kind is Kind.ALL_READY and self._closed:
            self._loop.call_soon(self._try)

    def _wait(self) -> None:
        for door in self._closed:
            self._loop.add_reader(door.listener.fileno(), self._on_visitor)

    def _stop_waiting(self) -> None:
        if self._again is not None:
            self._again.cancel()
        for door in self._closed:
            self._loop.remove_reader(door.listener.fileno())

    def _on_visitor(self) -> None:
        if self._loop.time() < self._tried_at + AGAIN:
            self._apologize()
        else:
            self._try()

    # ── loading ───────────────────────────────────────────────────────────────────────────────────────

    def _try(self) -> None:
        if self._loading is None or self._loading.done():
            self._stop_waiting()
            self._loading = self._loop.create_task(self._load())
            self._loading.add_done_callback(self._on_loaded)

    async def _load(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        # What is on the disk may be another installation than at the last try.
        importlib.invalidate_caches()
        with ThreadPoolExecutor(1, "load") as thread:
            module = await self._loop.run_in_executor(
                thread, importlib.import_module, "reuseport.admin.service"
            )
        if self._service is None:
            self._service = module.Service(self._loop, self._instance, self._sampler, self._settings)
        while self._closed:
            await self._service.open(self._closed[0])
            del self._closed[0]

    def _on_loaded(self, loading: asyncio.Task[None]) -> None:
        """Nobody awaits it: without a word, visitors would wait for ever and nobody know why."""
        self._tried_at = self._loop.time()
        if loading.cancelled() or (error := loading.exception()) is None:
            return
        why = f"{type(error).__name__}: {error}"
        if why != self._why:
            log.error(
                "control and admin cannot be served; the next visitor has it tried again", exc_info=error
            )
        self._why = why
        self._wait()

    # ── visitors meanwhile ────────────────────────────────────────────────────────────────────────────

    def _apologize(self) -> None:
        """Tell whoever waits why nobody serves."""
        for door in self._closed:
            while len(self._apologies) < MOST:
                try:
                    visitor, _ = door.listener.accept()
                except BlockingIOError:
                    break
                except OSError:
                    # It has left again, or no descriptor is free (accept(2)).
                    self._rest()
                    return
                why = self._why if door.acts else "the log says why"
                apology = self._loop.create_task(apologize(visitor, why))
                self._apologies.add(apology)
                apology.add_done_callback(self._apologies.discard)
        if len(self._apologies) >= MOST:
            self._rest()

    def _rest(self) -> None:
        """Let them wait for a moment: somebody has to go first."""
        self._stop_waiting()
        self._again = self._loop.call_later(AGAIN, self._wait)

    async def end(self) -> None:
        """Let go of everybody who looks; the launcher is about to end."""
        self._unwatch()
        self._sampler.end()
        self._stop_waiting()
        tasks = [*self._apologies, *([] if self._loading is None else [self._loading])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._service is not None:
            await self._service.close()
