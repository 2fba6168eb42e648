"""One request and its response: what the application is called with, and what becomes of its messages.

Takes the place of uvicorn's RequestResponseCycle behind httptools, message for message and error for error,
but for what a request need not cost. The head waits for the first part of the body, so that both are one
write; a head whose body does not come in the same turn of the event loop goes out at its end. An event to
wait for is made when somebody waits. `send` returns something that is ready, unless the client reads too
slowly. What is counted (count.py) and logged is noted here, where it is known.

    answered in full     counted just before its last part is written, so before any client can have it all
    cut short            abandoned, when the call of the application ends
    never begun          answered 500 here, which counts as an answer
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from reuseport.worker.protocol.count import Application, Message
from reuseport.worker.protocol.head import CONTROLS, LENGTH, STATUS_LINES, Defaults, begun_line, known
from reuseport.worker.protocol.ready import READY

CRLF = b"\r\n"
BODILESS = frozenset({204, 304})
"""Statuses without a body (RFC 9110, 6.4.1)."""
LARGE = 16384
"""Bytes of a part from which on it costs more to put it behind its head than to hand over both."""

_now = time.monotonic_ns


class Connection(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport
    logger: logging.Logger
    app: Application
    tasks: Any
    read_paused: bool
    write_paused: bool
    count: Callable[[int, int], None]
    answer: Callable[[int], None]
    abandon: Callable[[], None]
    heads: list[Cycle]
    """Begun in this turn of the event loop; at its end, those that wait for their bodies are written."""
    loop: asyncio.AbstractEventLoop
    server_state: Any
    log_access: Callable[[Any, int], None] | None

    def on_response_complete(self) -> None:
        """All of it is written."""

    def resume_reading(self) -> None:
        """Somebody waits for more of the request."""

    async def drained(self) -> None:
        """Wait until more may be written."""


class Cycle:
    """Made by its connection when the headers are complete; runs when those before it are answered."""

    __slots__ = (
        "app",
        "begun",
        "body",
        "chunked",
        "connection",
        "defaults",
        "disconnected",
        "ended",
        "event",
        "head",
        "is_head",
        "keep_alive",
        "left",
        "more_body",
        "news",
        "response_complete",
        "response_started",
        "scope",
        "status",
        "task",
        "transport",
        "waiting_for_100_continue",
    )

    def __init__(
        self,
        connection: Connection,
        scope: dict[str, Any],
        app: Application,
        keep_alive: bool,
        waiting_for_100_continue: bool,
        defaults: Defaults,
    ) -> None:
        self.connection = connection
        self.transport = connection.transport
        self.scope = scope
        self.app = app
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = waiting_for_100_continue
        self.defaults = defaults
        self.disconnected = False
        # The request.
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.news = False
        """What `receive` waits for has come: another part of the body, its end, or the end of the client."""
        self.event: asyncio.Event | None = None
        """Set while there is news; none until somebody waits."""
        # The response.
        self.response_started = False
        self.response_complete = False
        self.head: tuple[bytes, ...] | None = None
        """Made, and not yet written."""
        self.is_head = scope["method"] == "HEAD"
        self.chunked: bool | None = None
        self.left = 0
        """Bytes of the body still to come, by its content-length."""
        self.ended = 0
        """When it was counted; nanoseconds, CLOCK_MONOTONIC."""

    task: asyncio.Task[None]
    begun: int
    """Nanoseconds, CLOCK_MONOTONIC."""
    status: int

    async def run(self) -> None:
        """Call the application, and answer for it where it does not. In a task of its own."""
        try:
            try:
                result = await self.app(self.scope, self.receive, self.send)
            except BaseException:
                # Of any kind: uvicorn answers for a cancelled request, too.
                self.connection.logger.exception("Exception in ASGI application\n")
                await self._fail()
            else:
                if result is not None or not self.response_complete:
                    await self._ended_early(result)
        finally:
            # Not by a callback of the task's: the event loop would make a turn for it.
            self.connection.tasks.end(self.task, self.ended or _now())

    def tell(self) -> None:
        """There is news for who waits in `receive`."""
        self.news = True
        if self.event is not None:
            self.event.set()

    async def receive(self) -> Message:
        """As ASGI has it: the next part of the body, or that the client has gone or has its answer."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not (self.disconnected or self.response_complete):
            if self.connection.read_paused:
                self.connection.resume_reading()
            if not self.news:
                if self.event is None:
                    self.event = asyncio.Event()
                await self.event.wait()
            self.news = False
            if self.event is not None:
                self.event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        if type(body) is not bytes:
            body = bytes(body)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def send(self, message: Message) -> Awaitable[None]:  # noqa: C901 - a call less for every request
        """As ASGI has it. Raises RuntimeError for what is no response, at once."""
        if self.connection.write_paused and not self.disconnected:
            return self._send_later(message)
        if self.disconnected:
            return READY
        if not self.response_started:
            self._begin(message)
            return READY
        kind = message["type"]
        if self.response_complete:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        if kind != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
        body = message.get("body", b"")
        more_body = message.get("more_body", False)
        if self.is_head:
            self.left = 0
            parts = self.head or ()
        elif self.chunked:
            parts = (b"%x\r\n" % len(body), body, CRLF) if body else ()
            if not more_body:
                parts = (*parts, b"0\r\n\r\n")
            if self.head is not None:
                parts = self.head + parts
        else:
            size = len(body)
            if size > self.left:
                raise RuntimeError("Response content longer than Content-Length")
            self.left -= size
            parts = (body,) if self.head is None else self.head + (body,)  # noqa: RUF005 - half the time
        self.head = None
        if more_body or self.left:
            self._write(parts, body)
            if not more_body:
                raise RuntimeError("Response content shorter than Content-Length")
            return READY
        connection = self.connection
        if self.app is connection.app:
            self.ended = now = _now()
            connection.count(self.status, now - self.begun)
        else:
            connection.answer(self.status)  # uvicorn's word, not the application's
        if len(body) < LARGE:
            self.transport.write(b"".join(parts))
        else:
            self._write(parts, body)
        self.response_complete = True
        self.news = True
        if self.event is not None:
            self.event.set()
        if not self.keep_alive:
            self.transport.close()
        connection.on_response_complete()
        return READY

    def _write(self, parts: tuple[bytes, ...], body: bytes) -> None:
        if len(body) >= LARGE:
            self.transport.writelines(parts)  # one system call all the same
        elif parts:
            self.transport.write(b"".join(parts))

    def _begin(self, message: Message) -> None:  # noqa: C901 - the same
        """The status and the headers: check and encode them, and keep them for the first part of the body."""
        if message["type"] != "http.response.start":
            raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{message['type']}'.")
        self.response_started = True
        self.waiting_for_100_continue = False
        self.status = status = message["status"]
        headers = message.get("headers", ())
        connection = self.connection
        if connection.log_access is not None:
            connection.log_access(self.scope, status)
        status_line = STATUS_LINES[status]
        defaults, looked_at = self.defaults
        if looked_at:
            headers = [*looked_at, *headers]
        lines: list[bytes] = []
        says_close = False
        for name, value in headers:
            try:
                line = known[name]
            except (KeyError, TypeError):  # or no bytes object, so without a hash
                line = begun_line(name)
                if line == b"transfer-encoding: " and value.lower() == b"chunked":
                    self.left = 0
                    self.chunked = True
                elif line == b"connection: " and b"close" in [
                    each.lower().strip() for each in value.split(b",")
                ]:
                    self.keep_alive = False
                    says_close = True
                elif line == LENGTH:
                    line = LENGTH
            if line is LENGTH and self.chunked is None:
                self.left = int(value)
                self.chunked = False
            lines += (line, value, CRLF)
        own = b"".join(lines)
        if len(own.translate(None, CONTROLS)) != len(own) - len(lines) // 3 * 2:
            raise RuntimeError("Invalid HTTP header value.")
        end = CRLF
        if self.chunked is None and not self.is_head and status not in BODILESS:
            self.chunked = True
            end = b"transfer-encoding: chunked\r\n\r\n"
        if not (self.keep_alive or says_close):
            end = b"connection: close\r\n" + end
        self.head = (status_line, defaults, own, end)
        # The body comes at once, or in another turn of the event loop.
        heads = connection.heads
        if not heads:
            connection.loop.call_soon(connection.server_state.write_heads)
        heads.append(self)

    def write_head(self) -> None:
        """Do not wait for the body any longer."""
        if self.head is not None:
            head, self.head = self.head, None
            if not self.disconnected:
                self.transport.write(b"".join(head))

    # ── what few requests need ────────────────────────────────────────────────────────────────────────

    async def _send_later(self, message: Message) -> None:
        """The client reads too slowly: wait for it."""
        while self.connection.write_paused and not self.disconnected:
            await self.connection.drained()
        await self.send(message)

    async def _ended_early(self, result: object) -> None:
        """The application has returned, but something, or without a complete response."""
        logger = self.connection.logger
        if result is not None:
            logger.error("ASGI callable should return None, but returned '%s'.", result)
            self._cut()
        elif self.disconnected:
            self._cut()
        elif not self.response_started:
            logger.error("ASGI callable returned without starting response.")
            await self._fail()
        else:
            logger.error("ASGI callable returned without completing response.")
            self._cut()

    async def _fail(self) -> None:
        """500, or the end of a response that has begun."""
        if self.response_started or self.disconnected:
            self._cut()
            return
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"21"),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"Internal Server Error"})

    def _cut(self) -> None:
        self.write_head()
        if not self.response_complete:
            self.connection.abandon()
        if not self.disconnected:
            self.transport.close()
