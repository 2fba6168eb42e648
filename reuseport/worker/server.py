"""uvicorn's server, with our listeners: bound only after lifespan startup, left without losing a client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from uvicorn.config import Config

from reuseport.channel import Failed
from reuseport.errors import ReuseportError
from reuseport.worker.application import StartupError, withheld_errors
from reuseport.worker.departure import Departure
from reuseport.worker.transfer import State

HEADERS_EVERY = 1.0
"""Seconds between uvicorn's ticks: the Date header has a resolution of one second."""
LOOK = 0.02
"""Seconds between looks at whether a leaving worker is done."""
LINGER = 1.0
"""Seconds that idle connections are kept when the whole server stops: for a request already on its way."""
MOST_QUEUED = 65536
"""Connections taken from one accept queue at a stop: no queue is longer (net.core.somaxconn), so the end of
the loop does not depend on the clients."""

log = logging.getLogger("uvicorn.error")


class Server(uvicorn.Server):
    """`open_listeners` is called once the application is up; `on_ready` once the listeners accept."""

    server_state: State

    def __init__(
        self,
        config: Config,
        open_listeners: Callable[[], Sequence[socket.socket]],
        on_ready: Callable[[Sequence[socket.socket]], None],
    ) -> None:
        super().__init__(config)
        self.server_state = State()
        self._open_listeners = open_listeners
        self._on_ready = on_ready
        self._listeners: Sequence[socket.socket] = ()
        self._departure: Departure | None = None
        self._patience = 0.0
        self._drain_asked = asyncio.Event()

    def drain(self, timeout: float, departure: Departure) -> None:
        """Accept no more, let the connections depart, finish within `timeout` seconds; then `serve` ends."""
        if self._departure is not None:
            return  # asked twice: the launcher's order and its end of file may cross
        self._departure = departure
        self._patience = timeout
        self.should_exit = True
        self._drain_asked.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Lifespan startup, then bind, listen, and tell. Raises StartupError."""
        with withheld_errors() as errors:
            await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartupError(Failed("application", "\n".join(errors) or "lifespan startup failed"))
        try:
            self._listeners = self._open_listeners()
        except ReuseportError as error:
            await self.lifespan.shutdown()
            raise StartupError(Failed("operator", str(error))) from error
        self.servers = [await self.accept_from(listener) for listener in self._listeners]
        self.started = True
        self._on_ready(self._listeners)

    async def accept_from(self, listener: socket.socket) -> asyncio.base_events.Server:
        """Listen on a bound socket, which is the returned server's from now on."""
        return await asyncio.get_running_loop().create_server(
            self.protocol, sock=listener, ssl=self.config.ssl, backlog=self.config.backlog
        )

    def protocol(self) -> asyncio.Protocol:
        """A new connection's protocol."""
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return made

    async def main_loop(self) -> None:
        """uvicorn's, but woken at once to drain instead of looking ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drain_asked.wait(), HEADERS_EVERY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Leave: uvicorn's would close idle connections at once, and reset a client that just sends."""
        departure = self._departure
        if departure is None:
            raise RuntimeError("uvicorn ended its main loop without being drained")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        log.info("Shutting down")
        if departure.final:
            await self._accept_the_queued()
        for server in self.servers:
            server.close()
        departure.begin(loop, self.config)
        linger_until = loop.time() + LINGER if departure.final else deadline
        while (self.server_state.connections or self.server_state.tasks) and loop.time() < deadline:
            if loop.time() >= linger_until:
                linger_until = deadline
                self._close_connections()
            await asyncio.sleep(LOOK)
        departure.end()
        await self._cut_off()
        await self.lifespan.shutdown()

    async def _accept_the_queued(self) -> None:
        """Who connected before we stop listening gets an answer: closing would reset the whole queue."""
        arrivals = []
        for listener in self._listeners:
            for _ in range(MOST_QUEUED):
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    break
                except ConnectionAbortedError:
                    continue  # this client has already left
                connection.setblocking(False)
                arrivals.append(asyncio.ensure_future(self._welcome(connection)))
        if arrivals:
            await asyncio.wait(arrivals, timeout=LINGER)

    async def _welcome(self, connection: socket.socket) -> None:
        # It left, or its TLS handshake failed: no more an error here than anywhere else.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self.protocol, connection, ssl=self.config.ssl
            )

    async def _cut_off(self) -> None:
        """The patience is over: close what is open, cancel what runs."""
        tasks = list(self.server_state.tasks)
        self._close_connections()
        if tasks:
            log.error("Cancel %d running task(s): the graceful timeout is over", len(tasks))
            for task in tasks:
                task.cancel(msg="Task cancelled, graceful timeout exceeded")
            await asyncio.wait(tasks, timeout=1.0)

    def _close_connections(self) -> None:
        """uvicorn's word for each protocol: idle HTTP closes, a response says close, WebSocket sends 1012."""
        for connection in list(self.server_state.connections):
            connection.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the worker's business: uvicorn would raise them again after its graceful end."""
        yield
