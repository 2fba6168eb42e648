"""uvicorn's HTTP protocols, each able to say whether its connection can be passed to another worker.

A connection is idle when no response is running, nothing is pipelined, the parser holds no byte of a next
request and no output waits. Its descriptor then *is* the connection: what the client sends meanwhile stays in
the kernel's socket buffer. TLS keeps its keys in the process and HTTP/2 its streams, so neither can go.

Subclasses, passed to uvicorn as its `http` class; uvicorn itself stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from reuseport.worker.accesslog import AccessLog
from reuseport.worker.activity import NEVER, Activity
from reuseport.worker.load import Load
from reuseport.worker.requests import Application, Message, Receive, Requests, Send


class State(ServerState):
    """uvicorn's shared state, which counts as it changes, and who wants connections that become idle."""

    def __init__(self, load: Load, requests: Requests) -> None:
        super().__init__()
        self.load = load
        self.requests = requests
        self.tasks = load.running
        self.activity = Activity()
        self.on_idle: Callable[[Transferable], None] | None = None
        self.access_log: AccessLog | None = None
        """Instead of uvicorn's logger."""

    def arrive(self, connection: asyncio.Protocol, *, assigned: bool) -> None:
        """A connection was accepted. One that can tell when its first request begins is load until then."""
        if isinstance(connection, TransferableHttpTools | TransferableH11):
            connection.silent = True
            self.load.arrive(connection, assigned=assigned)
        else:
            self.load.arrive(connection, assigned=assigned)
            self.load.asked(connection)


class Refusing:
    """Counts the 503 that uvicorn answers beyond --limit-concurrency: without asking the application.

    A connection's requests are answered one by one: before each answer it was asked once or not at all.
    """

    server_state: State
    limit_concurrency: int | None
    app: Application
    _asked = False

    def tell_refusals(self) -> None:
        """Where there is a limit; the others need not pay for it."""
        if self.limit_concurrency is not None:
            self._application = self.app
            self.app = self._ask

    def answered(self) -> None:
        """A response is complete."""
        if not self._asked:
            self.server_state.requests.answer(503)
        self._asked = False

    def tell_no_more(self) -> None:
        """Or we would hold on to ourselves until the next garbage collection."""
        if self.limit_concurrency is not None:
            self.app = self._application

    def _ask(self, scope: Message, receive: Receive, send: Send) -> Awaitable[Any]:
        self._asked = True
        return self._application(scope, receive, send)


class TransferableHttpTools(HttpToolsProtocol, Refusing):
    """httptools, whose parser tells nothing of what it holds: uvicorn's own state does.

    Where it runs with every request, the base class is named: super() takes longer.
    """

    server_state: State
    silent = False
    """It was accepted and has not asked yet."""
    round = NEVER
    """The last one of `activity` in which it had an answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Request cycles get it from here, and call nothing but `info`.
        self.access_logger = self.server_state.access_log or self.access_logger  # type: ignore[assignment]
        self.tell_refusals()

    def on_headers_complete(self) -> None:
        HttpToolsProtocol.on_headers_complete(self)
        if self.silent:
            self.silent = False
            self.server_state.load.asked(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.tell_no_more()
        self.server_state.activity.lose(self)
        if self.silent:
            self.server_state.load.asked(self)

    def on_response_complete(self) -> None:
        if self.limit_concurrency is not None:
            self.answered()
        HttpToolsProtocol.on_response_complete(self)
        if self.round != self.server_state.activity.round and not self.transport.is_closing():
            self.server_state.activity.note(self)
        if self.server_state.on_idle is not None:
            self.server_state.on_idle(self)

    def send_400_response(self, msg: str) -> None:
        self.server_state.requests.answer(400)
        super().send_400_response(msg)

    def on_message_complete(self) -> None:
        HttpToolsProtocol.on_message_complete(self)
        # uvicorn does not note the end of a body that its response did not wait for.
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.more_body = False

    def idle(self) -> bool:
        """Whether the descriptor is all there is to this connection."""
        if self.scheme == "https" or self.pipeline or not _quiet(self.transport):
            return False
        if self.cycle is None:
            return self.scope is None  # type: ignore[unreachable] # uvicorn's types know no fresh connection
        # A request that has begun has a scope of its own before it has a cycle. A body of which a rest is
        # still to come is bytes of this request, however complete the response.
        cycle = self.cycle
        return cycle.response_complete and not cycle.more_body and cycle.scope is self.scope


class TransferableH11(H11Protocol, Refusing):
    """h11, whose connection object knows what it holds."""

    server_state: State
    silent = False
    """It was accepted and has not asked yet."""
    round = NEVER
    """The last one of `activity` in which it had an answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_logger = self.server_state.access_log or self.access_logger  # type: ignore[assignment]
        self.tell_refusals()

    def handle_events(self) -> None:
        super().handle_events()
        if self.silent and self.scope is not None:
            self.silent = False
            self.server_state.load.asked(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.tell_no_more()
        self.server_state.activity.lose(self)
        if self.silent:
            self.server_state.load.asked(self)

    def on_response_complete(self) -> None:
        if self.limit_concurrency is not None:
            self.answered()
        super().on_response_complete()
        if self.round != self.server_state.activity.round and not self.transport.is_closing():
            self.server_state.activity.note(self)
        if self.server_state.on_idle is not None:
            self.server_state.on_idle(self)

    def send_400_response(self, msg: str) -> None:
        self.server_state.requests.answer(400)
        super().send_400_response(msg)

    def idle(self) -> bool:
        """Whether the descriptor is all there is to this connection."""
        if self.scheme == "https" or not _quiet(self.transport):
            return False
        conn = self.conn
        return (
            conn.our_state is h11.IDLE and conn.their_state is h11.IDLE and conn.trailing_data == (b"", False)
        )


Transferable: TypeAlias = TransferableHttpTools | TransferableH11


PROTOCOLS: dict[str, type[asyncio.Protocol]] = {
    "auto": TransferableHttpTools,
    "httptools": TransferableHttpTools,
    "h11": TransferableH11,
}
"""By uvicorn's names. Any other protocol serves as it is, and lingers where these are passed on."""


def _quiet(transport: asyncio.Transport) -> bool:
    """Open, and with nothing left to write."""
    return not transport.is_closing() and transport.get_write_buffer_size() == 0
