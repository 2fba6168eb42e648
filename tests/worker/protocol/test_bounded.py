"""Bodies that are too large and requests that are too late: refused before the application has them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from reuseport.scoreboard import Desk
from reuseport.worker.protocol.connection import chosen, transferable
from reuseport.worker.protocol.count import Message, Receive, Send
from reuseport.worker.protocol.limits import BEAR_ALL, Limits
from tests.worker.protocol.test_deadlines import until
from tests.worker.served import PATIENCE, Client, Served, request

MOST = 1000
WAIT = 0.25
"""Seconds: far above a jiffy."""

parsers = pytest.mark.parametrize("http", ["httptools", "h11"])


class App:
    """Reads all, and answers. What it has heard it keeps."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.heard: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """Called before `/block` blocks the event loop."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        more = True
        while more:
            message = await receive()
            self.heard.append(message["type"])
            if message["type"] == "http.disconnect":
                return
            more = message["more_body"]
        if scope["path"] == "/block":
            self.meanwhile()
            time.sleep(2 * WAIT)  # noqa: ASYNC251 - it is what makes others late
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def bounded(app: App, http: str = "httptools", **limits: float) -> Served:
    bounds = BEAR_ALL._replace(**limits)  # type: ignore[arg-type]
    return Served(app, chosen(http, bounds), bounds)


def post(length: int, *, chunked: bool = False) -> bytes:
    if not chunked:
        return request("/", "POST", f"Content-Length: {length}") + b"x" * length
    chunks = b"".join(b"a\r\n0123456789\r\n" for _ in range(length // 10))
    last = b"%x\r\n" % (length % 10) + b"x" * (length % 10) + b"\r\n" if length % 10 else b""
    return request("/", "POST", "Transfer-Encoding: chunked") + chunks + last + b"0\r\n\r\n"


async def asked_after(client: Client, before: bytes, length: int, *, chunked: bool) -> bool:
    """Whether such a body is within the limit; it is answered accordingly, and the connection ends if not."""
    if before:
        assert await client.ask(before) == 200
    taken = length <= MOST
    assert await client.ask(post(length, chunked=chunked)) == (200 if taken else 413)
    if not taken:
        assert await client.rest() == b""
    return taken


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("length", [0, MOST, MOST + 1, 50 * MOST])
def test_a_body_at_the_limit_is_taken_and_beyond_it_refused(length: int, chunked: bool) -> None:
    async def go() -> None:
        app = App()
        async with bounded(app, body_size=MOST) as served:
            for before in (b"", post(MOST)):
                asked = len(app.asked)
                async with await served.connect() as client:
                    taken = await asked_after(client, before, length, chunked=chunked)
                    if not taken:
                        assert "http.disconnect" not in app.heard
                        assert len(app.asked) == asked + bool(before)
            assert served.turned_away == ({} if taken else {"body_too_large": 2})
            await served.idle()

    asyncio.run(go())


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("length", [0, MOST, MOST + 1, 50 * MOST])
def test_behind_h11_the_limit_is_the_same(length: int, chunked: bool) -> None:
    async def go() -> None:
        app = App()
        async with bounded(app, "h11", body_size=MOST) as served:
            for before in (b"", post(MOST)):
                async with await served.connect() as client:
                    taken = await asked_after(client, before, length, chunked=chunked)
            assert served.turned_away == ({} if taken else {"body_too_large": 2})
            await served.idle()
            # What says beforehand that it is too much it never hears of.
            assert app.heard.count("http.disconnect") == (2 if not taken and chunked else 0)

    asyncio.run(go())


@parsers
def test_a_body_that_ends_in_two_ways_is_refused(http: str) -> None:
    async def go() -> None:
        app = App()
        async with bounded(app, http) as served, await served.connect() as client:
            both = request("/", "POST", "Content-Length: 4", "Transfer-Encoding: chunked")
            assert await client.ask(both + b"0\r\n\r\n" + request("/hidden")) == 400
            await client.rest()
            assert app.asked == []

    asyncio.run(go())


@parsers
def test_who_announces_too_much_need_not_send_it(http: str) -> None:
    async def go() -> None:
        async with bounded(App(), http, body_size=MOST) as served, await served.connect() as client:
            asks = request("/", "POST", f"Content-Length: {MOST + 1}", "Expect: 100-continue")
            assert await client.ask(asks) == 413

    asyncio.run(go())


def test_an_application_that_has_begun_to_read_hears_that_its_client_has_gone() -> None:
    async def go() -> None:
        app = App()
        async with bounded(app, body_size=MOST) as served, await served.connect() as client:
            client.writer.write(request("/", "POST", "Transfer-Encoding: chunked") + b"1\r\nx\r\n")
            await until(lambda: app.heard)
            client.writer.write(b"fff\r\n" + b"x" * 0xFFF + b"\r\n")
            assert await client.answer() == 413
            client.writer.close()
            await served.idle()
            assert app.heard == ["http.request", "http.disconnect"]

    asyncio.run(go())


@parsers
def test_who_has_waited_for_too_long_is_told_so_and_not_served(http: str) -> None:
    async def go() -> None:
        loop = asyncio.get_running_loop()
        app = App()
        async with bounded(app, http, wait=WAIT) as served, await served.connect() as busy:
            address = tuple(served.address)
            kept = socket.create_connection(address)
            kept.setblocking(False)
            await loop.sock_sendall(kept, request("/kept"))
            assert await loop.sock_recv(kept, 1000)
            clients = [kept]

            def come() -> None:
                """While the loop is blocked: on a connection that is kept, and on a new one."""
                clients.append(socket.create_connection(address))
                for client in clients:
                    client.send(request("/late"))

            app.meanwhile = come
            assert await busy.ask(request("/block")) == 200
            for client in clients:
                client.setblocking(False)
                answer = b""
                while more := await asyncio.wait_for(loop.sock_recv(client, 1000), PATIENCE):
                    answer += more
                client.close()
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nretry-after: 1\r\n" in answer
                assert b"\r\nconnection: close\r\n" in answer.lower()
            assert served.turned_away == {"waited": 2}
            assert "/late" not in app.asked
            assert served.desk[Desk.RESPONSES_5XX] == 2
            assert await busy.ask(request("/in-time")) == 200

    asyncio.run(go())


@parsers
def test_who_was_silent_for_long_has_not_waited(http: str) -> None:
    async def go() -> None:
        async with bounded(App(), http, wait=WAIT) as served, await served.connect() as client:
            await asyncio.sleep(2 * WAIT)
            assert await client.ask(request()) == 200
            await asyncio.sleep(2 * WAIT)
            assert await client.ask(request()) == 200
            assert served.turned_away == {}

    asyncio.run(go())


def test_who_limits_nothing_that_costs_has_the_plain_protocol() -> None:
    plain = chosen("auto", BEAR_ALL)
    assert chosen("auto", Limits(head=1.0, head_size=1)) is plain
    assert chosen("auto", Limits(wait=1.0)) is not plain
    assert transferable(chosen("auto", Limits(body_size=1)))
    assert chosen("mine:Protocol", Limits(wait=1.0)) == "mine:Protocol"
