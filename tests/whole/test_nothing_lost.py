"""Reload, recycle, scale, crash and stop under load: who is connected stays so, who is queued is answered."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import Launch, Launched
from tests.whole.lines import EXITED, GET, Lines, Load, queued, settled, stop_process
from tests.whole.traffic import listeners, wait_for_lines

HUP, UP, DOWN = signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU


@pytest.mark.parametrize(
    ("workers", "loop", "balance"),
    [
        (1, "asyncio", "hash"),
        (1, "uvloop", "auto"),
        (2, "uvloop", "hash"),
        (2, "uvloop", "auto"),
        (2, "asyncio", "auto"),
    ],
)
def test_reloads_under_load(launch: Launch, workers: int, loop: str, balance: str) -> None:
    flags = ("--workers", str(workers), "--loop", loop, "--balance", balance, "--no-access-log")
    server = launch("plain:app", *flags).ready(workers)
    with Load(server.port) as load:
        load.wait_for_more()
        for generation in (2, 3):
            server.signal(HUP)
            server.wait_for(f"generation {generation} serves in every slot")
            wait_for_lines(server, EXITED, (generation - 1) * workers)
            load.wait_for_more()
    assert (load.failures, load.announced) == ([], 0)
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("balance", ["auto", "hash"])
def test_recycles_under_load(launch: Launch, balance: str) -> None:
    limit = ["--limit-max-requests", "300", "--balance", balance]
    server = launch("plain:app", "--workers", "2", "--no-access-log", *limit).ready(2)
    with Load(server.port) as load:
        for slot in (0, 1):
            wait_for_lines(server, rf"slot {slot} is ready .* reason: max_requests", 2)
        load.wait_for_more()
    assert (load.failures, load.announced) == ([], 0)
    assert server.stop() == 0


@pytest.mark.parametrize("balance", ["auto", "hash"])
def test_scale_up_and_down_under_load(launch: Launch, balance: str) -> None:
    server = launch("plain:app", "--workers", "1", "--no-access-log", "--balance", balance).ready(1)
    with Load(server.port) as load:
        for slot in (1, 2, 3):
            server.signal(UP)
            server.wait_for(f"slot {slot} is ready .* reason: scale")
        load.wait_for_more()
        for slot in (3, 2, 1):
            server.signal(DOWN)
            server.wait_for(rf"worker in slot {slot} \(pid \d+\) exited cleanly")
        load.wait_for_more()
        # The listeners of the slots that are gone stand, and somebody accepts from them.
        assert len(listeners(server.port)) == 4
        load.wait_for_more(40)
        server.signal(UP)
        server.wait_for("slot 1 is ready .* reason: scale")
        load.wait_for_more()
    assert (load.failures, load.announced) == ([], 0)
    assert server.stop() == 0


def fill_queues(server: Launched, lines: Lines, number: int) -> None:
    """Connect, and ask, until every accept queue on the port holds so many."""

    def fullest() -> int:
        return min(queued(server.port).values())

    while fullest() < number:
        assert len(lines.opened) < 5000
        for line in lines.open(server.port, 10):
            line.send(GET)


def test_the_queue_of_a_killed_worker_is_answered_by_its_sibling(launch: Launch) -> None:
    slow = {"TEST_STARTUP_SECONDS": "3"}
    flags = ("--no-access-log", "--balance", "hash", "--no-stealing")
    server = launch("plain:app", "--workers", "2", *flags, env=slow).ready(2)
    stopped, sibling = server.workers()[1], server.workers()[0]
    # The launcher, too: like a sibling that may steal, it would see at once that somebody waits in vain.
    stop_process(server.pid)
    stop_process(stopped)
    with Lines() as lines:
        while max(queued(server.port).values()) < 100:
            assert len(lines.opened) < 5000
            lines.open(server.port, 50)
        os.kill(stopped, signal.SIGKILL)
        server.signal(signal.SIGCONT)
        for line in lines.opened:
            line.send(GET)
        assert {line.answer().who["pid"] for line in lines.opened} == {sibling}
        assert server.count("reason: crash") == 0  # long before the replacement was ready
    assert server.stop() == 0


def test_queued_connections_are_answered_before_the_stop_closes_the_listeners(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--balance", "hash").ready(2)
    server.signal(DOWN)
    server.wait_for(r"worker in slot 1 \(pid \d+\) exited cleanly")
    # Its own listener, and the one it fosters.
    worker = server.workers()[0]
    stop_process(worker)
    with Lines() as lines:
        fill_queues(server, lines, 10)
        opened = list(lines.opened)
        server.signal(signal.SIGTERM)
        server.wait_for("stopping")
        os.kill(worker, signal.SIGCONT)
        answers = [line.answer() for line in opened]
        assert {answer.who["pid"] for answer in answers} == {worker}
        assert all(line.ends() for line in opened)
    assert server.wait() == 0


def test_the_queue_of_a_single_worker_waits_for_its_replacement(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    killed = server.workers()[0]
    stop_process(killed)
    with Lines() as lines:
        fill_queues(server, lines, 20)
        os.kill(killed, signal.SIGKILL)
        assert killed not in {line.answer().who["pid"] for line in lines.opened}
    settled(server, 1)
    assert server.stop() == 0
