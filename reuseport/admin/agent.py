"""HAProxy's agent-check: one line for whoever connects, which says how much of us there is. Nothing is read.

    serving    up ready NN%       slots that are ready, of those wanted; 1 % at least
    stopping   up drain           new connections elsewhere, those that are kept may finish (--shutdown-delay)
    otherwise  down #starting     the text after the # is shown on HAProxy's page

`ready` alone does not undo `down`: both words are sent. HAProxy keeps to the last answer when none comes: a
health check must stand beside it (configuration manual, "agent-check").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence

from reuseport.admin.doors import BACKLOG
from reuseport.errors import ConfigurationError
from reuseport.instance import Instance, Readiness
from reuseport.kernel.addresses import TCPAddress, parse
from reuseport.kernel.listener import EXHAUSTED, listen_alone
from reuseport.settings.table import Settings

AT_ONCE = 16
"""Visitors served in one turn of the loop: whoever floods us takes no more of it."""
REST = 0.5
"""Seconds in which we do not accept where no descriptor is free."""

log = logging.getLogger("reuseport")


def answer(now: Readiness, min_ready: int) -> str:
    """The line, without its end."""
    if now["state"] == "stopping":
        return "up drain"
    if now["ready"] < min_ready:
        return "down #starting" if not now["ever_ready"] else "down #too few workers"
    return f"up ready {max(1, 100 * now['ready'] // max(1, now['workers']))}%"


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[tuple[socket.socket, ...]]:
    """The listeners of --agent-check. Raises ConfigurationError."""
    with contextlib.ExitStack() as stack:
        listeners: tuple[socket.socket, ...] = ()
        if settings.agent_check is not None:
            address = parse(settings.agent_check)
            if not isinstance(address, TCPAddress):
                raise ConfigurationError(f"--agent-check {settings.agent_check}: write HOST:PORT")
            listeners = listen_alone(address, BACKLOG)
            for listener in listeners:
                stack.callback(listener.close)
                host, port = listener.getsockname()[:2]
                log.info("agent-check at %s:%d", f"[{host}]" if ":" in host else host, port)
        yield listeners


class Agent:
    """From `begin` to `end`. Borrows the listeners."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        instance: Instance,
        listeners: Sequence[socket.socket],
        min_ready: int,
    ) -> None:
        self._loop = loop
        self._instance = instance
        self._listeners = listeners
        self._min_ready = min_ready
        self._rest: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Answer whoever comes."""
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._on_visitors, listener)

    def end(self) -> None:
        """Answer nobody any more."""
        if self._rest is not None:
            self._rest.cancel()
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())

    def _on_visitors(self, listener: socket.socket) -> None:
        line = f"{answer(self._instance.readiness(), self._min_ready)}\n".encode("ascii")
        for _ in range(AT_ONCE):
            try:
                visitor, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self.end()
                    self._rest = self._loop.call_later(REST, self.begin)
                    return
                continue  # it has left
            with visitor, contextlib.suppress(OSError):
                # A new socket has room for a line: this never waits.
                visitor.setblocking(False)
                visitor.send(line)
