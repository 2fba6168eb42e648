"""What all connections of a worker share: uvicorn's state, which counts as it changes, and more made once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string
from uvicorn.server import ServerState

from reuseport.logs import ACCESS_FORMAT
from reuseport.notice import Draining
from reuseport.worker.protocol.accesslog import AccessLog
from reuseport.worker.protocol.activity import Activity
from reuseport.worker.protocol.arrivals import Arrivals
from reuseport.worker.protocol.count import Application, Counted, Requests
from reuseport.worker.protocol.cycle import Cycle
from reuseport.worker.protocol.forwarded import Forwarded
from reuseport.worker.protocol.head import Defaults, Header, encoded
from reuseport.worker.protocol.keeping import Keeping
from reuseport.worker.protocol.limits import BEAR_ALL, Limits
from reuseport.worker.protocol.load import Load
from reuseport.worker.protocol.tasks import Make, Maker

LARGEST = (1 << 30) - 1
"""More than one read brings. CPython compares what is below 2**30 without a call."""
EXTENSION = "reuseport.draining"
"""The name by which a request finds the notice in `scope["extensions"]`."""


class State(ServerState):
    """uvicorn's shared state, and who wants connections that become idle."""

    def __init__(
        self,
        load: Load,
        requests: Requests,
        draining: Draining | None = None,
        limits: Limits = BEAR_ALL,
    ) -> None:
        self.defaults: Defaults = (b"", [])
        super().__init__()
        self.load = load
        self.requests = requests
        self.limits = limits
        self.tasks = load
        self.activity = Activity()
        self.arrivals = Arrivals(load.desk)
        self.shared: Shared | None = None
        """From the first connection on."""
        self.on_idle: Callable[[Any], None] | None = None
        """Called when a connection has been answered: it is idle now, or by the next turn of the loop."""
        self.access_log: AccessLog | None = None
        """Instead of uvicorn's logger."""
        self.draining = draining or Draining()
        self.extensions = {EXTENSION: self.draining}
        """Of every request's scope, which gets a copy: an application may add its own to its."""
        self.sessions: Any = None
        """Those of worker/sticky, if requests are to find the worker that knows their session."""
        self.heads: list[Cycle] = []
        """Responses begun in this turn of the loop, whose first part may still come."""

    @property
    def default_headers(self) -> list[Header]:
        """uvicorn's, new every second."""
        return self._default_headers

    @default_headers.setter
    def default_headers(self, headers: list[Header]) -> None:  # type: ignore[override, unused-ignore]
        self._default_headers = headers
        self.defaults = encoded(headers)

    def arrive(self, connection: asyncio.Protocol, *, assigned: bool) -> None:
        """A connection was accepted. One that can tell when its first request begins is load until then."""
        self.load.arrive(connection, assigned=assigned)
        if self.arrivals.due:
            self.arrivals.take(connection)
        expect: Any = getattr(connection, "arrived", None)
        if expect is None:
            self.load.leave(connection)
        else:
            expect()

    def look(self) -> None:
        """Call every tenth of a second: let go whoever has been waited for long enough."""
        self.arrivals.look()
        if self.shared is not None:
            if self.looked_at:
                self.shared.keeping.look()
            self.shared.create_task = self.shared.maker.now()

    @property
    def looked_at(self) -> bool:
        """Whether a look has anybody to look at: while nobody is connected, looks may rest."""
        return bool(self.connections)

    def shared_with(self, config: Config, loop: asyncio.AbstractEventLoop) -> Shared:
        """Made for the first connection: only then everything is configured."""
        if self.shared is None:
            if not config.loaded:
                config.load()
            self.shared = Shared(config, self, loop)
        return self.shared

    def write_heads(self) -> None:
        """The end of a turn of the loop: who began a response and has sent nothing of its body yet waits."""
        heads = self.heads.copy()
        self.heads.clear()
        for cycle in heads:
            cycle.write_head()


class Shared:
    """What uvicorn's protocols look up anew for each connection, and is the same for all."""

    def __init__(self, config: Config, state: State, loop: asyncio.AbstractEventLoop) -> None:
        app: Any = config.loaded_app
        if isinstance(app, Counted):
            app = app.app
        around: Callable[[Application], Any] | None = None
        if state.sessions is not None:
            around, app = state.sessions.around, app.app
        self.forwarded: Forwarded | None = None
        if type(app) is ProxyHeadersMiddleware:
            self.forwarded = Forwarded(app)
            app = app.app
        self.app: Application = app if around is None else around(app)
        """Without what our request cycles do themselves."""
        self.keeping = Keeping(state.connections, config.timeout_keep_alive, state.limits)
        self.brief = brief(state.limits)
        self.timeout_keep_alive = config.timeout_keep_alive
        self.limit_concurrency = config.limit_concurrency
        self.ws_protocol_class = config.ws_protocol_class
        self.root_path = config.root_path
        self.asgi_version = config.asgi_version
        self.count = state.requests.complete
        self.answer = state.requests.answer
        self.abandon = state.requests.abandon
        self.logger = logging.getLogger("uvicorn.error")
        self.access_logger = logging.getLogger("uvicorn.access")
        self.maker = Maker(loop, in_fresh_contexts=config.reset_contextvars)
        self.create_task: Make = self.maker.now()
        """What makes a task of a request."""
        self._note_access = noting(state.access_log or self.access_logger)

    def log_access(self) -> Callable[[Any, int], None] | None:
        """What notes that a response begins, given its scope and status; None where nobody wants to know."""
        return self._note_access if self.access_logger.hasHandlers() else None


def brief(limits: Limits) -> int:
    """Bytes in which no head can be that is beyond the limits: a header field has four of them at least."""
    sizes = (limits.head_size, limits.fields * 4)
    return min(filter(None, sizes), default=LARGEST)


def noting(log: AccessLog | logging.Logger) -> Callable[[Any, int], None]:
    """What gives uvicorn's line of a response that begins to the log."""
    info = log.info

    def note(scope: Any, status: int) -> None:
        info(
            ACCESS_FORMAT,
            get_client_addr(scope),
            scope["method"],
            get_path_with_query_string(scope),
            scope["http_version"],
            status,
        )

    return note
