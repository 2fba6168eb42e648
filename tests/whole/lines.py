"""Client connections that live long: one by hand, byte by byte, and a load of them that notes every end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.conftest import PATIENCE, Launched

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
EXITED = r"worker in slot \d+ \(pid \d+\) exited cleanly"


@dataclass(frozen=True)
class Answer:
    """One response; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def who(self) -> dict[str, Any]:
        """What the application told about itself."""
        told: dict[str, Any] = json.loads(self.body)
        return told


class Line:
    """One keep-alive connection, from its opening to the end of the test."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._socket: socket.socket = socket.create_connection((host, port), PATIENCE)
        if context is not None:
            self.encrypt(context)
        else:
            self._file = self._socket.makefile("rb")

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Begin TLS on a connection opened in the clear."""
        self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(self, path: str = "/") -> Answer:
        self.send(GET.replace(b"/", path.encode(), 1))
        return self.answer()

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next response. Raises EOFError when there is none."""
        first = self._file.readline()
        if not first:
            raise EOFError("the server closed the connection")
        headers = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(first.split()[1]), headers

    def be_narrow(self) -> None:
        """From now on the kernel keeps little for us: what we have not read waits at the other end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)

    def wait_for_some(self) -> None:
        """Until something has come, which is left for who reads."""
        self._socket.recv(1, socket.MSG_PEEK)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def answer(self) -> Answer:
        """The next response, whose length is told. Raises EOFError."""
        status, headers = self.head()
        return Answer(status, headers, self.read(int(headers["content-length"])))

    def ends(self) -> bool:
        """Wait for the server's end: True for the orderly one. A reset raises ConnectionResetError."""
        return self._file.read(1) == b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()


class Lines(ExitStack):
    """Many of them, closed together."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Line] = []

    def open(self, port: int, number: int, context: ssl.SSLContext | None = None) -> list[Line]:
        """So many more."""
        more = [self.enter_context(Line(port, context)) for _ in range(number)]
        self.opened += more
        return more


@dataclass(frozen=True)
class Failure:
    """A connection that ended without being announced, or an answer that did not come. Monotonic seconds."""

    kind: str
    error: str
    well_until: float
    noticed_at: float


class Load:
    """Clients in one event loop: some ask again and again on one connection, some on a new one each time."""

    def __init__(self, port: int, lasting: int = 4, fresh: int = 2) -> None:
        self.failures: list[Failure] = []
        self.answered = {"lasting": 0, "fresh": 0}
        self.announced = 0
        """Lasting connections that the server ended after an answer with `Connection: close`."""
        self._port = port
        self._kinds = ["lasting"] * lasting + ["fresh"] * fresh
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(kind) for kind in self._kinds))

    async def _client(self, kind: str) -> None:
        while not self._over.is_set():
            well = time.monotonic()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    while not self._over.is_set():
                        closes = await asyncio.wait_for(self._ask(reader, writer, kind), PATIENCE)
                        well = time.monotonic()
                        self.answered[kind] += 1
                        if closes:
                            self.announced += kind == "lasting"
                            break
                finally:
                    writer.close()
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(Failure(kind, repr(error), well, time.monotonic()))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str) -> bool:
        """Whether the connection is over after this answer."""
        close = kind == "fresh"
        writer.write(GET if not close else GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise OSError(f"answered {head!r}")
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        return close or b"\r\nconnection: close\r\n" in head

    def wait_for_more(self, number: int = 20) -> None:
        """Until each kind of client has got so many more answers, or a failure is there to be seen."""
        before = dict(self.answered)
        wanted = {kind: before[kind] + number for kind in set(self._kinds)}
        deadline = time.monotonic() + PATIENCE
        while any(self.answered[kind] < most for kind, most in wanted.items()):
            assert time.monotonic() < deadline, f"{before} → {self.answered}, {self.failures[:5]}"
            self._over.wait(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(PATIENCE)


def wait_until(question: Callable[[], bool], told: Callable[[], object] = str) -> None:
    """Until the world is so; fails with what `told` says when it does not come to that."""
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline, told()
        time.sleep(0.01)


def stop_process(pid: int) -> None:
    """SIGSTOP, and wait until it holds."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def queued(port: int, table: str = "tcp") -> dict[int, int]:
    """Connections in the accept queue of each listener on the port, by inode (proc_net_tcp: rx_queue)."""
    rows = [row.split() for row in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]]
    return {
        int(row[9]): int(row[4].partition(":")[2], 16)
        for row in rows
        if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port
    }


def lives(process: psutil.Process) -> bool:
    """It has not even exited."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def settled(server: Launched, workers: int) -> None:
    """Until so many workers are left and no other process of theirs: every predecessor has gone."""

    def number() -> int:
        return sum(lives(child) for child in server.children())

    wait_until(lambda: number() == workers, lambda: server.output)
