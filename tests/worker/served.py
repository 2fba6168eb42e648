"""A worker's server in the test's own event loop: the real Server and protocols, on a real TCP port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from uvicorn.config import Config

from reuseport.scoreboard import DURATION_BUCKETS, RESPONSES, ROW_WORDS, TURNED_AWAY, Desk
from reuseport.settings.table import Settings
from reuseport.worker.admission import admission
from reuseport.worker.protocol.connection import PROTOCOLS, State
from reuseport.worker.protocol.count import Requests
from reuseport.worker.protocol.limits import BEAR_ALL, Limits
from reuseport.worker.protocol.load import Load
from reuseport.worker.server import Server

PATIENCE = 30.0


def request(path: str = "/", method: str = "GET", *headers: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *headers, "", ""]).encode()


def counts(desk: memoryview[int]) -> dict[str, int]:
    """What was counted, without what is 0; durations as their number, whatever their bucket."""
    found = {word.name.removeprefix("RESPONSES_"): desk[word] for word in RESPONSES}
    found["timed"] = sum(desk[word] for word in DURATION_BUCKETS)
    found |= {word.name.lower(): desk[word] for word in (Desk.ABANDONED, Desk.WEBSOCKETS)}
    return {name: number for name, number in found.items() if number}


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, *requests: bytes) -> int:
        """Send them all at once; the status of the first answer."""
        self.writer.write(b"".join(requests))
        return await self.answer()

    async def answer(self, *, body: bool = True) -> int:
        """The status of the next answer, once all of it has come. Raises IncompleteReadError."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)).lower()
        if body and b"transfer-encoding: chunked" in head:
            while await self.reader.readuntil(b"\r\n") != b"0\r\n":
                pass
            await self.reader.readuntil(b"\r\n")
        elif body and b"content-length: " in head:
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await asyncio.wait_for(self.reader.readexactly(int(length)), PATIENCE)
        return int(head.split()[1])

    async def rest(self) -> bytes:
        """Whatever comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()


class Served:
    """Serves an application while it is entered."""

    def __init__(
        self,
        app: Any,
        http: str | type[asyncio.Protocol],
        limits: Limits = BEAR_ALL,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        options = {"lifespan": "off", "ws": "none", "log_config": None, **options}
        self.config = Config(app, http=PROTOCOLS[http] if isinstance(http, str) else http, **options)
        self.config.load()
        self.desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
        requests = Requests(self.desk)
        self.config.loaded_app = requests.around(self.config.loaded_app)
        load = Load(self.desk, memoryview(bytearray(8 * ROW_WORDS)).cast("Q"))
        self.state = State(load, requests, limits=limits)
        self.admission = admission(settings or Settings(), self.config, self.state)

    @property
    def counts(self) -> dict[str, int]:
        return counts(self.desk)

    @property
    def turned_away(self) -> dict[str, int]:
        """By reason, without what is 0."""
        return {word.name.lower(): self.desk[word] for word in TURNED_AWAY if self.desk[word]}

    @property
    def made(self) -> list[Any]:
        """The connections that have a transport."""
        return [each for each in self.state.connections if each.transport]

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection(*self.address))

    async def ask(self, *requests: bytes) -> list[int]:
        """The statuses of the answers to requests that are sent at once on one connection."""
        async with await self.connect() as client:
            first = await client.ask(*requests)
            return [first, *[await client.answer() for _ in requests[1:]]]

    async def until(self, wanted: dict[str, int]) -> None:
        """Until the counts are these."""
        async with asyncio.timeout(PATIENCE):
            while self.counts != wanted:  # noqa: ASYNC110 - nobody tells of a count
                await asyncio.sleep(0.001)

    async def idle(self) -> None:
        """Until no request runs and no connection is open."""
        async with asyncio.timeout(PATIENCE):
            while self.state.connections or self.state.tasks:  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.001)

    async def __aenter__(self) -> Served:
        if self.admission is not None:
            self.admission.start(asyncio.get_running_loop())
        self.server = server = Server(self.config, self.state, [], [], print, print, self.admission)
        server.lifespan = self.config.lifespan_class(self.config)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address: Sequence[Any] = listener.getsockname()
        self._accepting = await server.accept_from(listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._accepting.close()
        if self.admission is not None:
            self.admission.close()
        for connection in list(self.state.connections):
            connection.transport.abort()
        await self.idle()
