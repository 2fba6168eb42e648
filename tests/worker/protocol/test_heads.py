"""How large a request's head may be: 431 and 414 at the limit, whatever the pieces it comes in."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from reuseport.worker.protocol.bearing import BEGUN
from reuseport.worker.protocol.count import Message, Receive, Send
from reuseport.worker.protocol.limits import Limits
from tests.worker.protocol.test_deadlines import App, until
from tests.worker.served import Served, request

SIZE, FIELDS = 2000, 20
LIMITS = Limits(head_size=SIZE, fields=FIELDS)

parsers = pytest.mark.parametrize("http", ["httptools", "h11"])


def sized(size: int, target: str = "/") -> bytes:
    """A request whose target and fields are so large: name, value, and four bytes for each."""
    left = size - len(target) - len("Host") - len("test") - 4
    return request(target, "GET", "X: " + "x" * (left - 5))


def many(fields: int) -> bytes:
    return request("/", "GET", *(["A:b"] * (fields - 1)))


def pieces(data: bytes, seed: int) -> list[bytes]:
    """Cut at a few places."""
    cuts = sorted(random.Random(seed).sample(range(1, len(data)), 3))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def answer(served: Served, data: bytes, seed: int | None) -> bytes:
    """All that is answered to it, sent at once or in pieces of which each is read by itself."""
    async with await served.connect() as client:
        client.writer.write(b"" if seed is None else data[:1])
        if seed is not None:
            await until(lambda: [each for each in served.made if each.scope is BEGUN])
        for piece in [data] if seed is None else pieces(data[1:], seed):
            client.writer.write(piece)
            await client.writer.drain()
            await asyncio.sleep(0.001)
        client.writer.write_eof()
        return await client.rest()


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (sized(SIZE), 200),
        (sized(SIZE + 1), 431),
        (sized(SIZE, "/" + "x" * (SIZE // 2)), 200),
        (sized(2 * SIZE, "/" + "x" * SIZE), 414),
        (many(FIELDS), 200),
        (many(FIELDS + 1), 431),
        (many(50 * FIELDS), 431),
        (request() + many(FIELDS + 1) + request(), 431),
    ],
    ids=["size", "too large", "target", "long target", "fields", "a field too many", "many", "pipelined"],
)
def test_a_head_at_the_limit_is_served_and_beyond_it_refused(
    data: bytes, status: int, seed: int | None
) -> None:
    async def go() -> None:
        async with Served(App(), "httptools", LIMITS) as served:
            got = await answer(served, data, seed)
            assert served.turned_away == ({} if status == 200 else {"head_too_large": 1})
            if data.startswith(request()):
                return  # the first one may have been answered; nobody behind it is
            assert got.startswith(b"HTTP/1.1 %d " % status)
            assert got.count(b"HTTP/1.1 ") == 1
            await served.idle()

    asyncio.run(go())


def test_behind_h11_fields_are_counted_as_well() -> None:
    async def go() -> None:
        async with Served(App(), "h11", LIMITS) as served:
            for data, status in ((many(FIELDS), 200), (many(FIELDS + 1), 431), (many(50 * FIELDS), 431)):
                async with await served.connect() as client:
                    assert await client.ask(data) == status
            assert served.turned_away == {"head_too_large": 2}
            await served.idle()

    asyncio.run(go())


@parsers
def test_a_head_without_an_end_is_refused_before_it_fills_the_memory(http: str) -> None:
    async def go() -> None:
        limits = Limits(head_size=65536)
        options: dict[str, Any] = {"h11_max_incomplete_event_size": 65536}
        async with Served(App(), http, limits, **options) as served, await served.connect() as client:
            client.writer.write(b"GET / HTTP/1.1\r\nX: ")
            sent = 0
            while not served.turned_away:
                client.writer.write(b"x" * 1000)
                await client.writer.drain()
                await asyncio.sleep(0)
                sent += 1000
                assert sent < 1 << 20
            assert served.turned_away == {"head_too_large": 1}
            assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
            assert served.counts == {"4XX": 1}

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("before", [b"", request()], ids=["first", "second"])
def test_a_head_without_an_end_is_refused_by_its_first_read(http: str, before: bytes) -> None:
    async def go() -> None:
        options: dict[str, Any] = {"h11_max_incomplete_event_size": SIZE}
        async with Served(App(), http, LIMITS, **options) as served, await served.connect() as client:
            if before:
                assert await client.ask(before) == 200
            client.writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * SIZE)
            assert await client.answer() == 431
            assert served.turned_away == {"head_too_large": 1}

    asyncio.run(go())


@pytest.mark.parametrize("data", [sized(4 * SIZE), many(4 * FIELDS)], ids=["size", "fields"])
def test_without_a_limit_there_is_none(data: bytes) -> None:
    async def go() -> None:
        async with Served(App(), "httptools") as served:
            for seed in (None, 1):
                assert (await answer(served, data, seed)).startswith(b"HTTP/1.1 200 ")

    asyncio.run(go())


def test_many_small_requests_in_one_read_are_none_too_large() -> None:
    async def go() -> None:
        async with Served(App(), "httptools", LIMITS) as served, await served.connect() as client:
            client.writer.write(request() * (3 * SIZE // len(request())) + b"GET")
            for _ in range(3 * SIZE // len(request())):
                assert await client.answer() == 200
            client.writer.write(request()[3:])
            assert await client.answer() == 200

    asyncio.run(go())


def test_what_is_large_behind_a_small_head_is_no_head() -> None:
    async def go() -> None:
        async with Served(App(), "httptools", LIMITS) as served:
            body = b"x" * (10 * SIZE)
            posted = request("/body", "POST", f"Content-Length: {len(body)}")
            for _ in range(2):
                assert (await answer(served, posted + body, None)).startswith(b"HTTP/1.1 200 ")

    asyncio.run(go())


CHUNKED = request("/body", "POST", "Transfer-Encoding: chunked") + b"1\r\nx\r\n"


@parsers
@pytest.mark.parametrize("path", ["/body", "/"], ids=["in a request", "behind its answer"])
@pytest.mark.parametrize("piece", [b"A: b\r\n" * 200, b"X: " + b"x" * 1000], ids=["many", "without an end"])
def test_fields_behind_a_body_are_bounded_as_well(http: str, path: str, piece: bytes) -> None:
    async def go() -> None:
        limits = Limits(head_size=65536)
        options: dict[str, Any] = {"h11_max_incomplete_event_size": 65536}
        async with Served(App(), http, limits, **options) as served, await served.connect() as client:
            client.writer.write(CHUNKED.replace(b"/body", path.encode()))
            if path == "/":
                assert await client.answer() == 200
            client.writer.write(b"0\r\n")
            sent = 0
            while not served.turned_away:
                more = piece if piece.endswith(b"\n") or not sent else b"x" * 1000
                client.writer.write(more)
                await client.writer.drain()
                await asyncio.sleep(0)
                sent += len(more)
                assert sent < 1 << 20
            assert served.turned_away == {"head_too_large": 1}
            if path == "/body":
                assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("path", ["/body", "/"], ids=["read", "not read"])
def test_a_body_of_many_parts_and_a_few_fields_behind_it_is_none_too_large(http: str, path: str) -> None:
    async def go() -> None:
        async with Served(App(), http, LIMITS) as served, await served.connect() as client:
            client.writer.write(CHUNKED.replace(b"/body", path.encode()))
            for part in (b"1\r\nx\r\n" * SIZE, b"%x\r\n%s\r\n" % (9 * SIZE, b"x" * 9 * SIZE)) * 3:
                client.writer.write(part)
                await client.writer.drain()
                await asyncio.sleep(0.001)
            client.writer.write(b"0\r\nX: y\r\n\r\n")
            assert await client.answer() == 200
            assert await client.ask(request()) == 200

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("pause", [0, 0.01], ids=["at once", "later"])
def test_fields_behind_a_body_are_no_headers(http: str, pause: float) -> None:
    """A proxy that takes `X-User` out of heads may leave it there."""
    told: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        told.append(list(scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def go() -> None:
        async with Served(app, http) as served, await served.connect() as client:
            client.writer.write(
                CHUNKED + (b"" if pause else b"0\r\nX-User: root\r\nExpect: 100-continue\r\n\r\n")
            )
            if pause:
                await asyncio.sleep(pause)
                client.writer.write(b"0\r\nX-User: root\r\nExpect: 100-continue\r\n\r\n")
            assert await client.answer() == 200
            assert await client.ask(request()) == 200

    asyncio.run(go())
    head = [(b"host", b"test"), (b"transfer-encoding", b"chunked")]
    assert told == [head, [(b"host", b"test")]]
