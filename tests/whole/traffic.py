"""Clients for the tests of the whole: one request, a request held open, and a load of new connections."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import pytest

from tests.conftest import PATIENCE, Launched


def ask(port: int, path: str = "/", context: ssl.SSLContext | None = None) -> str:
    """The body of one response, over a connection of its own. Raises OSError, HTTPException."""
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


class Held:
    """A request to `patient` that is in flight from the constructor's return until `release`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._socket.makefile("rb")
        self._socket.sendall(
            b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
        )
        while not (line := self._file.readline()).startswith(b"{"):
            assert line, "closed before the first line of the body"
        self.who: dict[str, str] = json.loads(line)

    def release(self) -> str:
        """Complete the request; what came after the first line of its body."""
        self._socket.sendall(b"x")
        return self._file.read().decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()


def hold_in_slot(port: int, slot: int) -> Held:
    """A held request that the kernel gave to this slot: connections are made until one is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        held = Held(port)
        if held.who["slot"] == str(slot):
            return held
        with held:
            held.release()
    pytest.fail(f"no connection came to slot {slot}")


class Traffic:
    """Clients that ask again and again, each time over a new connection, and note every failure."""

    def __init__(self, port: int, clients: int = 2) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failures: Counter[str] = Counter()
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self.answers.append(json.loads(ask(self._port)))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures[repr(error)] += 1

    def wait_until(self, question: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Until the answers so far are as wanted; fails when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not question(list(self.answers)):
            assert time.monotonic() < deadline, f"{len(self.answers)} answers, {self.failures}"
            self._over.wait(0.01)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def wait_for_lines(server: Launched, pattern: str, number: int) -> None:
    """Until so many lines match, in whatever order among others: processes end when they like."""
    deadline = time.monotonic() + PATIENCE
    while server.count(pattern) < number:
        assert time.monotonic() < deadline, f"fewer than {number} of {pattern!r} in:\n{server.output}"
        time.sleep(0.01)


def fewest_ready(server: Launched) -> int:
    """The smallest number of workers that accepted at once, by the log, after all had become ready.

    The launcher says that a successor is ready before it tells the predecessor to drain, and that one says
    "Shutting down" afterwards: the order of their times is the order of events. That of the lines is not: the
    launcher's are written by a thread of its own.
    """
    ready, fewest, begun = 0, 1000, False
    moments = [line for line in list(server.lines) if line.startswith("20")]
    for line in sorted(moments, key=lambda line: (line[:23], line.endswith("Shutting down"))):
        if "is ready (generation" in line:
            ready += 1
        elif line.endswith("Shutting down"):
            ready -= 1
        begun = begun or "workers are ready" in line
        if begun:
            fewest = min(fewest, ready)
    return fewest


def listeners(port: int) -> set[int]:
    """Inodes of the IPv4 sockets that listen on the port (proc_net_tcp: state 0A, the tenth field)."""
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123 - a kernel file
        rows = [line.split() for line in table][1:]
    return {int(row[9]) for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}
