"""A client can cost only its own connection: each kind of bad one from outside, and others are answered."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.admin.asking import Control, admin_port
from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.clients import client
from tests.whole.lines import GET, Load, wait_until

SHORT = (
    *("--arrival-timeout", "1s", "--head-timeout", "1s", "--body-timeout", "1s", "--write-timeout", "1s"),
    *("--limit-request-head", "8K", "--limit-request-fields", "50"),
)
EACH = 12
"""Bad clients of a kind."""
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
LARGE = b"GET /bytes?n=50000000 HTTP/1.1\r\nHost: x\r\n\r\n"

parsers = pytest.mark.parametrize("http", ["httptools", "h11"])


def status(server: Launched) -> dict[str, Any]:
    """What it tells of itself."""
    return Control(server).status()


def turned_away(server: Launched) -> dict[str, int]:
    """By reason, without what is 0."""
    found: dict[str, int] = {}
    for slot in status(server)["slots"]:
        for reason, number in slot["turned_away"].items():
            found[reason] = found.get(reason, 0) + number
    return {reason: number for reason, number in found.items() if number}


def connected(port: int) -> socket.socket:
    bad = socket.socket()
    bad.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    bad.settimeout(PATIENCE)
    bad.connect(("127.0.0.1", port))
    return bad


def all_of(bad: socket.socket) -> bytes:
    """What it is answered until it is closed, orderly or not."""
    answered = b""
    with contextlib.suppress(ConnectionResetError):
        while more := bad.recv(1 << 16):
            answered = (answered + more)[:200]
    return answered


@contextlib.contextmanager
def some(port: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connected(port)) for _ in range(EACH)]


def says(data: bytes) -> Callable[[socket.socket], None]:
    def say(bad: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            bad.sendall(data)

    return say


KINDS: dict[str, tuple[Callable[[socket.socket], None], str | None, bytes]] = {
    "silent": (says(b""), "silent", b""),
    "slow head": (says(GET[:-3]), "slow_head", b"HTTP/1.1 408 "),
    "slow body": (says(POST + b"x"), "slow_body", b"HTTP/1.1 408 "),
    "never reads": (says(LARGE), "not_reading", b"HTTP/1.1 200 "),
    "many headers": (says(GET[:-2] + b"A: b\r\n" * 51 + b"\r\n"), "head_too_large", b"HTTP/1.1 431 "),
    "huge header": (says(GET[:-2] + b"A: " + b"b" * 20_000), "head_too_large", b"HTTP/1.1 431 "),
    "garbage": (says(b"\x16\x03\x01\x02\x00" * 1000), None, b"HTTP/1.1 400 "),
}
"""What a client does, why it is turned away, and what it is answered."""


@pytest.mark.parametrize(
    ("http", "kind"),
    # h11 has no limit to the number of headers, only to their size.
    [
        (http, kind)
        for http in ("httptools", "h11")
        for kind in KINDS
        if (http, kind) != ("h11", "many headers")
    ],
)
def test_whoever_it_is_others_are_answered_and_it_is_turned_away(
    launch: Launch, http: str, kind: str
) -> None:
    act, reason, answer = KINDS[kind]
    server = launch("takes:app", "--workers", "2", "--http", http, *SHORT).ready(2)
    with Load(server.port) as others, some(server.port) as bad:
        for one in bad:
            act(one)
        if reason is not None:
            wait_until(lambda: turned_away(server) == {reason: EACH}, lambda: str(turned_away(server)))
        assert [all_of(one)[: len(answer)] for one in bad] == [answer] * EACH
        others.wait_for_more()
        assert others.failures == []
    wait_until(lambda: not sum(slot["connections"] for slot in status(server)["slots"]))
    assert server.stop() == 0
    assert "Traceback" not in server.output


def reset(bad: socket.socket) -> None:
    bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    bad.close()


def half_close(bad: socket.socket) -> None:
    bad.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("end", [reset, half_close])
@parsers
def test_an_end_at_any_point_is_its_own(
    launch: Launch, http: str, end: Callable[[socket.socket], None]
) -> None:
    server = launch("takes:app", "--workers", "2", "--http", http, *SHORT).ready(2)
    points = [
        *(POST[:length] for length in range(len(POST) + 1)),
        POST + b"x" * 99,
        GET,
        GET + GET[:9],
        LARGE,
    ]
    with Load(server.port) as others:
        with contextlib.ExitStack() as stack:
            for point in points:
                bad = stack.enter_context(connected(server.port))
                bad.sendall(point)
                with contextlib.suppress(OSError):  # it was answered and closed
                    end(bad)
            others.wait_for_more()
        assert others.failures == []
    wait_until(lambda: not sum(slot["connections"] for slot in status(server)["slots"]))
    assert server.stop() == 0
    assert "Traceback" not in server.output


IDLE = 5000
"""Connections, half of them with half a head."""


def test_thousands_of_idle_connections_cost_the_others_nothing(launch: Launch) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < IDLE + 500:
        pytest.fail(f"raise ulimit -n above {IDLE + 500}")
    server = launch("plain:app", "--workers", "2", "--backlog", "8192", *SHORT[4:]).ready(2)
    with contextlib.ExitStack() as stack, Load(server.port) as others:
        for number in range(IDLE):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE))
            if number % 2:
                idle.sendall(GET[:20])
        wait_until(lambda: sum(slot["connections"] for slot in status(server)["slots"]) >= IDLE)
        others.wait_for_more(200)
        assert others.failures == []
    assert server.stop() == 0


def test_figures_are_in_the_metrics(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--admin", "127.0.0.1:0", *SHORT).ready(1)
    with connected(server.port) as bad:
        bad.sendall(b"G")
        assert all_of(bad).startswith(b"HTTP/1.1 408 ")
    with client() as asking:
        text = asking.get(f"http://127.0.0.1:{admin_port(server)}/metrics").text
    assert 'reuseport_turned_away_total{reason="slow_head"} 1.0' in text
    assert status(server)["slots"][0]["responses"]["4xx"] == 1
    assert server.stop() == 0
