"""How long a client is waited for: the test looks, a real client is slow, and only it has the damage."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from reuseport.scoreboard import Desk
from reuseport.worker.protocol import keeping
from reuseport.worker.protocol.awaited import Waits
from reuseport.worker.protocol.count import Message, Receive, Send
from reuseport.worker.protocol.keeping import LOOK
from reuseport.worker.protocol.limits import Limits
from tests.worker.served import PATIENCE, Client, Served, request

TIME = 3.0
LIMITS = Limits(arrival=TIME, head=TIME, body=TIME, write=TIME)
LEAST = round(TIME / LOOK)
"""Looks in which that time cannot be over."""
MOST = LEAST + 2 * LEAST // 10 + 2
LARGE = 32 << 20

parsers = pytest.mark.parametrize("http", ["httptools", "h11"])


class App:
    """`/` answers at once · `/body` when all has come · `/large` with more than any buffer takes · `/late`
    begins to answer, and reads on · `/busy` reads nothing before it may.
    """

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.heard: list[str] = []
        """Types of the messages that `receive` has brought."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/busy":
            await self.go.wait()
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if path == "/late":
            await send(start)
            await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        more = path != "/"
        while more:
            message = await receive()
            self.heard.append(message["type"])
            more = message.get("more_body", False)
            if message["type"] == "http.disconnect":
                return
        if path != "/late":
            await send(start)
        await send({"type": "http.response.body", "body": b"x" * (LARGE if path == "/large" else 2)})


def post(path: str, length: int = 10) -> bytes:
    return request(path, "POST", f"Content-Length: {length}")


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def waits(served: Served, what: Waits) -> None:
    """Until a connection is seen waiting for that."""
    await until(lambda: what in [each.awaits()[0] for each in served.made])


def look(served: Served, times: int) -> None:
    for _ in range(times):
        served.state.look()


async def open_still(client: Client) -> bool:
    await asyncio.sleep(0.01)
    return not client.reader.at_eof()


@parsers
@pytest.mark.parametrize(
    ("says", "what", "reason", "status"),
    [
        (b"", Waits.ARRIVAL, "silent", None),
        (b"G", Waits.HEAD, "slow_head", 408),
        (request()[:-2], Waits.HEAD, "slow_head", 408),
        (post("/body"), Waits.BODY, "slow_body", 408),
        (post("/body") + b"12345", Waits.BODY, "slow_body", 408),
        (post("/late") + b"12345", Waits.BODY, "slow_body", 200),
    ],
    ids=["nothing", "a byte", "headers", "no body", "half a body", "half a body and half an answer"],
)
def test_who_is_too_slow_is_turned_away_in_time_and_never_early(
    http: str, says: bytes, what: Waits, reason: str, status: int | None
) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http, LIMITS) as served, await served.connect() as client:
            client.writer.write(says)
            await waits(served, what)
            if b"12345" in says:
                # What has come counts, so wait until it has.
                await until(lambda: [each for each in served.made if each.heard])
                await until(lambda: app.heard)
            look(served, LEAST)
            assert await open_still(client)
            assert served.turned_away == {}
            look(served, MOST - LEAST + LEAST // 10)
            assert served.turned_away == {reason: 1}
            rest = await client.rest()
            if status is None:
                assert rest == b""
            elif status == 408:
                assert rest.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
                assert b"connection: close\r\n" in rest
                assert served.desk[Desk.RESPONSES_4XX] == 1
            else:
                assert rest.endswith(b"so far\r\n")  # and not the end of the response
            client.writer.close()
            await served.idle()
            assert app.heard[-1:] == (["http.disconnect"] if what is Waits.BODY else [])

    asyncio.run(go())


@parsers
def test_a_second_request_has_a_time_of_its_own(http: str) -> None:
    async def go() -> None:
        served = Served(App(), http, LIMITS, timeout_keep_alive=60)
        async with served, await served.connect() as client:
            for _ in range(3):
                client.writer.write(b"G")
                await waits(served, Waits.HEAD)
                look(served, LEAST)
                assert await client.ask(request()[1:]) == 200
            client.writer.write(b"G")
            await waits(served, Waits.HEAD)
            look(served, MOST)
            assert (await client.rest()).startswith(b"HTTP/1.1 408")

    asyncio.run(go())


@parsers
def test_a_head_has_one_time_however_often_a_byte_comes(http: str) -> None:
    async def go() -> None:
        async with Served(App(), http, LIMITS) as served, await served.connect() as client:
            for byte in request("/" + "x" * 10)[: MOST // 3]:
                if not served.turned_away:
                    client.writer.write(bytes([byte]))
                    await waits(served, Waits.HEAD)
                    look(served, 4)
            assert served.turned_away == {"slow_head": 1}
            assert (await client.rest()).startswith(b"HTTP/1.1 408")

    asyncio.run(go())


@parsers
def test_a_body_that_drips_in_time_is_taken(http: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http, LIMITS) as served, await served.connect() as client:
            client.writer.write(post("/body"))
            for heard in range(1, 11):
                await waits(served, Waits.BODY)
                look(served, LEAST - 2)
                client.writer.write(b"x")
                await until(lambda heard=heard: len(app.heard) == heard)  # type: ignore[misc]
            assert await client.answer() == 200
            assert served.turned_away == {}

    asyncio.run(go())


@parsers
@pytest.mark.parametrize(
    "says",
    [
        request("/busy"),
        post("/busy", 1 << 20) + b"x" * (1 << 20),
        request("/busy", "POST", "Content-Length: 2", "Expect: 100-continue"),
        request("/busy") + request() + b"GET",
    ],
    ids=["no body", "a body nobody reads", "waits to be asked for it", "pipelined"],
)
def test_the_applications_time_is_its_own(http: str, says: bytes) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http, LIMITS) as served, await served.connect() as client:
            client.writer.write(says)
            await until(lambda: served.state.tasks)
            await asyncio.sleep(0.05)
            look(served, 3 * MOST)
            assert await open_still(client)
            assert served.turned_away == {}
            app.go.set()

    asyncio.run(go())


@parsers
def test_who_waits_to_be_asked_for_its_body_owes_none(http: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http, LIMITS) as served, await served.connect() as client:
            client.writer.write(request("/busy", "POST", "Content-Length: 2", "Expect: 100-continue"))
            await until(lambda: served.state.tasks)
            look(served, 3 * MOST)
            assert served.turned_away == {}
            app.go.set()
            assert await client.answer() == 100
            look(served, MOST)
            assert served.turned_away == {"slow_body": 1}

    asyncio.run(go())


async def all_of(client: socket.socket) -> None:
    while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1 << 16), PATIENCE):
        pass


@parsers
def test_who_does_not_read_is_reset_and_who_reads_slowly_is_not(http: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http, LIMITS) as served:
            loop = asyncio.get_running_loop()
            clients = []
            for _ in range(2):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                client.setblocking(False)
                await loop.sock_connect(client, tuple(served.address))
                await loop.sock_sendall(client, request("/large"))
                clients.append(client)
            slow, deaf = clients
            await until(lambda: [each.awaits()[0] for each in served.made] == [Waits.READING] * 2)
            for _ in range(LEAST):
                look(served, 6)
                # More than a window, or the kernel would not tell the server yet.
                read = 0
                while read < 1 << 17:
                    read += len(await asyncio.wait_for(loop.sock_recv(slow, 1 << 16), PATIENCE))
                await asyncio.sleep(0.002)
            assert served.turned_away == {"not_reading": 1}
            with pytest.raises(ConnectionResetError):
                await all_of(deaf)
            assert await asyncio.wait_for(loop.sock_recv(slow, 1 << 16), PATIENCE)
            for client in clients:
                client.close()
            await served.idle()

    asyncio.run(go())


@parsers
def test_who_is_refused_can_read_it_while_it_still_sends_and_not_for_ever(http: str) -> None:
    async def go() -> None:
        async with Served(App(), http, LIMITS) as served, await served.connect() as client:
            client.writer.write(post("/body", 1 << 20))
            await waits(served, Waits.BODY)
            look(served, MOST)
            client.writer.write(b"x" * 100_000)  # crosses the answer
            assert (await client.rest()).startswith(b"HTTP/1.1 408")
            await waits(served, Waits.FAREWELL)
            look(served, 30)
            await served.idle()

    asyncio.run(go())


@parsers
def test_nobody_is_turned_away_where_nothing_is_limited(http: str) -> None:
    async def go() -> None:
        async with Served(App(), http) as served:
            clients = [await served.connect() for _ in range(4)]
            for client, says in zip(clients, (b"", b"G", post("/body"), request("/large")), strict=True):
                client.writer.write(says)
            await until(lambda: len(served.state.connections) == 4 and len(served.state.tasks) == 1)
            look(served, 20 * MOST)
            assert served.turned_away == {}
            assert len(served.state.connections) == 4
            for client in clients:
                client.writer.close()

    asyncio.run(go())


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look has time for one connection in a turn of the loop."""
    monkeypatch.setattr(keeping, "SLICE", 0.0)
    monkeypatch.setattr(keeping, "BETWEEN", 0.0)
    monkeypatch.setattr(keeping, "AT_ONCE", 1)


async def begun_heads(served: Served) -> list[Client]:
    """Ten slow clients."""
    clients = [await served.connect() for _ in range(10)]
    for client in clients:
        client.writer.write(b"G")
    await until(lambda: [each.awaits()[0] for each in served.made] == [Waits.HEAD] * 10)
    return clients


@pytest.mark.usefixtures("one_by_one")
def test_thousands_that_end_together_do_not_stop_the_worker() -> None:
    async def go() -> None:
        async with Served(App(), "httptools", LIMITS) as served:
            clients = await begun_heads(served)
            ended = [0]
            async with asyncio.timeout(PATIENCE):
                while ended[-1] < 10:
                    look(served, 1)
                    await asyncio.sleep(0)
                    ended.append(served.turned_away.get("slow_head", 0))
                    assert ended[-1] - ended[-2] <= 1
            for client in clients:
                assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
                client.writer.close()

    asyncio.run(go())


@pytest.mark.usefixtures("one_by_one")
def test_a_look_at_thousands_does_not_stop_the_worker() -> None:
    async def go() -> None:
        async with Served(App(), "httptools", LIMITS) as served:
            clients = await begun_heads(served)
            seen = [0]
            async with asyncio.timeout(PATIENCE):
                while seen[-1] < 10:
                    look(served, 1)
                    await asyncio.sleep(0)
                    seen.append(sum(each.waits is Waits.HEAD for each in served.made))
                    assert seen[-1] - seen[-2] <= 1
            for client in clients:
                client.writer.close()

    asyncio.run(go())


def test_a_defect_of_one_connection_does_not_end_all_looks() -> None:
    async def go() -> None:
        async with Served(App(), "httptools", LIMITS) as served, await served.connect() as client:
            client.writer.write(b"G")
            await waits(served, Waits.HEAD)
            for each in served.made:
                each.sign = each
                each.awaits = None  # cannot be called
            with pytest.raises(TypeError):
                look(served, MOST)
            for each in served.made:
                del each.awaits
            look(served, 2 * MOST)
            assert served.turned_away == {"slow_head": 1}

    asyncio.run(go())
