"""Handoff when somebody dies in the middle: who sends, who receives, who watches over both."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Launch, Launched, survivors
from tests.whole.lines import GET, Line, Lines, stop_process, wait_until

HUP = signal.SIGHUP


HASH = ("--balance", "hash")
"""Steering would give a worker that has something to do nothing more."""


def begin_drain(server: Launched) -> None:
    """Reload; return once the predecessor in slot 0 drains."""
    server.signal(HUP)
    server.wait_for("slot 0 is ready .* reason: reload")
    # The first of this server: the launcher's lines may come later than a worker's.
    server.wait_for_first("slot 0: Shutting down")


def test_a_predecessor_killed_while_it_drains_takes_only_what_it_held(launch: Launch, tmp_path: Path) -> None:
    server = launch("diary:app", *HASH, "--workers", "1").ready(1)
    old = server.workers()[0]
    with Lines() as lines:
        held, *idle = lines.open(server.port, 6)
        for line in idle:
            line.ask()
        held.send(GET.replace(b"/", f"/hold?until={tmp_path / 'never'}".encode(), 1))
        server.wait_for("/hold begins")
        begin_drain(server)
        wait_until(lambda: {line.ask().who["generation"] for line in idle} == {"2"})
        os.kill(old, signal.SIGKILL)
        assert held.ends()
        server.wait_for(rf"pid {old}\)")
        assert {line.ask().who["generation"] for line in idle} == {"2"}
        assert server.count("reason: crash") == 0
    assert server.stop() == 0


def leave_connections_in_the_inbox(
    server: Launched, lines: Lines, release: Path, number: int = 5
) -> tuple[list[Line], int]:
    """So many connections that wait for a stopped successor in slot 0, a request on each; and its pid."""
    waiting: list[Line] = []
    while len(waiting) < number:
        line = lines.enter_context(Line(server.port))
        if line.ask().who["slot"] == "0":
            line.send(GET.replace(b"/", f"/hold?until={release}".encode(), 1))
            server.wait_for("/hold begins in slot 0")
            waiting.append(line)
    old = server.workers()[0]
    begin_drain(server)
    successor = server.workers()[0]
    stop_process(successor)
    release.touch()
    assert {line.answer().who["pid"] for line in waiting} == {old}
    server.wait_for(rf"\(pid {old}\) exited cleanly")
    for line in waiting:
        line.send(GET)
    return waiting, successor


@pytest.mark.parametrize("workers", [1, 2])
def test_what_waits_in_the_inbox_of_a_killed_successor_is_taken_up_by_the_next(
    launch: Launch, workers: int, tmp_path: Path
) -> None:
    server = launch("diary:app", *HASH, "--workers", str(workers)).ready(workers)
    with Lines() as lines:
        waiting, successor = leave_connections_in_the_inbox(server, lines, tmp_path / "release")
        os.kill(successor, signal.SIGKILL)
        assert successor not in {line.answer().who["pid"] for line in waiting}
        server.wait_for("slot 0 is ready .* reason: crash")
        for line in waiting:
            assert line.ask().status == 200
    assert server.stop() == 0


def test_what_waits_in_an_inbox_at_a_stop_is_answered(launch: Launch, tmp_path: Path) -> None:
    server = launch("diary:app", *HASH, "--workers", "1").ready(1)
    with Lines() as lines:
        # More than are taken up before the event loop turns, and with it comes the order to drain.
        waiting, successor = leave_connections_in_the_inbox(server, lines, tmp_path / "release", 100)
        server.signal(signal.SIGTERM)
        server.wait_for("stopping")
        os.kill(successor, signal.SIGCONT)
        for line in waiting:
            assert line.answer().who["pid"] == successor
            assert line.ends()
    assert server.wait() == 0


def test_a_launcher_killed_during_a_drain_costs_no_request(launch: Launch, tmp_path: Path) -> None:
    server = launch("diary:app", *HASH, "--workers", "1").ready(1)
    release = tmp_path / "release"
    with Lines() as lines:
        line, idle = lines.open(server.port, 2)
        line.send(GET.replace(b"/", f"/hold?until={release}".encode(), 1))
        server.wait_for("/hold begins")
        idle.ask()
        begin_drain(server)
        wait_until(lambda: idle.ask().who["generation"] == "2")
        server.popen.kill()
        wait_until(lambda: server.count("the launcher is gone") == 2)
        assert idle.ends()
        server.wait_for("lifespan shutdown in slot 0")  # the successor's: now nobody reads the inbox
        release.touch()
        assert line.answer().who["generation"] == "1"
        assert line.ask().headers["connection"] == "close"
        assert line.ends()
    assert server.wait() == -signal.SIGKILL
    wait_until(lambda: not survivors(server.pid))
    assert "Traceback" not in server.output
