"""A worker without a free descriptor: it obeys all the same, and closes nobody's connection unannounced."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from pathlib import Path

from tests.conftest import Launch, Launched
from tests.whole.lines import EXITED, Lines
from tests.whole.traffic import ask

KEPT = 13


def exhaust(pid: int) -> tuple[int, int]:
    """Let no descriptor be free in that process; returns the limits it had."""
    highest = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    free = next(number for number in range(highest + 2) if number not in taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    return limits


def keep(server: Launched, lines: Lines, slot: int) -> None:
    """KEPT connections that this slot serves, idle."""
    kept = 0
    while kept < KEPT:
        (line,) = lines.open(server.port, 1)
        kept += line.ask().who["slot"] == str(slot)


def test_a_reload_hands_over_what_it_has(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--graceful-timeout", "10s").ready(1)
    with Lines() as lines:
        keep(server, lines, 0)
        before = server.workers()[0]
        exhaust(before)
        server.signal(signal.SIGHUP)
        server.wait_for(EXITED)
        for line in lines.opened:
            who = line.ask().who
            assert who["generation"] == "2"
            assert who["pid"] != before
    assert server.stop() == 0


def test_another_one_fosters(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "3", "--bind", "127.0.0.1:0", *["--bind=127.0.0.1:0"] * 4)
    server.ready(3)
    workers = server.workers()
    limits = exhaust(workers[0])
    os.kill(workers[2], signal.SIGKILL)
    server.wait_for("slot 2 is fostered by slot 0")
    server.wait_for("slot 2 is fostered by slot 1")
    server.wait_for("slot 2 is ready")
    resource.prlimit(workers[0], resource.RLIMIT_NOFILE, limits)
    assert ask(server.port)
    assert server.workers()[0] == workers[0]
    assert server.stop() == 0


def test_who_waits_for_a_descriptor_neither_fills_the_log_nor_holds_others_up(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--loop", "asyncio", "--backlog", "500").ready(1)
    with Lines() as lines:
        keep(server, lines, 0)
        exhaust(server.workers()[0])
        with contextlib.ExitStack() as stack:
            for _ in range(KEPT):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            server.wait_for("out of system resource")
            for line in lines.opened:
                line.ask()
            assert server.count("out of system resource") < 100, "once a second, not 500 times"
    assert server.stop() == 0
