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

from reuseport.notice import Draining
from reuseport.worker.protocol.accesslog import AccessLog
from reuseport.worker.protocol.activity import NEVER, Activity
from reuseport.worker.protocol.count import Application, Message, Receive, Requests, Send
from reuseport.worker.protocol.keeping import Keeping
from reuseport.worker.protocol.load import Load

EXTENSION = "reuseport.draining"
"""The name by which a request finds the notice in `scope["extensions"]`."""


class State(ServerState):
    """uvicorn's shared state, which counts as it changes, and who wants connections that become idle."""

    def __init__(self, load: Load, requests: Requests, draining: Draining | None = None) -> None:
        super().__init__()
        self.draining = draining or Draining()
        self.extensions = {EXTENSION: self.draining}
        """Of every request's scope, which gets a copy: an application may add its own to its."""
        self.load = load
        self.requests = requests
        self.tasks = load
        self.activity = Activity()
        self.keeping: Keeping | None = None
        """From the first connection on: until then nobody knows for how long they are kept."""
        self.on_idle: Callable[[Transferable], None] | None = None
        """Called when a connection has been answered: it is idle now, or by the next turn of the loop."""
        self.access_log: AccessLog | None = None
        """Instead of uvicorn's logger."""

    def arrive(self, connection: asyncio.Protocol, *, assigned: bool) -> None:
        """A connection was accepted. One that can tell when its first request begins is load until then."""
        self.load.arrive(connection, assigned=assigned)
        if isinstance(connection, (TransferableHttpTools, TransferableH11)):  # a union is made anew each time
            connection.tasks = FirstTask(connection)
        else:
            self.load.leave(connection)

    def look(self) -> None:
        """Call every tenth of a second: close connections that have been kept for long enough."""
        if self.keeping is not None:
            self.keeping.look()


class FirstTask:
    """Stands where a connection that has not asked yet expects the set of tasks: it is load until it asks."""

    __slots__ = ("_connection", "_load", "discard")

    def __init__(self, connection: Transferable) -> None:
        self._connection = connection
        self._load = connection.server_state.load
        self.discard = self._load.discard

    def __len__(self) -> int:
        return len(self._load)

    def add(self, task: asyncio.Task[None]) -> None:
        """Its first request begins."""
        self._connection.tasks = self._load
        self._load.ask(self._connection, task)


class Counted:
    """What both parsers' protocols do beside uvicorn's.

    Nothing of it runs with every request, unless a limit is set.
    """

    app: Application
    limit_concurrency: int | None
    server_state: State
    tasks: Any
    timeout_keep_alive: int
    loop: Any
    access_logger: Any
    rested = NEVER
    """The look of `Keeping` before its last answer."""
    round = NEVER
    """The last one of `activity` in which it had an answer."""
    _asked = False

    def begin(self) -> None:
        """In the place of what uvicorn's protocols have of their own when they are made."""
        state = self.server_state
        if state.keeping is None:
            state.keeping = Keeping(state, self.loop, self.timeout_keep_alive)
        self.loop = state.keeping
        # Request cycles get it from here, and call nothing but `info`.
        self.access_logger = state.access_log or self.access_logger
        if self.limit_concurrency is not None:
            self._application = self.app
            self.app = self._ask
            self.on_response_complete = self._answered

    def end(self) -> None:
        """It is gone, or a WebSocket now. Or we would hold on to ourselves until the garbage collection."""
        if self.limit_concurrency is not None:
            self.app = self._application
            # Back to the class's.
            self.__dict__.pop("on_response_complete", None)
        if isinstance(self.tasks, FirstTask):
            self.tasks = self.server_state.load
            self.server_state.load.leave(self)  # type: ignore[arg-type] # every subclass is a protocol

    # ── 503 ───────────────────────────────────────────────────────────────────────────────────────────
    # uvicorn answers it beyond --limit-concurrency, without asking the application. A connection's requests
    # are answered one by one: before each answer it was asked once or not at all.

    def _answered(self) -> None:
        if not self._asked:
            self.server_state.requests.answer(503)
        self._asked = False
        uvicorns: Any = type(self)
        uvicorns.on_response_complete(self)

    def _ask(self, scope: Message, receive: Receive, send: Send) -> Awaitable[Any]:
        self._asked = True
        return self._application(scope, receive, send)


class TransferableHttpTools(Counted, HttpToolsProtocol):
    """httptools, whose parser tells nothing of what it holds: uvicorn's own state does."""

    server_state: State

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        HttpToolsProtocol.__init__(self, *args, **kwargs)
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        HttpToolsProtocol.connection_lost(self, exc)
        self.end()
        if self.round != NEVER:
            self.server_state.activity.lose(self)

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.end()

    def send_400_response(self, msg: str) -> None:
        self.server_state.requests.answer(400)
        super().send_400_response(msg)

    def on_message_complete(self) -> None:
        HttpToolsProtocol.on_message_complete(self)
        # uvicorn does not note the end of a body that its response did not wait for.
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.more_body = False

    def between_requests(self) -> bool:
        """Whether every request that has begun is answered."""
        if self.cycle is None:
            return self.scope is None  # type: ignore[unreachable] # uvicorn's types know no fresh connection
        # A request that has begun has a scope of its own before it has a cycle.
        return not self.pipeline and self.cycle.response_complete and self.cycle.scope is self.scope

    def idle(self) -> bool:
        """Whether the descriptor is all there is to this connection."""
        if self.scheme == "https" or not _quiet(self.transport) or not self.between_requests():
            return False
        # A body of which a rest is still to come is bytes of this request, however complete the response.
        return self.cycle is None or not self.cycle.more_body


class TransferableH11(Counted, H11Protocol):
    """h11, whose connection object knows what it holds."""

    server_state: State

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        H11Protocol.__init__(self, *args, **kwargs)
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        H11Protocol.connection_lost(self, exc)
        self.end()
        if self.round != NEVER:
            self.server_state.activity.lose(self)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self.end()

    def send_400_response(self, msg: str) -> None:
        self.server_state.requests.answer(400)
        super().send_400_response(msg)

    def between_requests(self) -> bool:
        """Whether every request that has begun is answered."""
        conn = self.conn
        return (
            conn.our_state is h11.IDLE and conn.their_state is h11.IDLE and conn.trailing_data == (b"", False)
        )

    def idle(self) -> bool:
        """Whether the descriptor is all there is to this connection."""
        return self.scheme != "https" and _quiet(self.transport) and self.between_requests()


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
