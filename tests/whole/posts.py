"""Clients that post bodies to `stubborn` on kept connections and compare what comes back with what was sent.

Some pause in the middle of a body or of a head, some send the next request before the answer to the last.
What is answered tells its size and its checksum, so a byte that two workers share, or none gets, shows.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

from tests.conftest import PATIENCE
from tests.whole.lines import Failure

MOST = 70_000
"""Bytes of a body."""


class Posts:
    """So many clients in one event loop, from entering to leaving. The same seed, the same requests."""

    def __init__(
        self,
        port: int,
        clients: int = 12,
        seed: int = 1,
        *,
        blocking: float = 0.05,
        shortest: float = 35.0,
        longest: float = 300.0,
        keys: int = 0,
    ) -> None:
        """`blocking`: the share of requests that block their worker, for `shortest` to `longest` ms; `keys`:
        they have one of so many session keys in their URL (--sticky query:key).
        """
        self.failures: list[Failure] = []
        self.wrong: list[str] = []
        self.answered = 0
        self.latencies: list[float] = []
        """Of those that came alone, in one piece, and block nobody; seconds."""
        self.slots: Counter[str] = Counter()
        self._port = port
        self._chances = [random.Random(seed * 1000 + number) for number in range(clients)]
        self._blocking = blocking
        self._lengths = (shortest, longest)
        self._keys = keys
        self._ids = itertools.count(1)
        self.told: set[str] = set()
        """The ids of those that were answered."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        await asyncio.gather(*map(self._client, self._chances))

    async def _client(self, chance: random.Random) -> None:
        while not self._over.is_set():
            well = time.monotonic()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    closes = False
                    while not (self._over.is_set() or closes):
                        closes = await asyncio.wait_for(self._ask(reader, writer, chance), PATIENCE)
                        well = time.monotonic()
                finally:
                    writer.close()
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(Failure("post", repr(error), well, time.monotonic()))

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: random.Random
    ) -> bool:
        """A request, or two or three at once; whether the connection is over."""
        began = time.monotonic()
        bodies, ids, blocks, paused = [], [], False, False
        for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
            ids.append(str(next(self._ids)))
            path = "/digest?"
            if chance.random() < self._blocking:
                path = f"/{chance.choice(('sleep', 'spin'))}?ms={chance.uniform(*self._lengths):.0f}"
                blocks = True
            path += f"&id={ids[-1]}"
            if self._keys:
                path += f"&key={chance.randrange(self._keys)}"
            body = chance.randbytes(chance.choice((0, 1, chance.randrange(2000), chance.randrange(MOST))))
            bodies.append(body)
            head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            paused |= await self._write(writer, head + body, chance)
        closes = False
        for number, body in enumerate(bodies):
            closes, told = await self._answer(reader)
            if (told["size"], told["digest"]) != (len(body), hashlib.sha256(body).hexdigest()):
                self.wrong.append(f"sent {len(body)} bytes, answered {told}")
            self.slots[told["slot"]] += 1
            self.told.add(ids[number])
            self.answered += 1
            if closes and number + 1 < len(bodies):
                return True  # announced: what was sent beyond it is the client's to send again
        if len(bodies) == 1 and not (blocks or paused):
            self.latencies.append(time.monotonic() - began)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 0.02))
        return closes

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, chance: random.Random) -> bool:
        """All at once, or in two parts with a pause between them, then true."""
        pauses = chance.random() < 0.2
        if pauses:
            cut = chance.randrange(1, len(data))
            writer.write(data[:cut])
            await writer.drain()
            await asyncio.sleep(chance.choice((0.0, 0.005, 0.05)))
            data = data[cut:]
        writer.write(data)
        await writer.drain()
        return pauses

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[bool, dict[str, Any]]:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise OSError(f"answered {head!r}")
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        told: dict[str, Any] = json.loads(await reader.readexactly(int(length)))
        return b"\r\nconnection: close\r\n" in head, told

    def wait_for_more(self, number: int) -> None:
        """Until there are so many more answers, or something is wrong."""
        wanted, deadline = self.answered + number, time.monotonic() + PATIENCE
        while self.answered < wanted and not self.wrong:
            assert time.monotonic() < deadline, f"{self.answered} of {wanted} answers, {self.failures[:5]}"
            self._over.wait(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(2 * PATIENCE)
