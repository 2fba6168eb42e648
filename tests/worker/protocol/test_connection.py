"""When a connection's descriptor is all there is to it: real sockets, real parsers, one event loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from uvicorn.config import Config

from reuseport.scoreboard import ROW_WORDS
from reuseport.worker.protocol.connection import PROTOCOLS, State, TransferableH11, TransferableHttpTools
from reuseport.worker.protocol.count import Requests
from reuseport.worker.protocol.load import Load

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n"
LARGE = 32 << 20
PATIENCE = 30.0

Message = MutableMapping[str, Any]


WAITED: list[asyncio.Event] = []
"""Of each test its own, for `/wait`."""


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """`/` at once and short · `/large` larger than any socket's buffer · `/never`, `/wait` wait."""
    assert scope["type"] == "http"
    if scope["path"] == "/never":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"] == "/wait":
        await WAITED[-1].wait()
    body = b"x" * (LARGE if scope["path"] == "/large" else 2)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def state() -> State:
    """Counting into words that nobody reads."""
    desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
    return State(Load(desk, memoryview(bytearray(8 * ROW_WORDS)).cast("Q")), Requests(desk))


class Both:
    """A client's socket and the protocol that serves it."""

    def __init__(self, http: str, limit_concurrency: int | None = None) -> None:
        config = Config(
            app,
            http=PROTOCOLS[http],
            log_config=None,
            lifespan="off",
            ws="none",
            limit_concurrency=limit_concurrency,
        )
        config.load()
        self.state = state()
        self.told: list[bool] = []
        loop = asyncio.get_running_loop()
        self._make = lambda: config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.state, app_state={}, _loop=loop
        )

    async def __aenter__(self) -> Both:
        self.client, server = socket.socketpair()
        self.client.setblocking(False)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_accepted_socket(self._make, server)
        assert isinstance(protocol, TransferableHttpTools | TransferableH11)
        self.protocol = protocol

        def on_idle(connection: TransferableHttpTools | TransferableH11) -> None:
            # The next turn of the loop is early enough for whoever wants idle connections.
            loop.call_soon(lambda: self.told.append(connection.idle()))

        self.state.on_idle = on_idle
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.close()
        await asyncio.wait_for(self._gone(), PATIENCE)

    async def _gone(self) -> None:
        while self.state.connections or self.state.tasks:  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0)

    async def send(self, data: bytes) -> None:
        """Until the protocol has read it: what a socket pair holds is readable at once."""
        await asyncio.get_running_loop().sock_sendall(self.client, data)
        for _ in range(5):
            await asyncio.sleep(0)

    async def receive(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        while size > 0:
            size -= len(await asyncio.wait_for(loop.sock_recv(self.client, 1 << 20), PATIENCE))
        await asyncio.sleep(0)

    async def answers(self, number: int) -> None:
        """Until so many responses are complete."""
        async with asyncio.timeout(PATIENCE):
            while self.state.total_requests < number:  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0)


class Asked(asyncio.Event):
    """As a cycle has it for who waits for news: at the end of an answer, before what follows from that."""

    def __init__(self, connection: TransferableHttpTools, told: list[bool]) -> None:
        super().__init__()
        self.ask: Callable[[], None] = lambda: told.append(connection.idle())

    def set(self) -> None:
        """What a finalizer could do there: let another thread ask."""
        self.ask()
        super().set()


parsers = pytest.mark.parametrize("http", ["httptools", "h11"])


@parsers
def test_idle_before_the_first_request_and_after_each(http: str) -> None:
    async def go() -> None:
        async with Both(http) as both:
            assert both.protocol.idle()
            for number in (1, 2):
                await both.send(GET)
                await both.answers(number)
                assert both.protocol.idle()
            assert both.told == [True, True]

    asyncio.run(go())


@pytest.mark.parametrize(
    ("size", "idle"), [(10, True), (100_000, False)], ids=["read", "not read to its end"]
)
def test_between_an_answer_and_what_follows_from_it(size: int, idle: bool) -> None:
    """A connection that paused because of a body reads on in a moment, whoever has it by then."""

    async def go() -> None:
        async with Both("httptools") as both:
            connection = both.protocol
            assert isinstance(connection, TransferableHttpTools)
            told: list[bool] = []
            WAITED.append(over := asyncio.Event())
            await both.send(b"POST /wait HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size)
            await both.send(b"x" * size)
            cycle = connection.cycle
            assert cycle is not None
            cycle.event = Asked(connection, told)
            over.set()
            await both.answers(1)
            assert told == [idle]

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("size", [1, 4, len(GET) - 3])
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
def test_a_byte_of_a_request_is_enough(http: str, size: int, before: bytes) -> None:
    async def go() -> None:
        async with Both(http) as both:
            await both.send(before + GET[:size])
            await both.answers(1 if before else 0)
            assert not any(both.told)
            assert not both.protocol.idle()
            await both.send(GET[size:])
            await both.answers(2 if before else 1)
            assert both.protocol.idle()

    asyncio.run(go())


@parsers
def test_of_a_pipelined_pair_only_the_last_leaves_it_idle(http: str) -> None:
    async def go() -> None:
        async with Both(http) as both:
            await both.send(GET + GET)
            await both.answers(2)
            assert both.told[-1]
            assert not any(both.told[:-1])
            assert both.protocol.idle()

    asyncio.run(go())


@parsers
def test_a_body_that_is_not_complete(http: str) -> None:
    async def go() -> None:
        async with Both(http) as both:
            await both.send(POST + b"ab")
            await both.answers(1)
            assert both.told == [False]
            assert not both.protocol.idle()
            await both.send(b"cd")
            assert both.protocol.idle()

    asyncio.run(go())


@parsers
def test_output_that_waits_for_the_reader(http: str) -> None:
    async def go() -> None:
        async with Both(http) as both:
            await both.send(GET.replace(b"/", b"/large", 1))
            await both.answers(1)
            assert both.told == [False]
            assert not both.protocol.idle()
            await both.receive(LARGE)
            async with asyncio.timeout(PATIENCE):
                while not both.protocol.idle():
                    await both.receive(1)

    asyncio.run(go())


@parsers
def test_a_request_that_runs(http: str) -> None:
    async def go() -> None:
        async with Both(http) as both:
            await both.send(GET.replace(b"/", b"/never", 1))
            assert not both.protocol.idle()

    asyncio.run(go())


@parsers
def test_an_end_that_was_announced_or_has_come(http: str) -> None:
    async def go() -> None:
        async with Both(http) as both:
            await both.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await both.answers(1)
            assert not any(both.told)
            assert not both.protocol.idle()

    asyncio.run(go())


@parsers
def test_a_connection_that_is_gone_is_freed_without_a_garbage_collection(http: str) -> None:
    async def go() -> None:
        async with Both(http, limit_concurrency=10) as both:
            await both.send(GET)
            await both.answers(1)
        both.state.on_idle = None
        alive = weakref.ref(both.protocol)
        del both.protocol
        for _ in range(5):
            await asyncio.sleep(0)
        assert alive() is None

    gc.disable()
    try:
        asyncio.run(go())
    finally:
        gc.enable()
