"""Python's share of a request, without sockets: uvicorn's protocol and ours, fed by a transport that is none.

    python -m bench.share [--who uvicorn|reuseport] [--app raw|starlette] [--request NAME] [--rounds N]

What it prints is the least time per request of many short rounds, which holds on a busy machine, too. What
does not depend on the machine at all is bench.instructions.

Tried and left, each in turns with the source as it is, raw hello and Starlette's in µs:

    compiled by Cython as it is, Python 3.11                       7.2 instead of 6.9, 14.5 instead of 14.0
    the cycle an extension type, load and counts compiled          5.0 instead of 5.3, 10.4 instead of 10.8
    the connection compiled as well                                5.1 instead of 5.3, 10.4 instead of 10.8
    first steps of one turn's requests as eager tasks, 3.13        5.6 instead of 6.0, raw
    a table of usual header names instead of bytes.lower           7.2 instead of 7.0, a browser's headers

What is left is mostly not the interpreter's: parser, dictionaries, task, system calls. The eager ones would
be invisible to the rescue (worker/standing.py).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from reuseport.scoreboard import ROW_WORDS
from reuseport.settings.table import DEFAULTS
from reuseport.worker.protocol.connection import State, TransferableHttpTools
from reuseport.worker.protocol.count import Requests
from reuseport.worker.protocol.limits import Limits
from reuseport.worker.protocol.load import Load

CONNECTIONS = 32
"""Asking at the same time."""
HOST = b"Host: 127.0.0.1:8000\r\n"
BROWSER = b"""User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r
Accept: text/html,application/xhtml+xml\r
Accept-Encoding: gzip, deflate, br\r
Accept-Language: en-US,en;q=0.9\r
Cookie: session=abcdef0123456789; theme=dark\r
Cache-Control: no-cache\r
Pragma: no-cache\r
Sec-Fetch-Mode: navigate\r
Upgrade-Insecure-Requests: 1\r
"""
JSON = b"[" + b", ".join(b"%d" % number for number in range(10_000, 10_146)) + b"]"
"""A KiB."""

REQUESTS = {
    "hello": b"GET /?page=2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "browser": b"GET /?page=2 HTTP/1.1\r\n" + HOST + BROWSER + b"\r\n",
    "post": b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(JSON) + JSON,
    "last": b"GET /?page=2 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
}
"""`last` is the only one of a new connection; of the others each is one of many."""


class Transport(asyncio.Transport):
    """Takes everything, and says what protocols ask."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)})
        self.closed = False

    def write(self, data: Any) -> None:
        """Written."""

    def is_closing(self) -> bool:
        """Whether the protocol has closed."""
        return self.closed

    def close(self) -> None:
        """The protocol's last word."""
        self.closed = True

    def get_write_buffer_size(self) -> int:
        """Nothing ever waits."""
        return 0


class Served:
    """Connections of one of the two."""

    def __init__(self, who: str, app: str) -> None:
        config = Config(f"bench.served.small:{app}", log_config=None, access_log=False, log_level="warning")
        config.load()
        self.ours = who == "reuseport"
        desk, row = (memoryview(bytearray(8 * ROW_WORDS)).cast("Q") for _ in range(2))
        requests = Requests(desk)
        limits = Limits.of(DEFAULTS)
        self.state: Any = State(Load(desk, row), requests, limits=limits) if self.ours else ServerState()
        if self.ours:
            config.loaded_app = requests.around(config.loaded_app)
        self.state.default_headers = [
            (b"date", b"Sat, 28 Nov 2026 04:00:00 GMT"),
            (b"server", b"uvicorn"),
        ]
        kind: Any = TransferableHttpTools if self.ours else HttpToolsProtocol
        loop = asyncio.get_running_loop()
        self._make: Any = lambda: kind(config=config, server_state=self.state, app_state={}, _loop=loop)

    def connect(self) -> tuple[Any, Transport]:
        """A new one."""
        connection, transport = self._make(), Transport()
        if self.ours:
            self.state.arrive(connection, assigned=True)
        connection.connection_made(transport)
        return connection, transport


async def kept(served: Served, request: bytes, rounds: int) -> float:
    """Requests of connections that are kept: seconds for each, at best."""
    connections = [served.connect()[0] for _ in range(CONNECTIONS)]
    best = float("inf")
    for _ in range(rounds):
        answered, begun = served.state.total_requests + CONNECTIONS, time.perf_counter()
        for connection in connections:
            connection.data_received(request)
        while served.state.total_requests < answered:  # noqa: ASYNC110 - turns of the loop are what is measured
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        best = min(best, time.perf_counter() - begun)
    return best / CONNECTIONS


async def closing(served: Served, request: bytes, rounds: int) -> float:
    """A connection for each request: seconds, at best."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        made = [served.connect() for _ in range(CONNECTIONS)]
        for connection, _ in made:
            connection.data_received(request)
        while not all(transport.closed for _, transport in made):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
        for connection, _ in made:
            connection.connection_lost(None)
        await asyncio.sleep(0)
        best = min(best, time.perf_counter() - begun)
    return best / CONNECTIONS


def loop_of(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """By uvicorn's names of event loops."""
    return Config("", loop=name).get_loop_factory()


def main() -> None:
    """Measure one, print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.share",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--who", choices=("reuseport", "uvicorn"), default="reuseport")
    parser.add_argument("--app", choices=("raw", "starlette"), default="raw")
    parser.add_argument("--request", choices=REQUESTS, default="hello")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--rounds", type=int, default=1000)
    arguments = parser.parse_args()

    async def measure() -> float:
        served, request = Served(arguments.who, arguments.app), REQUESTS[arguments.request]
        how = closing if arguments.request == "last" else kept
        return await how(served, request, arguments.rounds)

    with asyncio.Runner(loop_factory=loop_of(arguments.loop)) as runner:
        seconds = runner.run(measure())
    print(f"{arguments.who}, {arguments.app}, {arguments.request}: {seconds * 1e6:.2f} µs a request")


if __name__ == "__main__":
    main()
