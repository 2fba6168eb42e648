"""One mold, from its execution until it is reaped. `molds` has all of them; `reuseport.mold` is what runs."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from reuseport.channel import Channel, paired
from reuseport.launcher.becoming import worker_environment
from reuseport.launcher.execution import execute
from reuseport.messages import FROM_MOLD, Failed, FromMold, Preload, Prepare
from reuseport.settings.table import Settings

if TYPE_CHECKING:
    import asyncio

    from reuseport.launcher.host.identity import Identity
    from reuseport.launcher.process import Expected


class Mold:
    """One mold, from its execution until it is reaped."""

    def __init__(self, generation: int, settings: Settings, identity: Identity | None) -> None:
        """Execute it. Raises as `execute`, and OSError (socketpair(2))."""
        self.generation = generation
        self.channel: Channel[FromMold]
        self.channel, theirs = paired(FROM_MOLD)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self.channel.close)
            environment = {**worker_environment(os.environ), "REUSEPORT_GENERATION": str(generation)}
            self.execution = execute("reuseport.mold", [], theirs, environment, identity)
            undo.pop_all()
        self.preloads = settings.preload != "off"
        self.prepared = False
        self.condemned = False
        self.failed: Failed | None = None
        """Why it never comes to anything, in its own words."""
        self.owed = 0
        """Answers to orders: it has nothing else to say."""
        self.expected: dict[int, tuple[Expected, asyncio.TimerHandle]] = {}
        """By the worker's number, with the end of our patience."""
        self.channel.send(Prepare(settings.to_json()))

    def preload(self) -> None:
        """Have it import the application, if it is to: whatever that may look for is there by now."""
        if self.preloads:
            self.channel.send(Preload())

    @property
    def pid(self) -> int:
        return self.execution.pid
