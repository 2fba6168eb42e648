"""Requests through our cycles: the same bytes and scopes as through uvicorn's; what differs on purpose."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reuseport.worker.protocol.ready import READY
from tests.worker.served import PATIENCE, Served, request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CLOSE = "Connection: close"
TEXT = (b"Content-Type", b"text/plain")


class Seen:
    """An application that notes what it is given, and answers as the path says."""

    def __init__(self) -> None:
        self.scopes: list[Message] = []
        self.received: list[Message] = []
        self.failed: list[str] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> Any:
        kept = {name: value for name, value in scope.items() if name != "extensions"}
        self.scopes.append({**kept, "client": None, "server": None})
        name = scope["path"].strip("/").partition("/")[0] or "plain"
        try:
            return await getattr(self, name)(receive, send)
        except RuntimeError as error:
            self.failed.append(str(error))
            raise

    async def _start(self, send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, send: Send, body: bytes = b"", *, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def plain(self, receive: Receive, send: Send) -> None:
        await self._start(send, TEXT, (b"content-length", b"2"))
        await self._body(send, b"ok")

    async def chunked(self, receive: Receive, send: Send) -> None:
        await self._start(send, TEXT)
        await self._body(send, b"a" * 20, more=True)
        await self._body(send, b"", more=True)
        await self._body(send, b"b" * 20_000, more=True)
        await self._body(send)

    async def own_chunks(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"Transfer-Encoding", b"chunked"), (b"content-length", b"3"))
        await self._body(send, b"abc")

    async def large(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"CONTENT-LENGTH", b"40000"))
        await self._body(send, b"x" * 20_000, more=True)
        await self._body(send, b"y" * 20_000)

    async def echo(self, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            self.received.append(message)
            body += message["body"]
            more = message["more_body"]
        await self._start(send, (b"content-length", b"%d" % len(body)))
        await self._body(send, body)
        self.received.append(await receive())

    async def nothing(self, receive: Receive, send: Send) -> None:
        await self._start(send, status=204)
        await self._body(send)

    async def unchanged(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"etag", b"x"), status=304)
        await self._body(send)

    async def too_long(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"content-length", b"2"))
        await self._body(send, b"too long")

    async def too_short(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"content-length", b"20"))
        await self._body(send, b"too short")

    async def bad_name(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"a b", b"c"))

    async def bad_value(self, receive: Receive, send: Send) -> None:
        await self._start(send, TEXT, (b"a", b"b\r\nc: d"))

    async def bad_length(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"content-length", b"2\n"))

    async def unknown_status(self, receive: Receive, send: Send) -> None:
        await self._start(send, status=299)
        await self._body(send, b"x")

    async def wrong_order(self, receive: Receive, send: Send) -> None:
        await self._body(send, b"x")

    async def start_twice(self, receive: Receive, send: Send) -> None:
        await self._start(send)
        await self._start(send)

    async def after_the_end(self, receive: Receive, send: Send) -> None:
        await self.plain(receive, send)
        await self._body(send, b"x")

    async def fails(self, receive: Receive, send: Send) -> None:
        raise RuntimeError("on purpose")

    async def fails_later(self, receive: Receive, send: Send) -> None:
        await self._start(send)
        raise RuntimeError("on purpose")

    async def returns_early(self, receive: Receive, send: Send) -> None:
        await self._start(send)

    async def silent(self, receive: Receive, send: Send) -> None:
        pass

    async def returns_something(self, receive: Receive, send: Send) -> int:
        await self.plain(receive, send)
        return 1

    async def closes(self, receive: Receive, send: Send) -> None:
        await self._start(send, (b"connection", b"foo, Close"), (b"content-length", b"0"))
        await self._body(send)


PATHS = sorted(name for name in vars(Seen) if not name.startswith("_"))
POST = (
    b"POST /echo?a=%20b HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
    b"Content-Length: 100000\r\nX-A: 1\r\nx-a: 2\r\n\r\n" + b"x" * 100_000
)
CHUNKS = b"5\r\nhello\r\n" * 400 + b"0\r\n\r\n"
SENT = {
    **{path: request(f"/{path}", "GET", CLOSE) for path in PATHS},
    **{
        f"HEAD {path}": request(f"/{path}", "HEAD", CLOSE)
        for path in ("plain", "chunked", "own_chunks", "large")
    },
    **{f"kept, then {path}": request() + request(f"/{path}", "GET", CLOSE) for path in PATHS},
    "a body": POST,
    "chunks": POST.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked")[:-100_000] + CHUNKS,
    "expect": POST.replace(b"X-A: 1", b"Expect: 100-Continue"),
    "1.0": b"GET /chunked HTTP/1.0\r\n\r\n",
    "1.0 kept": b"GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "1.0 behind 1.1": request() + b"GET /plain HTTP/1.0\r\n\r\n",
    "1.0 behind 1.1 that is kept": request("/", "GET", "Connection: keep-alive") + b"GET / HTTP/1.0\r\n\r\n",
    "1.0 kept, behind 1.1": request() + b"GET / HTTP/1.0\r\nCONNECTION: Keep-Alive\r\n\r\n",
    "0.9": b"GET /plain HTTP/0.9\r\n\r\n",
    "2.0": b"GET /plain HTTP/2.0\r\n\r\n",
    "2.0 kept": b"GET /plain HTTP/2.0\r\nConnection: keep-alive\r\n\r\n" + request("/", "GET", CLOSE),
    "trailers": POST.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked").replace(
        b"Connection: close\r\n", b""
    )[:-100_000]
    + CHUNKS[:-2]
    + b"X-Forwarded-For: 10.1.2.3\r\nExpect: 100-continue\r\n\r\n"
    + request("/", "GET", CLOSE),
    "path": request("/plain/%C3%A9%2F/a;b=c?d=%20&e#f", "GET", CLOSE),
    "whole url": request("http://other/plain?x", "GET", CLOSE),
    "double": request("//plain//x", "GET", CLOSE),
    "proxied": request("/", "GET", CLOSE, "X-Forwarded-For: 10.1.2.3, 127.0.0.1", "X-FORWARDED-PROTO: https"),
    "not http": b"what is this\r\n\r\n",
    "bad body": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    "upgrade": request("/plain", "GET", "Connection: upgrade", "Upgrade: h2c"),
    "options": request("*", "OPTIONS", CLOSE),
    "own method": request("/plain", "PURGE", CLOSE),
}
WITHOUT_ASKING = {"bad body"}
"""Here uvicorn asks the application in vain."""


async def answered(http: Any, sent: bytes, size: int, **options: Any) -> tuple[bytes, Seen]:
    """All that comes for what is sent in pieces of `size` bytes."""
    app = Seen()
    async with Served(app, http, date_header=False, proxy_headers=True, **options) as served:
        served.state.default_headers = served.config.encoded_headers
        async with await served.connect() as client:
            for start in range(0, len(sent), size):
                client.writer.write(sent[start : start + size])
                await client.writer.drain()
                if size < len(sent):
                    await asyncio.sleep(0.001)
            if b"h2c" in sent:  # nobody closes
                assert await client.answer() == 200
                return b"", app
            return await client.rest(), app


@pytest.mark.parametrize("size", [1 << 20, 37], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", SENT)
def test_bytes_scopes_and_messages_are_uvicorn_s(name: str, size: int) -> None:
    sent = SENT[name]
    if size < 100:
        size = max(size, len(sent) // 40)
    options: Any = {"root_path": "/below", "headers": [("X-Ours", "1")]} if name == "path" else {}
    theirs, them = asyncio.run(answered(HttpToolsProtocol, sent, size, **options))
    ours, us = asyncio.run(answered("httptools", sent, size, **options))
    assert ours == theirs
    if name == "trailers":
        # It takes them for the head's; we do not (test_heads.py).
        headers = them.scopes[0]["headers"]
        assert headers[-2:] == [(b"x-forwarded-for", b"10.1.2.3"), (b"expect", b"100-continue")]
        del headers[-2:]
    if name not in WITHOUT_ASKING:
        assert us.scopes == them.scopes
    assert us.failed == them.failed
    assert b"".join(message.get("body", b"") for message in us.received) == b"".join(
        message.get("body", b"") for message in them.received
    )
    assert us.received[-1:] == them.received[-1:]


def test_a_header_may_be_no_bytes_object() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        headers = [[bytearray(b"X-A"), memoryview(b"b")], (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": iter(headers)})
        await send({"type": "http.response.body", "body": bytearray(b"ok")})

    async def go() -> None:
        async with Served(app, "httptools") as served, await served.connect() as client:
            client.writer.write(request("/", "GET", CLOSE))
            answer = await client.rest()
            assert b"\r\nx-a: b\r\n" in answer
            assert answer.endswith(b"\r\n\r\nok")

    asyncio.run(go())


# ── one write, or two ─────────────────────────────────────────────────────────────────────────────────


def test_a_head_without_its_body_goes_out_at_the_end_of_the_turn() -> None:
    """Also one that a task of the application's begins, not the request's own."""
    go_on: asyncio.Event

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        begun = send({"type": "http.response.start", "status": 200, "headers": []})
        await (begun if scope["path"] == "/" else asyncio.create_task(_wait_for(begun)))
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async def go(path: str) -> None:
        nonlocal go_on
        go_on = asyncio.Event()
        async with Served(app, "httptools") as served, await served.connect() as client:
            client.writer.write(request(path))
            head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE)
            assert b"transfer-encoding: chunked" in head
            go_on.set()
            assert (
                await asyncio.wait_for(client.reader.readexactly(14), PATIENCE) == b"4\r\nlate\r\n0\r\n\r\n"
            )

    asyncio.run(go("/"))
    asyncio.run(go("/task"))


async def _wait_for(what: Awaitable[None]) -> None:
    await what


class Recording(asyncio.Transport):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written: list[bytes] = []
        self.paused = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0


def connected(app: Any, **options: Any) -> tuple[Any, Recording, Served]:
    """A connection in the running loop that nobody reads but the test."""
    served = Served(app, "httptools", **options)
    transport = Recording()
    connection: Any = served.config.http_protocol_class(  # type: ignore[call-arg]
        config=served.config,
        server_state=served.state,
        app_state={},
        _loop=asyncio.get_running_loop(),
    )
    served.state.arrive(connection, assigned=True)
    connection.connection_made(transport)
    return connection, transport, served


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_head_and_first_part_are_one_write() -> None:
    async def go() -> None:
        connection, transport, _ = connected(Seen())
        connection.data_received(request("/plain"))
        await turns()
        assert [data.count(b"HTTP/1.1 200 OK") for data in transport.written] == [1]
        assert transport.written[0].endswith(b"ok")
        assert connection.idle()

    asyncio.run(go())


# ── awaitables ────────────────────────────────────────────────────────────────────────────────────────


def test_what_send_returns_is_whatever_a_coroutine_would_be() -> None:
    async def go() -> None:
        for _ in range(2):
            await READY
            await asyncio.create_task(READY)
            await asyncio.wait_for(READY, PATIENCE)
            await asyncio.gather(READY, READY)
        assert asyncio.iscoroutine(READY)
        READY.close()
        with pytest.raises(ValueError, match="x"):
            READY.throw(ValueError("x"))

    asyncio.run(go())


def test_current_task_and_context_are_there_in_the_first_step() -> None:
    found: list[object] = []
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        found.append(asyncio.current_task())
        found.append(variable.get())
        variable.set(variable.get() + 1)
        await Seen().plain(receive, send)

    async def go() -> None:
        async with Served(app, "httptools") as served, await served.connect() as client:
            assert [await client.ask(request()), await client.ask(request())] == [200, 200]
        tasks = found[::2]
        assert all(isinstance(task, asyncio.Task) for task in tasks)
        assert tasks[0] is not tasks[1]
        assert found[1::2] == [0, 0]

    asyncio.run(go())


def test_two_may_wait_for_the_end_of_the_client() -> None:
    told: list[str] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()

        async def wait() -> None:
            told.append((await receive())["type"])

        await asyncio.gather(asyncio.create_task(wait()), asyncio.create_task(wait()))

    async def go() -> None:
        async with Served(app, "httptools") as served:
            async with await served.connect() as client:
                client.writer.write(request())
                while not served.state.tasks:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.001)
            await served.idle()
        assert told == ["http.disconnect"] * 2

    asyncio.run(go())


# ── pipelines, and clients that leave or do not read ──────────────────────────────────────────────────


def test_the_one_that_runs_hears_of_the_client_s_end_though_another_waits_behind_it() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            pass

    asked: list[str] = []

    async def go() -> None:
        connection, _, served = connected(app)
        connection.data_received(request("/a") + request("/b"))
        await turns()
        connection.connection_lost(None)
        await turns()
        assert asked == ["/a"]
        assert not served.state.tasks
        assert served.counts == {"abandoned": 1}

    asyncio.run(go())


def test_send_waits_while_the_client_does_not_read() -> None:
    sent: list[int] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body"})

    async def go() -> None:
        connection, transport, served = connected(app)
        connection.pause_writing()
        connection.data_received(request())
        await turns()
        assert transport.written == []
        connection.resume_writing()
        await turns()
        assert sent == [0, 1, 2]
        assert served.counts == {"2XX": 1, "timed": 1}
        connection.pause_writing()
        connection.data_received(request())
        await turns()
        connection.connection_lost(None)
        await turns()
        assert not served.state.tasks
        assert served.counts == {"2XX": 1, "timed": 1, "abandoned": 1}

    asyncio.run(go())


def test_a_task_that_is_cancelled_before_its_first_step_is_no_load_for_ever() -> None:
    async def go() -> None:
        connection, _, served = connected(Seen())
        connection.data_received(request())
        for task in list(served.state.tasks):
            task.cancel()
        await turns()
        served.state.load.forget()
        assert not served.state.tasks

    asyncio.run(go())


# ── headers that a response has by default ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ((b"Connection", b"close"), b"\r\nconnection: close\r\n"),
        ((b"transfer-encoding", b"chunked"), b"2\r\nok\r\n0\r\n\r\n"),
        ((b"x", b"a\nb"), b""),
    ],
)
def test_default_headers_that_say_how_a_response_ends(header: tuple[bytes, bytes], wanted: bytes) -> None:
    async def go(http: Any) -> bytes:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        async with Served(Seen(), http) as served, await served.connect() as client:
            served.state.default_headers = [(b"server", b"uvicorn"), header]
            client.writer.write(request("/plain", "GET", CLOSE))
            return await client.rest()

    try:
        ours, theirs = asyncio.run(go("httptools")), asyncio.run(go(HttpToolsProtocol))
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
    assert ours == theirs
    assert wanted in ours


def test_each_request_has_its_own_of_what_applications_change() -> None:
    scopes: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        scopes.append({name: dict(scope[name]) for name in ("asgi", "state", "extensions")})
        for name in ("asgi", "state", "extensions"):
            scope[name]["mine"] = 1
        scope["path"] = "/other"
        await Seen().plain(receive, send)

    async def go() -> None:
        async with Served(app, "httptools") as served:
            assert await served.ask(request(), request()) == [200, 200]
        assert scopes[0] == scopes[1]

    asyncio.run(go())
