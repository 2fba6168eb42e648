"""Accepting for a slot whose worker is gone: from its listeners and its inbox, until it is served again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from reuseport.kernel.accepting import Listener
from reuseport.worker.inbox import Inbox
from reuseport.worker.server import Accepting, Server

Incoming: TypeAlias = Callable[[int, int], Inbox]


@dataclass(slots=True)
class _Fostered:
    """One slot in our care."""

    inbox: Inbox
    incoming: Inbox | None = None
    servers: list[Accepting] = field(default_factory=list)
    ended: bool = False


class Fostering:
    """The slots this worker accepts for beside its own. Owns the duplicates it was sent."""

    def __init__(self, server: Server, desk: memoryview[int], incoming: Incoming | None = None) -> None:
        """`incoming` opens a slot's session inbox, given its descriptor; None: there are no such inboxes."""
        self._server = server
        self._desk = desk
        self._incoming = incoming
        self._slots: dict[int, _Fostered] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, slot: int, fds: Sequence[int]) -> None:
        """Accept for the slot: `fds` are the receiving end of its inbox, that of its session inbox where such
        are, and its listeners.
        """
        loop = asyncio.get_running_loop()
        fostered = self._slots[slot] = _Fostered(Inbox(fds[0], self._server, self._desk))
        fostered.inbox.open(loop)
        fds = fds[1:]
        if self._incoming is not None:
            fostered.incoming = self._incoming(fds[0], slot)
            fds = fds[1:]
        task = loop.create_task(self._accept(fostered, [Listener(fileno=fd) for fd in fds]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, fostered: _Fostered, listeners: Sequence[socket.socket]) -> None:
        for listener in listeners:
            server = await self._server.accept_from(listener)
            self._server.share(server)
            if fostered.ended:  # while the event loop turned
                self._server.accept_no_more(server)
            else:
                fostered.servers.append(server)

    def end(self, slot: int) -> None:
        """Accept for the slot no more; what was accepted is ours."""
        fostered = self._slots.pop(slot, None)
        if fostered is None:
            return  # we let go by ourselves, and the order crossed it
        fostered.ended = True
        fostered.inbox.close()
        if fostered.incoming is not None:
            fostered.incoming.close()
        for server in fostered.servers:
            self._server.accept_no_more(server)

    def end_all(self) -> None:
        """This worker leaves: somebody else is told to foster."""
        for slot in list(self._slots):
            self.end(slot)
