"""Abuse at both doors never delays supervision, locks nobody else out, and fills neither memory nor log.

Each kind of abuse is kept up while other visitors ask, a worker is killed, and a reload runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.admin.visits import TOKEN, Served, Visit, request, serve
from tests.conftest import PATIENCE, Launch, launching
from tests.whole.lines import wait_until

CHUNKED = {"Transfer-Encoding": "chunked"}
MOST_DESCRIPTORS = 2 * 128 + 60
"""Of the launcher: its own, and as many visitors as two doors take in."""
MOST_GROWTH = 64 * 1024 * 1024
MOST_LINES = 20
"""That any kind of abuse may leave in the log, beside what the reload and the killed worker do."""
PATIENT = 10.0
"""Seconds: what the launcher allows for a silent visitor."""

Attack = Callable[[Served, threading.Event], None]


def attackers(number: int, attack: Attack) -> Attack:
    """So many at a time, each again and again."""

    def attack_together(served: Served, over: threading.Event) -> None:
        def attacker() -> None:
            while not over.is_set():
                # To be cut off is what it deserves.
                with contextlib.suppress(OSError, EOFError):
                    attack(served, over)

        threads = [threading.Thread(target=attacker, daemon=True) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return attack_together


def sending(*pieces: bytes, pause: float = 0.0, reads: bool = True, times: int = 1) -> Attack:
    """Sends the pieces one after the other, and reads or does not read what comes."""

    def attack(served: Served, over: threading.Event) -> None:
        with Visit(served.admin, patience=1.0) as visit:
            for piece in pieces * times:
                visit.send(piece)
                if over.wait(pause):
                    return
            if not reads:
                over.wait(PATIENT)
            while not over.is_set() and visit.socket.recv(65536):
                pass

    return attack


def holding(number: int, data: bytes = b"") -> Attack:
    """So many connections at once, held while nobody closes them."""

    def attack(served: Served, over: threading.Event) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(number):
                visit = stack.enter_context(Visit(served.admin))
                with contextlib.suppress(ConnectionError):
                    visit.send(data)
            over.wait(1.0)

    return attack


def one_after_the_other(*requests: bytes) -> Attack:
    """Each on a connection of its own."""

    def attack(served: Served, over: threading.Event) -> None:
        for data in requests:
            sending(data)(served, over)

    return attack


def unread(path: str) -> Attack:
    """Asks for more than any buffer holds, and reads nothing."""

    def attack(served: Served, over: threading.Event) -> None:
        with Visit(served.admin, patience=1.0) as visit:
            visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(TimeoutError):
                for _ in range(5000):
                    visit.send(request(path))
            over.wait(PATIENT)

    return attack


GET = request("/livez")
TINY_CHUNKS = b"1\r\na\r\n" * 40_000
ENDLESS = request("/livez", headers=CHUNKED) + TINY_CHUNKS
MANY_HEADERS = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"a:b\r\n" * 100_000 + b"\r\n"
SCALE = request("/api/v1/scale", "POST", {"Authorization": f"Bearer {TOKEN}", **CHUNKED})
SMUGGLED = request("/api/v1/reload", "POST", {"Content-Length": "6", **CHUNKED}) + b"0\r\n\r\nX" + GET
UPGRADE = request(
    "/api/v1/stream",
    headers={
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    },
)
MALFORMED = (
    b"\x00\xff\x16\x03\x01\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n",  # without a Host
    b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    request("/livez", headers=CHUNKED) + b"zz\r\n",  # after the answer
    SCALE + b"zz\r\n",  # before the answer
)

ATTACKS: dict[str, tuple[Attack, ...]] = {
    "slow": (
        attackers(40, sending(*(GET[i : i + 1] for i in range(len(GET))), pause=0.2)),
        attackers(40, sending(SCALE, *[b"1\r\n \r\n"] * 50, pause=0.2)),
    ),
    "huge": (
        attackers(3, sending(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 4_000_000)),
        attackers(3, sending(MANY_HEADERS)),
        attackers(3, sending(request("/api/v1/scale", "POST", body=b" " * 4_000_000))),
    ),
    "endless": (
        attackers(4, sending(ENDLESS, *[TINY_CHUNKS] * 20)),
        attackers(4, sending(request("/api/v1/stream", headers=CHUNKED), *[TINY_CHUNKS] * 20)),
    ),
    "pipelining": (
        attackers(4, sending(GET * 3000)),
        attackers(4, sending(request("/api/v1/events") * 300)),
    ),
    "five hundred at once": (attackers(1, holding(500)), attackers(1, holding(500, GET[:-2]))),
    "answers not read": (
        attackers(20, unread("/api/v1/status")),
        attackers(20, unread("/api/v1/stream?after=0")),
    ),
    "malformed": (attackers(6, one_after_the_other(*MALFORMED, SMUGGLED)),),
    "turned away": (
        attackers(3, sending(UPGRADE * 20, reads=False)),
        attackers(5, sending(request("/api/v1/stop", "POST", {"Authorization": "Bearer x"}) * 500)),
    ),
}


@contextlib.contextmanager
def under(attacks: tuple[Attack, ...], served: Served) -> Iterator[None]:
    """Keep them up until the end of the block."""
    over = threading.Event()
    threads = [threading.Thread(target=attack, args=(served, over), daemon=True) for attack in attacks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Course:
    """How supervision went: seconds and lines of the log."""

    reload: float
    replacement: float
    slowest: float
    lines: int

    def __str__(self) -> str:
        return (
            f"reload {self.reload:.2f} s, replacement {self.replacement:.2f} s, "
            f"slowest visitor {self.slowest:.3f} s, {self.lines} lines"
        )


def supervised(served: Served) -> Course:
    """A reload and a worker's violent death, with other visitors and a client of the worker all the while."""
    server = served.server
    before = len(server.lines)
    slowest = visited(served)
    begun = time.monotonic()
    generation = served.post("/reload").json["generation"]
    server.wait_for(f"generation {generation} serves in every slot")
    reload = time.monotonic() - begun
    wait_until(lambda: len(server.workers()) == 1 and served.status()["slots"][0]["predecessors"] == [])
    slowest = max(slowest, visited(served))
    begun = time.monotonic()
    os.kill(served.status()["slots"][0]["pid"], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready .*reason: crash")
    replacement = time.monotonic() - begun
    slowest = max(slowest, visited(served))
    return Course(reload, replacement, slowest, len(server.lines) - before)


def visited(served: Served) -> float:
    """Ask at each door, and a worker; the longest wait."""
    waits = []
    for place in (served.admin, served.control):
        begun = time.monotonic()
        assert served.ask("/livez", place=place).status == 200
        assert served.ask("/api/v1/status", place=place).json["pid"] == served.server.pid
        waits.append(time.monotonic() - begun)
    assert httpx.get(served.server.url, timeout=PATIENCE).status_code == 200
    return max(waits)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """How supervision goes while nobody abuses anything."""
    directory = tmp_path_factory.mktemp("quiet")
    with launching(directory) as launch:
        return supervised(serve(launch, directory, "--no-access-log", workers=1))


@pytest.mark.parametrize("name", ATTACKS)
def test_abuse(launch: Launch, tmp_path: Path, quiet: Course, name: str) -> None:
    # A server each: the second loss of a worker is followed by a pause, the third by a longer one.
    served = serve(launch, tmp_path, "--no-access-log", workers=1)
    visited(served)
    launcher = psutil.Process(served.server.pid)
    memory, lines = launcher.memory_info().rss, len(served.server.lines)
    with under(ATTACKS[name], served):
        course = supervised(served)
        descriptors = launcher.num_fds()
        grown = launcher.memory_info().rss - memory
    told = f"{name}: {course}; {descriptors} descriptors, {grown / 1e6:+.1f} MB; alone: {quiet}"
    sys.stdout.write(told)
    assert course.reload < 5 * quiet.reload + 3, told
    assert course.replacement < 5 * quiet.replacement + 3, told
    assert descriptors < MOST_DESCRIPTORS, told
    assert grown < MOST_GROWTH, told
    # Not all of the output: this fails where there is too much of it.
    lines_now = served.server.lines[lines:]
    assert len(lines_now) < quiet.lines + MOST_LINES, lines_now[:40]
    assert not [line for line in lines_now if "Traceback" in line], lines_now[:40]
