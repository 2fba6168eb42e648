"""One mold, from its execution until it is reaped. `molds` has all of them; `reuseport.mold` is what runs."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from reuseport.agreement import AGREEMENT
from reuseport.channel import Channel, give_room, paired
from reuseport.launcher.becoming import worker_environment
from reuseport.launcher.execution import Execution, execute
from reuseport.launcher.headstart import HeadStart
from reuseport.messages import FROM_MOLD, Failed, FromMold, Preload, Prepare
from reuseport.settings.table import Settings

if TYPE_CHECKING:
    import asyncio

    from reuseport.launcher.host.identity import Identity
    from reuseport.launcher.process import Expected


class Mold:
    """One mold, from its execution until it is reaped."""

    def __init__(
        self,
        generation: int,
        settings: Settings,
        identity: Identity | None,
        begun: HeadStart | None = None,
    ) -> None:
        """Execute it, unless it has begun. Raises as `execute`, and OSError (socketpair(2))."""
        self.generation = generation
        self.channel: Channel[FromMold]
        self.execution: Execution
        if begun is None:
            self._execute(identity)
        else:
            self._adopt(begun)
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

    def _execute(self, identity: Identity | None) -> None:
        self.channel, theirs = paired(FROM_MOLD)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self.channel.close)
            environment = {**worker_environment(os.environ), "REUSEPORT_GENERATION": str(self.generation)}
            self.execution = execute("reuseport.mold", [], theirs, environment, identity)
            undo.pop_all()

    def _adopt(self, begun: HeadStart) -> None:
        pidfd, fd = begun.take()
        end = socket.socket(fileno=fd)
        self.execution = Execution(begun.pid, pidfd)
        with contextlib.ExitStack() as undo:
            undo.callback(self.execution.end, 0.0)
            undo.callback(end.close)
            give_room(end)
            with contextlib.suppress(BrokenPipeError):  # it is gone, as its pidfd says
                end.send(AGREEMENT.encode())
            undo.pop_all()
        self.channel = Channel(end, FROM_MOLD)

    def preload(self) -> None:
        """Have it import the application, if it is to: whatever that may look for is there by now."""
        if self.preloads:
            self.channel.send(Preload())

    @property
    def pid(self) -> int:
        return self.execution.pid
