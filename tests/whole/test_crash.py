"""A worker that dies is noticed at once, explained in words, and replaced; the others go on answering."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import PATIENCE, Launch, Launched, zombies


def connection_to(server: Launched, slot: int) -> http.client.HTTPConnection:
    """A keep-alive connection to this slot: the kernel chooses, so connect until it is the one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("GET", "/")
        if json.load(connection.getresponse())["slot"] == str(slot):
            return connection
        connection.close()
    pytest.fail(f"slot {slot} was never chosen")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, r"was killed by SIGKILL"),
        (signal.SIGSEGV, r"crashed with SIGSEGV: an invalid memory access"),
    ],
)
def test_signal_is_explained_and_slot_served_again(
    launch: Launch, number: signal.Signals, words: str
) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    before = server.workers()
    os.kill(before[1], number)
    server.wait_for(rf"ERROR .*worker in slot 1 \(pid {before[1]}\) {words}")
    server.wait_for(r"slot 1 is ready \(generation 1, .*reason: crash\)")
    now = server.workers()
    assert now[0] == before[0]
    assert now[1] != before[1]
    assert zombies(server.pid) == []
    connection = connection_to(server, 1)
    connection.request("GET", "/")
    assert json.load(connection.getresponse())["pid"] == now[1]
    connection.close()
    assert server.stop() == 0


def test_exit_of_the_application_is_explained(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    before = server.workers()
    connection = connection_to(server, 0)
    connection.request("GET", "/die")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        connection.getresponse()
    connection.close()
    server.wait_for(rf"worker in slot 0 \(pid {before[0]}\) exited with status 7")
    server.wait_for(r"slot 0 is ready .*reason: crash")
    assert server.workers()[1] == before[1]
    assert server.stop() == 0


def test_crash_loop_backs_off_while_the_others_answer(launch: Launch, tmp_path: Path) -> None:
    fragile = tmp_path / "fragile"
    fragile.touch()
    server = launch("fragile:app", "--workers", "2", env={"TEST_FRAGILE": str(fragile)})
    server.wait_for(r"slot 0 is ready")
    steady = server.workers()[0]
    connection = connection_to_the_steady(server)
    pauses = []
    for _ in range(3):
        server.wait_for(r"worker in slot 1 \(pid \d+\) exited with status 9")
        pauses.append(float(server.wait_for(r"slot 1 is tried again in ([\d.]+) s")[1]))
        connection.request("GET", "/")
        assert json.load(connection.getresponse())["pid"] == steady
    # 0.5 s, doubled each time, less up to half of it for jitter; printed with one digit.
    assert all(
        most / 2 - 0.05 <= pause <= most + 0.05 for pause, most in zip(pauses, (0.5, 1, 2), strict=True)
    )
    assert zombies(server.pid) == []
    fragile.unlink()
    server.wait_for(r"slot 1 is ready")
    assert server.workers()[0] == steady
    connection.close()
    assert server.stop() == 0


def connection_to_the_steady(server: Launched) -> http.client.HTTPConnection:
    """As `connection_to` slot 0, while slot 1 dies all the time and takes its clients with it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.5)
        try:
            connection.request("GET", "/")
            if json.load(connection.getresponse())["slot"] == "0":
                return connection
        except (TimeoutError, ConnectionError, http.client.HTTPException):
            pass
        connection.close()
    pytest.fail("slot 0 was never chosen")


def test_worker_sent_sigterm_drains_and_is_replaced_at_once(launch: Launch, tmp_path: Path) -> None:
    release = tmp_path / "release"
    server = launch("diary:app", "--workers", "2").ready(2)
    before = server.workers()
    connection = connection_to(server, 1)
    connection.request("GET", f"/hold?until={release}")
    server.wait_for(r"/hold begins in slot 1")
    os.kill(before[1], signal.SIGTERM)
    server.wait_for(r"worker in slot 1 .*was sent SIGTERM")
    # Ready although the predecessor still holds the request: the replacement waited for nobody.
    server.wait_for(r"slot 1 is ready \(generation 1, ")
    assert server.workers()[0] == before[0]
    assert psutil.pid_exists(before[1])
    release.touch()
    assert json.load(connection.getresponse())["pid"] == before[1]
    connection.close()
    server.wait_for(rf"worker in slot 1 \(pid {before[1]}\) exited cleanly")
    assert server.count(r"tried again in") == 0
    assert server.stop() == 0


def test_worker_sent_sigterm_twice_drains_at_once(launch: Launch, tmp_path: Path) -> None:
    """One SIGTERM asks to be replaced, and waits; the second does not wait."""
    server = launch("diary:app", "--workers", "2").ready(2)
    before = server.workers()
    os.kill(before[1], signal.SIGTERM)
    server.wait_for(r"worker in slot 1 will be recycled: it was sent SIGTERM")
    os.kill(before[1], signal.SIGTERM)
    # Whichever is first: who drains has a moment to do, and its successor is as quick.
    server.wait_for_first(rf"worker in slot 1 \(pid {before[1]}\) exited cleanly")
    server.wait_for_first(r"slot 1 is ready \(generation 1, .* reason: terminated")
    assert server.workers()[0] == before[0]
    assert server.stop() == 0
