"""What would a request cost if we did nothing? CPU time of servers that do less and less, by bare uvicorn's.

    python -m bench.floor [--rounds N]

    constant    writes the same bytes for whatever it reads: the kernel, and the event loop
    parsing     reads requests with httptools, and does the same at the end of each
    tasks       starts a task for each, which writes

Each is one process on one CPU, with wrk on another. A round has fresh servers, loaded in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httptools
import uvloop

from bench.kit.measure import HOST, Server, announce, free_port, reuseport, served, spread
from bench.overhead import Account, compare, uvicorn

APP = "bench.served.small:raw"
ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 28 Nov 2026 04:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 13\r\n\r\nHello, world!"
)


class Constant(asyncio.Protocol):
    """Parses nothing."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Connected."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - that is the point
        """As if one request had come."""
        self.transport.write(ANSWER)


class Parsing(Constant):
    """Reads each request and keeps nothing of it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Connected."""
        super().connection_made(transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Of a request."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of a request."""

    def on_headers_complete(self) -> None:
        """Of a request."""

    def on_message_complete(self) -> None:
        """Answer it."""
        self.transport.write(ANSWER)


class Tasks(Parsing):
    """A task for each request."""

    def on_message_complete(self) -> None:
        """Have it answered."""
        asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        self.transport.write(ANSWER)


FLOORS: dict[str, type[Constant]] = {"constant": Constant, "parsing": Parsing, "tasks": Tasks}


async def serve(floor: str, port: int) -> None:
    """One of them, for ever."""
    server = await asyncio.get_running_loop().create_server(FLOORS[floor], HOST, port)
    print("ready", flush=True)
    await server.serve_forever()


@contextmanager
def contestants() -> Iterator[list[Account]]:
    """Bare uvicorn, reuseport and the floors, each on the first CPU; whom we start meanwhile, on another."""
    with ExitStack() as running:
        flags = (APP, "--loop", "uvloop", "--http", "httptools", "--no-access-log")
        servers: dict[str, Server] = {
            "uvicorn": running.enter_context(uvicorn(*flags)),
            "reuseport": running.enter_context(reuseport(1, *flags)),
        }
        for floor in FLOORS:
            port = free_port()
            command = (sys.executable, "-m", "bench.floor", "--serve", floor, "--port", str(port))
            servers[floor] = running.enter_context(served(command, port, "ready"))
        cpus = sorted(os.sched_getaffinity(0))
        for server in servers.values():
            for process in (server.process, *server.children()):
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, {cpus[0]})
        os.sched_setaffinity(0, {cpus[-1]})
        try:
            yield [Account(name, server) for name, server in servers.items()]
        finally:
            os.sched_setaffinity(0, cpus)


def main() -> None:
    """Measure in rounds, print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.floor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--path", default="/")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=2, help="of a second, for each server in each round")
    parser.add_argument("--serve", choices=FLOORS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve, arguments.port))
        return
    announce(arguments)
    ratios: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        with contestants() as accounts:
            compare(accounts, arguments)
        costs = {account.name: account.spent / account.requests for account in accounts}
        print(", ".join(f"{name} {cost * 1e6:.1f} µs" for name, cost in costs.items()), flush=True)
        for name, cost in costs.items():
            ratios.setdefault(name, []).append(cost / costs["uvicorn"])
    for name, found in ratios.items():
        print(f"{name}, by uvicorn's: {spread(found, '.2f')}")


if __name__ == "__main__":
    main()
