"""uvicorn's server, with our listeners: bound only after lifespan startup, drained on request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from uvicorn.config import Config

from reuseport.channel import Failed
from reuseport.errors import ReuseportError
from reuseport.worker.application import StartupError, withheld_errors

HEADERS_EVERY = 1.0
"""Seconds between uvicorn's ticks: the Date header has a resolution of one second."""


class Server(uvicorn.Server):
    """`open_listeners` is called once the application is up; `on_ready` once the listeners accept."""

    def __init__(
        self,
        config: Config,
        open_listeners: Callable[[], Sequence[socket.socket]],
        on_ready: Callable[[Sequence[socket.socket]], None],
    ) -> None:
        super().__init__(config)
        self._open_listeners = open_listeners
        self._on_ready = on_ready
        self._drain_asked = asyncio.Event()

    def drain(self, timeout: float) -> None:
        """Accept no more, finish what runs within `timeout` seconds, then let `serve` return."""
        self.config.timeout_graceful_shutdown = timeout  # type: ignore[assignment] # wait_for takes a float
        self.should_exit = True
        self._drain_asked.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Lifespan startup, then bind, listen, and tell. Raises StartupError."""
        with withheld_errors() as errors:
            await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartupError(Failed("application", "\n".join(errors) or "lifespan startup failed"))
        try:
            listeners = self._open_listeners()
        except ReuseportError as error:
            await self.lifespan.shutdown()
            raise StartupError(Failed("operator", str(error))) from error
        loop = asyncio.get_running_loop()
        self.servers: list[asyncio.base_events.Server] = [
            await loop.create_server(
                self._protocol, sock=listener, ssl=self.config.ssl, backlog=self.config.backlog
            )
            for listener in listeners
        ]
        self.started = True
        self._on_ready(listeners)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return protocol

    async def main_loop(self) -> None:
        """uvicorn's, but woken at once to drain instead of looking ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drain_asked.wait(), HEADERS_EVERY)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the worker's business: uvicorn would raise them again after its graceful end."""
        yield
