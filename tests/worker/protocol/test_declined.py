"""Who asks for a protocol that is not to be had is answered in HTTP/1.1, and its body is a body."""

from __future__ import annotations

import asyncio

import pytest

from reuseport.worker.protocol.connection import chosen
from reuseport.worker.protocol.count import Message, Receive, Send
from reuseport.worker.protocol.limits import Limits
from tests.worker.served import Served, request

parsers = pytest.mark.parametrize("http", ["httptools", "h11"])

UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
HIDDEN = request("/hidden")
"""A body that reads as a request."""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers with the path and the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    said = scope["path"].encode() + b" " + body
    length = (b"content-length", b"%d" % len(said))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


def sized(body: bytes) -> bytes:
    return request("/a", "POST", *UPGRADE, f"Content-Length: {len(body)}") + body


def chunked(body: bytes) -> bytes:
    head = request("/a", "POST", *UPGRADE, "Transfer-Encoding: chunked")
    return head + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"


async def answers(served: Served, data: bytes, size: int) -> list[bytes]:
    """All bodies that are answered to this, which comes in pieces of a size, and then ends."""
    async with await served.connect() as client:
        for at in range(0, len(data), size):
            client.writer.write(data[at : at + size])
            await client.writer.drain()
            await asyncio.sleep(0.001 if size < len(data) else 0)
        bodies = []
        for _ in range(data.count(b" HTTP/1.1") - data.count(HIDDEN)):
            head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 30)
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            bodies.append(await client.reader.readexactly(length))
        client.writer.write_eof()
        assert await client.rest() == b""
    return bodies


@parsers
@pytest.mark.parametrize("size", [37, 10_000])
@pytest.mark.parametrize("limits", [Limits(), Limits(body_size=1000)], ids=["bare", "bounded"])
@pytest.mark.parametrize("body", [sized, chunked])
def test_its_body_is_no_request_and_what_follows_is(
    http: str, size: int, limits: Limits, body: type[bytes]
) -> None:
    data = body(HIDDEN) + request("/b") + body(HIDDEN) + request("/c", "GET", *UPGRADE) + request("/d")
    expected = [b"/a " + HIDDEN, b"/b ", b"/a " + HIDDEN, b"/c ", b"/d "]

    async def go() -> None:
        async with Served(app, chosen(http, limits), limits, ws="none") as served:
            assert await answers(served, data, size) == expected

    asyncio.run(go())


@parsers
def test_one_without_a_body_and_one_that_is_none(http: str) -> None:
    async def go() -> None:
        async with Served(app, http, ws="none") as served:
            assert await answers(served, sized(b"") + request("/b"), 10_000) == [b"/a ", b"/b "]
            async with await served.connect() as client:
                client.writer.write(chunked(b"a").replace(b"1\r\n", b"x\r\n"))
                assert await client.answer(body=False) == 400

    asyncio.run(go())


def test_a_body_that_is_too_large_is_refused_all_the_same() -> None:
    limits = Limits(body_size=10)

    async def go() -> None:
        async with Served(app, chosen("httptools", limits), limits, ws="none") as served:
            for data in (sized(b"x" * 11), chunked(b"x" * 11)):
                async with await served.connect() as client:
                    client.writer.write(data)
                    assert await client.answer() == 413

    asyncio.run(go())
