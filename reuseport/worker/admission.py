"""Lets connections in one by one, where they are limited or proxies announce them; elsewhere there is none.

    accepted ──▶ announced? ──▶ TLS ──▶ a connection like any other
                 (who is trusted)

All of these count: a worker has no more of them than --limit-connections, or where descriptors are few than
it has descriptors for. Who is beyond stays in the accept queue, where siblings look; LOAD tells the kernel,
and whoever chooses a worker, that there is no room here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from reuseport.kernel.descriptors import few, to_spare
from reuseport.scoreboard import Desk
from reuseport.settings.table import Settings
from reuseport.worker.gate import Gate
from reuseport.worker.introducing import Introductions
from reuseport.worker.protocol.announced import Announced
from reuseport.worker.protocol.keeping import looks
from reuseport.worker.protocol.naming import named
from reuseport.worker.protocol.state import State

Make = Callable[[], asyncio.Protocol]


class Admission:
    """Of one worker: all its gates, and who stands in them."""

    def __init__(self, settings: Settings, config: Config, state: State) -> None:
        self._config = config
        self._state = state
        self._most = settings.limit_connections
        """0: as many as there are descriptors."""
        self._patience = looks(settings.arrival_timeout)
        self._trusted: Any = None
        if settings.proxy_protocol:
            middleware = ProxyHeadersMiddleware(_nobody, config.forwarded_allow_ips)
            self._trusted = middleware.trusted_hosts
        self._arriving: set[asyncio.Task[None]] = set()
        self._makes: dict[socket.socket, Make] = {}
        """Of those that are about to be announced."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the event loop, before the first gate is opened."""
        self._loop = loop
        # Now: the application has those that it wants.
        self._most = self._most or to_spare() or sys.maxsize
        self._introductions = Introductions(loop, self._introduced, self._refused)

    def open(self, listener: socket.socket, make: Make) -> Gate:
        """Accept from a bound socket, which is the gate's from now on."""
        gate = Gate(self._loop, listener, self._room, lambda connection: self.let_in(connection, make))
        gate.open(self._config.backlog)
        return gate

    def let_in(self, connection: socket.socket, make: Make) -> None:
        """It was accepted. Its protocol is made when it is known who it is."""
        if self._trusted is not None and self._may_announce(connection):
            self._makes[connection] = make
            self._introductions.add(connection)
        else:
            self._arrive(connection, make)

    def look(self) -> None:
        """Call every tenth of a second."""
        self._introductions.look(self._patience)

    def __len__(self) -> int:
        """Who is accepted and not yet a connection."""
        return len(self._arriving) + len(self._introductions)

    def descriptors(self) -> Iterator[int]:
        """Of who is about to be announced."""
        return (connection.fileno() for connection in self._makes)

    def close(self) -> None:
        """Nobody comes in any more."""
        self._introductions.close()
        self._makes.clear()

    def _room(self) -> int:
        room = self._most - len(self._state.connections) - len(self)
        self._state.load.fill(full=room <= 0)
        return room

    def _may_announce(self, connection: socket.socket) -> bool:
        """Who is trusted must: nobody is guessed at. Who may open a unix socket is."""
        try:
            address = connection.getpeername()
        except OSError:
            return True  # it has gone already
        if not isinstance(address, tuple):
            return True
        ip = ipaddress.ip_address(address[0].partition("%")[0])
        # On a dual-stack listener.
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return str(mapped or ip) in self._trusted

    def _introduced(self, connection: socket.socket, said: Announced) -> None:
        make = self._makes.pop(connection)
        self._arrive(connection, lambda: named(make, said))

    def _refused(self, connection: socket.socket) -> None:
        del self._makes[connection]
        self._state.requests.turn_away(Desk.UNANNOUNCED)

    def _arrive(self, connection: socket.socket, make: Make) -> None:
        task = self._loop.create_task(self._connect(connection, make))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _connect(self, connection: socket.socket, make: Make) -> None:
        # It left, or its TLS handshake failed: no more an error here than anywhere else.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(make, connection, **tls(self._config, self._state))


def tls(config: Config, state: State) -> dict[str, Any]:
    """How the event loop is to encrypt. A handshake has as long as a client may be silent."""
    if config.ssl is None:
        return {}
    return {"ssl": config.ssl, "ssl_handshake_timeout": state.limits.arrival or None}


async def _nobody(*_: Any) -> None:
    """Where the middleware has its application."""


def admission(settings: Settings, config: Config, state: State) -> Admission | None:
    """None where everybody may come in as the event loop finds them."""
    # Without one, uvloop accepts and closes whom it has no descriptor for.
    scarce = few(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    wanted = settings.limit_connections or settings.proxy_protocol or scarce
    return Admission(settings, config, state) if wanted else None
