"""HAProxy's agent-check: what is said, to whoever comes, however they come."""

from __future__ import annotations

import re
import signal
import socket
import struct

import pytest

from reuseport.admin.agent import answer
from reuseport.instance import Readiness
from tests.conftest import PATIENCE, Launch, Launched


def now(state: str, ready: int, workers: int = 4, *, ever_ready: bool = True) -> Readiness:
    return {"state": state, "ready": ready, "workers": workers, "ever_ready": ever_ready}


@pytest.mark.parametrize(
    ("readiness", "line"),
    [
        (now("starting", 0, ever_ready=False), "down #starting"),
        (now("starting", 1), "up ready 25%"),
        (now("serving", 4), "up ready 100%"),
        (now("reloading", 4), "up ready 100%"),
        (now("serving", 1, 300), "up ready 1%"),
        (now("serving", 0), "down #too few workers"),
        (now("stopping", 4), "up drain"),
        (now("stopping", 0), "up drain"),
    ],
)
def test_the_line(readiness: Readiness, line: str) -> None:
    assert answer(readiness, 1) == line


def test_too_few_are_none() -> None:
    assert answer(now("serving", 1), 2) == "down #too few workers"


def place(server: Launched) -> tuple[str, int]:
    found = server.wait_for_first(r"agent-check at ([\d.]+):(\d+)")
    return found[1], int(found[2])


def asked(address: tuple[str, int]) -> str:
    with socket.create_connection(address, PATIENCE) as asking:
        return asking.makefile().read()


def test_it_answers_and_says_when_we_stop(launch: Launch) -> None:
    server = launch(
        *("plain:app", "--workers", "2", "--agent-check", "127.0.0.1:0", "--shutdown-delay", "2s")
    ).ready(2)
    address = place(server)
    assert asked(address) == "up ready 100%\n"
    server.signal(signal.SIGTERM)
    server.wait_for("stopping in 2 s")
    assert asked(address) == "up drain\n"
    assert server.wait() == 0


def test_visitors_who_do_not_behave_cost_nobody(launch: Launch) -> None:
    """They send and do not read, reset, or stay for ever: everybody else is answered."""
    server = launch("plain:app", "--agent-check", "127.0.0.1:0").ready(1)
    address = place(server)
    staying = [socket.create_connection(address, PATIENCE) for _ in range(200)]
    for visitor in staying[:50]:
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.close()
    with socket.create_connection(address, PATIENCE) as talking:
        talking.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        assert talking.recv(64) == b"up ready 100%\n"
    assert asked(address) == "up ready 100%\n"
    for visitor in staying:
        visitor.close()
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["unix:agent", "fd://3", "9000"])
def test_what_is_no_place_for_it(name: str, launch: Launch) -> None:
    server = launch("plain:app", "--agent-check", name)
    assert server.wait() == 2
    assert re.search("Error: .*(write HOST:PORT|is not an address)", server.output)
