"""What is counted, and when: real sockets and parsers, one event loop; and a worker that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.watching.readings import Readings
from reuseport.scoreboard import DURATION_BOUNDS, DURATION_BUCKETS, ROW_WORDS, Desk, Scoreboard
from reuseport.worker.protocol.count import Requests
from tests.worker.protocol.test_connection import parsers
from tests.worker.served import PATIENCE, Served, counts, request

ROOT = Path(__file__).parents[3]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class App:
    """`/status/N` · `/stream` in two parts · every way to end without an answer. `go` ends what waits."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waits = asyncio.Event()
        """It has come to the place where it waits."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> Any:
        assert scope["type"] == "http"
        name, _, argument = scope["path"].strip("/").partition("/")
        return await getattr(self, name)(argument, receive, send)

    async def status(self, argument: str, receive: Receive, send: Send) -> None:
        await begin(send, int(argument))
        await send({"type": "http.response.body"})

    async def stream(self, argument: str, receive: Receive, send: Send) -> None:
        await begin(send, 200, chunked=True)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await self._wait()
        await send({"type": "http.response.body", "body": b"b", "more_body": False})

    async def background(self, argument: str, receive: Receive, send: Send) -> None:
        await self.status("200", receive, send)
        await self._wait()

    async def fail(self, argument: str, receive: Receive, send: Send) -> None:
        raise ValueError("on purpose")

    async def silent(self, argument: str, receive: Receive, send: Send) -> None:
        pass

    async def value(self, argument: str, receive: Receive, send: Send) -> int:
        return 1

    async def half(self, argument: str, receive: Receive, send: Send) -> None:
        await begin(send, 200, chunked=True)
        raise ValueError("on purpose")

    async def short(self, argument: str, receive: Receive, send: Send) -> None:
        await begin(send, 200, chunked=True)

    async def before(self, argument: str, receive: Receive, send: Send) -> None:
        await self._wait()

    async def after(self, argument: str, receive: Receive, send: Send) -> None:
        await begin(send, 200, chunked=True)
        await self._wait()

    async def leaves(self, argument: str, receive: Receive, send: Send) -> None:
        self.waits.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        if argument:
            await self.status(argument, receive, send)

    async def _wait(self) -> None:
        self.waits.set()
        await self.go.wait()


async def begin(send: Send, status: int, *, chunked: bool = False) -> None:
    headers = [] if chunked else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


@parsers
def test_every_answer_counts_by_its_status_and_is_timed(http: str) -> None:
    async def go() -> None:
        async with Served(App(), http) as served:
            for status in (200, 204, 301, 304, 404, 500, 503):
                assert await served.ask(request(f"/status/{status}")) == [status]
            assert await served.ask(request("/status/201", "HEAD")) == [201]
            assert served.counts == {"2XX": 3, "3XX": 2, "4XX": 1, "5XX": 2, "timed": 8}

    asyncio.run(go())


@parsers
def test_a_kept_and_a_pipelined_connection(http: str) -> None:
    async def go() -> None:
        async with Served(App(), http) as served, await served.connect() as client:
            for status in (200, 404):
                assert await client.ask(request(f"/status/{status}")) == status
            statuses = (200, 500, 302)
            first = await client.ask(*(request(f"/status/{status}") for status in statuses))
            assert [first, await client.answer(), await client.answer()] == list(statuses)
            assert served.counts == {"2XX": 2, "3XX": 1, "4XX": 1, "5XX": 1, "timed": 5}

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("path", ["/fail", "/silent"])
def test_who_fails_before_an_answer_is_answered_500(http: str, path: str) -> None:
    async def go() -> None:
        async with Served(App(), http) as served:
            assert await served.ask(request(path)) == [500]
            assert served.counts == {"5XX": 1, "timed": 1}

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("path", ["/half", "/short", "/value"])
def test_an_answer_that_never_ends_counts_as_abandoned(http: str, path: str) -> None:
    async def go() -> None:
        async with Served(App(), http) as served, await served.connect() as client:
            client.writer.write(request(path))
            assert b"\r\n0\r\n" not in await client.rest()
            assert served.counts == {"abandoned": 1}

    asyncio.run(go())


@parsers
def test_a_stream_counts_at_its_end_and_for_all_of_its_time(http: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http) as served, await served.connect() as client:
            begun = time.monotonic_ns()
            client.writer.write(request("/stream"))
            await asyncio.wait_for(app.waits.wait(), PATIENCE)
            assert served.counts == {}
            asyncio.get_running_loop().call_later(0.03, app.go.set)
            assert await client.answer() == 200
            assert served.counts == {"2XX": 1, "timed": 1}
            assert 0.03e9 <= served.desk[Desk.DURATION_SUM] <= time.monotonic_ns() - begun

    asyncio.run(go())


@parsers
def test_the_bucket_is_the_one_of_the_duration(http: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http) as served, await served.connect() as client:
            sums = [0]
            for seconds in (0.0, 0.006, 0.012, 0.03, 0.06, 0.11):
                before = [served.desk[word] for word in DURATION_BUCKETS]
                app.go.clear()
                asyncio.get_running_loop().call_later(seconds, app.go.set)
                assert await client.ask(request("/stream")) == 200
                sums.append(served.desk[Desk.DURATION_SUM])
                took = (sums[-1] - sums[-2]) / 1e9
                before[bisect_left(DURATION_BOUNDS, took)] += 1
                assert [served.desk[word] for word in DURATION_BUCKETS] == before

    asyncio.run(go())


@parsers
def test_what_runs_on_after_the_answer_has_no_part_in_it(http: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http) as served:
            assert await served.ask(request("/background")) == [200]
            assert served.state.tasks
            assert served.counts == {"2XX": 1, "timed": 1}
            app.go.set()
            await served.idle()
            assert served.counts == {"2XX": 1, "timed": 1}

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("path", ["/leaves/", "/leaves/200", "/leaves/500"])
def test_who_leaves_before_the_answer_has_abandoned_it(http: str, path: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http) as served:
            async with await served.connect() as client:
                client.writer.write(request(path))
                await asyncio.wait_for(app.waits.wait(), PATIENCE)
            await served.idle()
            assert served.counts == {"abandoned": 1}

    asyncio.run(go())


@parsers
@pytest.mark.parametrize(
    ("path", "counted"), [("/before", {"5XX": 1, "timed": 1}), ("/after", {"abandoned": 1})]
)
def test_a_task_that_is_cancelled(http: str, path: str, counted: dict[str, int]) -> None:
    """uvicorn answers 500 even then, as long as nothing has been sent."""

    async def go() -> None:
        app = App()
        async with Served(app, http) as served, await served.connect() as client:
            client.writer.write(request(path))
            await asyncio.wait_for(app.waits.wait(), PATIENCE)
            for task in list(served.state.tasks):
                task.cancel()
            assert (b" 500 " in await client.rest()) is ("5XX" in counted)
            assert served.counts == counted

    asyncio.run(go())


# ── what uvicorn answers alone ────────────────────────────────────────────────────────────────────────


@parsers
def test_beyond_the_limit_it_is_503_and_not_timed(http: str) -> None:
    async def go() -> None:
        async with Served(App(), http, limit_concurrency=2) as served, await served.connect() as first:
            assert await first.ask(request("/status/200")) == 200
            async with await served.connect() as second:
                assert await second.ask(request("/status/200")) == 503
            await served.until({"2XX": 1, "5XX": 1, "timed": 1})
            assert await first.ask(request("/status/503")) == 503
            assert served.counts == {"2XX": 1, "5XX": 2, "timed": 2}

    asyncio.run(go())


@parsers
def test_beyond_the_limit_behind_a_request_that_runs(http: str) -> None:
    """Then the connection has two cycles, of which the application is to answer the first."""

    async def go() -> None:
        app = App()
        async with Served(app, http, limit_concurrency=2) as served, await served.connect() as client:
            client.writer.write(request("/stream"))
            await asyncio.wait_for(app.waits.wait(), PATIENCE)
            async with await served.connect() as other:
                assert await other.ask(request("/status/200")) == 503
                await served.until({"5XX": 1})
            async with await served.connect():
                while len(served.state.connections) < 2:  # noqa: ASYNC110 - uvicorn offers no event
                    await asyncio.sleep(0.001)
                client.writer.write(request("/status/200"))
                app.go.set()
                assert [await client.answer(), await client.answer()] == [200, 503]
            assert served.counts == {"2XX": 1, "5XX": 2, "timed": 1}

    asyncio.run(go())


@parsers
def test_what_is_no_http_is_400_and_not_timed(http: str) -> None:
    async def go() -> None:
        async with Served(App(), http) as served:
            assert await served.ask(b"what is this\r\n\r\n") == [400]
            assert served.counts == {"4XX": 1}

    asyncio.run(go())


# ── what the application sees ─────────────────────────────────────────────────────────────────────────


def test_a_response_is_counted_before_uvicorn_has_its_last_part() -> None:
    desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
    seen: list[dict[str, int]] = []

    async def send(message: Message) -> None:
        seen.append(counts(desk))

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await begin(send, 200)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    async def receive() -> Message:
        return {"type": "http.request"}

    asyncio.run(_call(Requests(desk).around(app), {"type": "http"}, receive, send))
    assert seen == [{}, {}, {"2XX": 1, "timed": 1}]


@pytest.mark.parametrize("status", [0, 7, 99, 600, 999, 4_000])
def test_a_status_of_no_class_is_a_failure_of_the_servers(status: int) -> None:
    """RFC 9110, section 15: whoever gets one is to take it for 5xx. Some parsers let them through."""
    desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
    requests = Requests(desk)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await begin(send, status)
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Message) -> None:
        pass

    async def receive() -> Message:
        return {"type": "http.request"}

    asyncio.run(_call(requests.around(app), {"type": "http"}, receive, send))
    requests.answer(status)
    assert counts(desk) == {"5XX": 2, "timed": 1}
    assert {word.name for word in Desk if desk[word]} <= {
        "RESPONSES_5XX",
        "DURATION_BUCKET_0",
        "DURATION_SUM",
    }


@pytest.mark.parametrize("kind", ["http", "websocket", "lifespan"])
def test_the_application_gets_and_gives_what_it_would(kind: str) -> None:
    scope: Message = {"type": kind}
    called: list[object] = []

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        called.append(message)

    async def app(*arguments: Any) -> str:
        called.extend(arguments[:2])
        await arguments[2](message)
        return "something"

    message: Message = {"type": "any", "status": 200}
    desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
    returned = asyncio.run(_call(Requests(desk).around(app), scope, receive, send))
    assert returned == "something"
    assert all(got is given for got, given in zip(called, (scope, receive, message), strict=True))
    assert (desk[Desk.ABANDONED], desk[Desk.RESPONSES_5XX]) == (kind == "http", kind == "websocket")


async def _call(app: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    return await app(*arguments)


def test_other_interfaces_are_counted_too() -> None:
    def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        start_response("404 Not Found", [("content-length", "2")])
        return [b"no"]

    class Asgi2:
        def __init__(self, scope: Message) -> None:
            assert (scope["root_path"], scope["path"]) == ("/below", "/below/x")

        async def __call__(self, receive: Receive, send: Send) -> None:
            await begin(send, 201)
            await send({"type": "http.response.body"})

    async def go(interface: str, app: Any, status: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # uvicorn's, of its WSGI
            served = Served(app, "httptools", interface=interface, root_path="/below")
            async with served, await served.connect() as client:
                assert await client.ask(request("/x")) == status
                # It may have all of its body before the thread behind WSGI says that it was all: so it stays.
                await served.until({f"{status // 100}XX": 1, "timed": 1})

    asyncio.run(go("wsgi", wsgi, 404))
    asyncio.run(go("asgi2", Asgi2, 201))


# ── a worker that is killed ───────────────────────────────────────────────────────────────────────────

WORKER = """
import asyncio, socket, sys
from uvicorn.config import Config
from reuseport.scoreboard import Scoreboard
from reuseport.worker.protocol.load import Load
from reuseport.worker.protocol.count import Requests
from reuseport.worker.server import Server
from reuseport.worker.protocol.connection import PROTOCOLS, State
from tests.worker.protocol.test_connection import app

async def main(board, listener, http):
    config = Config(app, http=PROTOCOLS[http], log_config=None, lifespan="off", ws="none")
    config.load()
    requests = Requests(board.desk(0, 0))
    config.loaded_app = requests.around(config.loaded_app)
    state = State(Load(board.desk(0, 0), board.slot(0)), requests)
    server = Server(config, state, [], [], print, print)
    server.lifespan = config.lifespan_class(config)
    await server.accept_from(listener)
    await asyncio.Event().wait()

board, listener, http, loop = sys.argv[1:]
factory = None if loop == "asyncio" else __import__("uvloop").new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main(Scoreboard(int(board), 1), socket.socket(fileno=int(listener)), http))
"""
CLIENTS = 8


@contextlib.contextmanager
def worker(board: Scoreboard, listener: socket.socket, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    fds = (board.fd, listener.fileno())
    command = [sys.executable, "-c", WORKER, *map(str, fds), *arguments]
    with subprocess.Popen(command, pass_fds=fds, cwd=ROOT) as popen:
        try:
            yield popen
        finally:
            popen.kill()


async def ask_on(address: Any, received: list[int]) -> None:
    """Ask again and again until the server is gone."""
    reader, writer = await asyncio.open_connection(*address)
    with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
        while True:
            writer.write(request())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"content-length: 2\r\n" in head
            await reader.readexactly(2)
            received[0] += 1


@pytest.mark.parametrize(
    ("http", "loop"), [("httptools", "asyncio"), ("httptools", "uvloop"), ("h11", "asyncio")]
)
def test_what_a_killed_worker_answered_is_counted_for_ever(http: str, loop: str) -> None:
    async def life(board: Scoreboard, popen: subprocess.Popen[bytes], address: Any) -> int:
        received = [0]
        clients = asyncio.gather(*(ask_on(address, received) for _ in range(CLIENTS)))
        async with asyncio.timeout(PATIENCE):
            while received[0] < 200:  # noqa: ASYNC110 - any moment will do
                await asyncio.sleep(0.001)
        os.kill(popen.pid, signal.SIGKILL)
        await asyncio.wait_for(clients, PATIENCE)
        return received[0]

    with contextlib.closing(Scoreboard.create(1)) as board:
        totals = Totals(Readings(board))
        for _ in range(3):
            totals.sit(0, 0)
            folded = totals.one(0, Desk.RESPONSES_2XX)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                address = listener.getsockname()
                with worker(board, listener, http, loop) as popen:
                    listener.close()
                    received = asyncio.run(life(board, popen, address))
            before = totals.one(0, Desk.RESPONSES_2XX)
            totals.leave(0, 0)
            total = totals.one(0, Desk.RESPONSES_2XX)
            assert total == before == sum(totals.one(0, word) for word in DURATION_BUCKETS)
            # Counted and not received: what the worker had in its hands.
            assert received <= total - folded <= received + CLIENTS
