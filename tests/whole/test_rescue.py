"""A worker that is blocked holds up nobody's kept connection: by itself, and while workers come and go."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Launch, Launched
from tests.whole.lines import EXITED, Answer, Lines, settled, wait_until
from tests.whole.posts import Posts
from tests.whole.traffic import wait_for_lines

pytestmark = pytest.mark.alone
KEPT = 16
PROMPT = 3.0
"""Seconds: thirty times what a quiet machine needs."""

both_loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


class Blocked:
    """Kept connections to both workers, one of which is blocked until `release`, or its end."""

    def __init__(self, server: Launched, lines: Lines, way: str, until: Path) -> None:
        self._until = until
        self.others = lines.open(server.port, KEPT)
        while len({line.ask().who["slot"] for line in self.others}) < 2:
            self.others += lines.open(server.port, 1)
        [self.blocker] = lines.open(server.port, 1)
        self.slot = int(self.blocker.ask().who["slot"])
        self.pid = server.workers()[self.slot]
        self.blocker.send(f"GET /{way}?ms=60000&until={until} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_until(until.with_suffix(".begun").exists)

    def ask(self) -> list[Answer]:
        """An answer on each of the others, asked all at once: by workers that are not blocked, so now."""
        began = time.monotonic()
        for line in self.others:
            line.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        answers = [line.answer() for line in self.others]
        assert time.monotonic() - began < PROMPT
        assert self.pid not in {answer.who["pid"] for answer in answers}
        return answers

    def release(self) -> int:
        """Of the request that blocked."""
        self._until.touch()
        return self.blocker.answer().status


@both_loops
@pytest.mark.parametrize("way", ["sleep", "spin"])
def test_kept_connections_are_answered_elsewhere(launch: Launch, tmp_path: Path, loop: str, way: str) -> None:
    server = launch("stubborn:app", "--workers", "2", "--loop", loop).ready(2)
    with Lines() as lines:
        blocked = Blocked(server, lines, way, tmp_path / "free")
        for _ in range(3):
            blocked.ask()
        # One that comes and asks later is accepted by a foster, and one that is accepted and asks later
        # is rescued like any other.
        [late] = lines.open(server.port, 1)
        assert late.ask().who["pid"] != blocked.pid
        assert blocked.release() == 200
        for line in (*blocked.others, blocked.blocker, late):
            assert line.ask().status == 200
    assert "Traceback" not in server.output
    assert server.stop() == 0


@both_loops
def test_who_is_told_that_it_ends_sees_the_end_at_once(launch: Launch, tmp_path: Path, loop: str) -> None:
    server = launch("stubborn:app", "--workers", "2", "--loop", loop).ready(2)
    with Lines() as lines:
        blocked = Blocked(server, lines, "sleep", tmp_path / "free")
        for line in blocked.others:
            line.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        for line in blocked.others:
            assert line.answer().who["pid"] != blocked.pid
            assert line.ends()  # although the blocked worker has not closed its duplicate
        assert blocked.release() == 200
    assert server.stop() == 0


def test_without_rescue_they_wait(launch: Launch, tmp_path: Path) -> None:
    server = launch("stubborn:app", "--workers", "2", "--no-rescue").ready(2)
    with Lines() as lines:
        blocked = Blocked(server, lines, "sleep", tmp_path / "free")
        mine = [line for line in blocked.others if line is not blocked.blocker]
        for line in mine:
            line.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert blocked.release() == 200
        assert blocked.pid in {line.answer().who["pid"] for line in mine}


def reload(server: Launched, blocked: Blocked) -> None:
    """The blocked worker is told to drain, and does not hear it."""
    server.signal(signal.SIGHUP)
    server.wait_for(rf"slot {blocked.slot} is ready \(generation 2")


def scale_down(server: Launched, blocked: Blocked) -> None:
    """Slot 2 goes: the blocked worker, or one that passes its connections to the blocked one, too."""
    server.signal(signal.SIGTTOU)
    server.wait_for("scaling from 3 to 2 workers")


def kill(server: Launched, blocked: Blocked) -> None:
    """What it had sent is not lost with it."""
    os.kill(blocked.pid, signal.SIGKILL)
    server.wait_for(rf"slot {blocked.slot} is ready .*reason: crash")


@pytest.mark.parametrize("way", ["sleep", "spin"])
@pytest.mark.parametrize("event", [reload, scale_down, kill])
def test_none_is_lost_whatever_happens_meanwhile(
    launch: Launch, tmp_path: Path, event: Callable[[Launched, Blocked], None], way: str
) -> None:
    server = launch("stubborn:app", "--workers", "3").ready(3)
    with Lines() as lines:
        blocked = Blocked(server, lines, way, tmp_path / "free")
        if event is kill:
            blocked.ask()  # an idle connection of a killed worker dies with it: all have left by now
        event(server, blocked)
        blocked.ask()
        blocked.ask()
        if event is not kill:
            assert blocked.release() == 200
        for line in blocked.others:
            assert line.ask().status == 200
    assert "Traceback" not in server.output
    assert server.stop() == 0


def test_one_worker_reads_its_own_connections(launch: Launch, tmp_path: Path) -> None:
    server = launch("stubborn:app", "--workers", "1").ready(1)
    with Lines() as lines:
        kept = lines.open(server.port, KEPT)
        for line in kept:
            assert line.ask().status == 200
        blocker = kept.pop()
        blocker.send(b"GET /sleep?ms=300 HTTP/1.1\r\nHost: test\r\n\r\n")
        for line in kept:
            line.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert {line.answer().status for line in (*kept, blocker)} == {200}
    assert server.stop() == 0


@both_loops
def test_bodies_stay_whole_under_random_blocks(launch: Launch, loop: str) -> None:
    server = launch("stubborn:app", "--workers", "3", "--loop", loop, "--no-access-log").ready(3)
    with Posts(server.port, clients=12, blocking=0.02, longest=150.0) as posts:
        posts.wait_for_more(1000)
        server.signal(signal.SIGHUP)
        wait_for_lines(server, EXITED, 3)
        posts.wait_for_more(500)
    assert (posts.wrong, posts.failures) == ([], [])
    assert len(posts.slots) == 3
    settled(server, 3)
    assert "Traceback" not in server.output
    assert server.stop() == 0
