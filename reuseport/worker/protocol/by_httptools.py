"""httptools, through request cycles of our own: uvicorn's protocol, but for all that a request runs through.

httptools tells nothing of what it holds, so the state here does: `scope` is another object from the first
byte of a request on. The application is started when all bytes that have come are parsed, so it finds a body
that came with its headers.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.utils import is_ssl

from reuseport.worker.protocol.activity import NEVER
from reuseport.worker.protocol.bearing import BEGUN, NONE, Bearing
from reuseport.worker.protocol.cycle import Cycle
from reuseport.worker.protocol.declined import decline
from reuseport.worker.protocol.flow import Flow, addresses
from reuseport.worker.protocol.forwarded import NAMES as FORWARDED
from reuseport.worker.protocol.parting import Parting
from reuseport.worker.protocol.state import State

SLASH, HASH = b"/#"
CODED = b"transfer-encoding"
NOTED = FORWARDED | {b"expect", b"connection", CODED}
"""Headers that mean something to us."""
CONNECTION = [b"connection"]
"""Nothing but what the parser heeds."""
METHODS = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


class TransferableHttpTools(Bearing, Flow, Parting):
    """A connection read by httptools."""

    # In front of the dictionary that uvicorn's class has: with all of these in it, it would be slow to fill
    # and to read, and two kilobytes for each connection (CPython shares keys of 30 attributes at most).
    __slots__ = (
        "_drained",
        "abandon",
        "activity",
        "answer",
        "app",
        "app_state",
        "asgi_version",
        "base",
        "begun",
        "brief",
        "client",
        "config",
        "connections",
        "count",
        "create_task",
        "cycle",
        "forwarded",
        "headers",
        "heads",
        "heard",
        "keeping",
        "limit_concurrency",
        "log_access",
        "logger",
        "loop",
        "newcomer",
        "noted",
        "parser",
        "pipeline",
        "read_paused",
        "rested",
        "root_path",
        "round",
        "running",
        "scheme",
        "scope",
        "server",
        "server_state",
        "sign",
        "since",
        "tasks",
        "timeout_keep_alive",
        "timeout_keep_alive_task",
        "transport",
        "unread",
        "url",
        "waits",
        "write_paused",
        "ws_protocol_class",
    )

    server_state: State
    app: Any
    tasks: Any
    """The Load."""
    base: dict[str, Any]
    """What the scopes of all requests have in common."""
    count: Callable[[int, int], None]
    answer: Callable[[int], None]
    cycle: Cycle | None
    """The one of the request that came last."""
    scope: Any
    pipeline: list[Cycle]

    def __init__(
        self,
        config: Config,
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # Not uvicorn's: half of it looks up anew what is the same for all connections.
        self.loop = loop = _loop or asyncio.get_event_loop()
        shared = server_state.shared or server_state.shared_with(config, loop)
        self.config = config
        self.app_state = app_state
        self.server_state = server_state
        self.connections = server_state.connections
        self.tasks = server_state.load
        self.heads = server_state.heads
        self.create_task = shared.create_task
        self.app = shared.app
        self.forwarded = shared.forwarded
        self.keeping = shared.keeping
        self.activity = server_state.activity
        self.logger = shared.logger
        self.ws_protocol_class = shared.ws_protocol_class
        self.root_path = shared.root_path
        self.asgi_version = shared.asgi_version
        self.timeout_keep_alive = shared.timeout_keep_alive
        self.timeout_keep_alive_task = None
        self.limit_concurrency = shared.limit_concurrency
        self.count = shared.count
        self.answer = shared.answer
        self.abandon = shared.abandon
        self.log_access = shared.log_access()
        self.parser = httptools.HttpRequestParser(self)
        # Answer the first request of a pipelined pair whose second is none (uvicorn does, too).
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

        # Under TLS it is not there before the handshake is over.
        self.transport = None  # type: ignore[assignment]
        self.server = self.client = self.scheme = None
        self.read_paused = False
        self.write_paused = False
        self._drained: asyncio.Event | None = None
        self.pipeline = []
        self.cycle = None
        self.running: Cycle | None = None
        """The one that is answered now, or was last."""
        self.begun: Cycle | None = None
        """To be started when what has come is parsed."""
        self.scope = None
        self.headers = None  # type: ignore[assignment]
        self.noted: list[bytes] = []
        """Which headers of NOTED have come."""
        self.newcomer = False
        """Accepted by us, and has not asked yet."""
        self.rested = self.round = NEVER
        self.waits = self.sign = None
        self.heard = False
        self.since = 0
        self.brief = shared.brief
        self.unread = 0

    def arrived(self) -> None:
        """It was accepted: load until it asks."""
        self.newcomer = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's."""
        self.connections.add(self)
        self.transport = transport
        self.server, self.client = addresses(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self.base = {
            "type": "http",
            "asgi": None,
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            # Each request's own. A copy that has them need not grow.
            "method": None,
            "path": None,
            "raw_path": None,
            "query_string": None,
            "headers": None,
            "state": None,
            "extensions": None,
        }
        if self.logger.isEnabledFor(TRACE_LOG_LEVEL):
            self._trace("connection made")

    # ── what the parser reads ─────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """As uvicorn's; a request whose own body is no HTTP is refused without asking the application."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not decline(self, data, upgrade):
                return
        except httptools.HttpParserError:
            self.refuse_what_is_none()
            return
        cycle = self.begun
        if cycle is None or len(data) > self.brief:
            self.mind(len(data))
            cycle = self.begun
            if cycle is None:
                return
        self.begun = None
        # As `_start`, without the call.
        self.running = cycle
        cycle.task = task = self.create_task(cycle.run())
        cycle.begun = self._ask(task) if self.newcomer else self.tasks.begin(task)

    def refuse_what_is_none(self) -> None:
        """What has come is no request."""
        self.begun = None
        message = "Invalid HTTP request received."
        self.logger.warning(message)
        self.send_400_response(message)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.scope = BEGUN
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        name = name.lower()
        if name in NOTED:
            self.noted.append(name)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """All of its headers: the application can be asked, but for what else has come."""
        parser = self.parser
        keep_alive = parser.should_keep_alive()
        method = parser.get_method()
        noted = self.noted
        self.scope = scope = self.base.copy()
        scope["asgi"] = {"version": self.asgi_version, "spec_version": "2.3"}
        scope["method"] = METHODS.get(method) or method.decode("ascii")
        scope["headers"] = self.headers
        scope["state"] = self.app_state.copy()
        scope["extensions"] = self.server_state.extensions.copy()
        # The parser takes long to say its version. Without a header that asks for it, no other is kept alive
        # (llhttp_should_keep_alive), and nothing is upgraded.
        if noted or not keep_alive:
            version = parser.get_http_version()
            if version != "1.1":
                scope["http_version"] = version
                # An HTTP/1.0 client may ask for it, and is refused, as by uvicorn.
                keep_alive = keep_alive and version != "1.0"
            if parser.should_upgrade() and self._should_upgrade():
                return
        url = self.url
        if url[0] == SLASH and HASH not in url:
            # What httptools.parse_url makes of it, for the parser has let no other characters through.
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        if "%" in path:
            path = urllib.parse.unquote(path)
        if self.root_path:
            path = self.root_path + path
            raw_path = self.root_path.encode("ascii") + raw_path
        scope["path"] = path
        scope["raw_path"] = raw_path
        scope["query_string"] = query

        expects = False
        if noted:
            self.noted = []
            expects = noted != CONNECTION and self._heed(noted)
        app = self.app
        limit = self.limit_concurrency
        if limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit):
            app = service_unavailable
            self.logger.warning("Exceeded concurrency limit.")
        before = self.cycle
        self.cycle = cycle = Cycle(
            self,
            scope,
            app,
            keep_alive,
            expects,
            self.server_state.defaults,
        )
        if before is None or before.response_complete:
            self.begun = cycle
        else:
            self.pause_reading()
            self.pipeline.append(cycle)

    def _heed(self, noted: list[bytes]) -> bool:
        """What NOTED headers ask for; whether the client expects to be told to go on."""
        if CODED in noted:
            # Not the scope's any more: fields behind the body are no headers (RFC 9110, 6.5.1).
            self.headers = self.headers.copy()
        if self.forwarded is not None and not FORWARDED.isdisjoint(noted):
            self.forwarded.apply(self.scope)
        return b"expect" in noted and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self.unread = NONE
        cycle = self.cycle
        # An upgrade has no cycle.
        if cycle is None or cycle.response_complete or cycle.scope is not self.scope:
            return
        self.heard = True
        if not cycle.body:
            cycle.body = body
        else:
            if isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.pause_reading()
        cycle.news = True
        if cycle.event is not None:
            cycle.event.set()

    def on_message_complete(self) -> None:
        """The end of the request: noted even after its response, or it would never be idle."""
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            cycle.more_body = False
            cycle.news = True
            if cycle.event is not None:
                cycle.event.set()

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────

    def _start(self, cycle: Cycle) -> None:
        self.running = cycle
        cycle.task = task = self.create_task(cycle.run())
        cycle.begun = self.tasks.begin(task)

    def _ask(self, task: asyncio.Task[None]) -> int:
        self.newcomer = False
        begun: int = self.tasks.ask(self, task)
        return begun

    def on_response_complete(self) -> None:
        """The next request's turn, or rest."""
        self.server_state.total_requests += 1
        if (
            self.read_paused
            or self.pipeline
            or self.round != self.activity.round
            or self.keeping.by_timers
            or self.server_state.on_idle is not None
        ):
            self._go_on()
        else:
            # What `rest` would do, for most requests find nothing to be told.
            self.rested = self.keeping.looks

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self.resume_reading()
        if self.pipeline:
            self._start(self.pipeline.pop(0))
        else:
            self.rest()
