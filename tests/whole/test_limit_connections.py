"""--limit-connections: a worker accepts no more than it may have; who is beyond waits, and is not refused."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import pytest

from tests.admin.asking import Control
from tests.conftest import Launch
from tests.whole.lines import GET, Line, Load, wait_until

EACH = 5
"""Connections of a worker."""
WORKERS = 2
CLIENTS = 40


def connections(control: Control) -> list[int]:
    return [slot["connections"] for slot in control.status()["slots"]]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_who_is_beyond_waits_and_comes_in_when_somebody_leaves(launch: Launch, loop: str) -> None:
    flags = ("--workers", str(WORKERS), "--limit-connections", str(EACH), "--loop", loop)
    server = launch("plain:app", *flags, "--timeout-keep-alive", "60").ready(WORKERS)
    control = Control(server)
    with ExitStack() as stack:
        lines = [stack.enter_context(Line(server.port)) for _ in range(CLIENTS)]
        for line in lines:
            line.send(GET)
        wait_until(lambda: connections(control) == [EACH] * WORKERS, lambda: str(connections(control)))
        for _ in range(10):
            assert connections(control) == [EACH] * WORKERS
            time.sleep(0.02)  # no event tells that nobody comes in
        # Whoever has its answer leaves; everybody is answered, and there are never more.
        answered: set[int] = set()
        while len(answered) < CLIENTS:
            for number, line in enumerate(lines):
                if number in answered:
                    continue
                line._socket.settimeout(0.05)
                try:
                    status = line.answer().status
                except TimeoutError:
                    line._file.close()
                    line._file = line._socket.makefile("rb")
                    continue
                assert status == 200
                answered.add(number)
                line._file.close()
                line._socket.close()
            assert max(connections(control)) <= EACH
    assert server.stop() == 0


def test_a_full_worker_is_passed_over_and_its_queue_taken_up(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--limit-connections", "12").ready(2)
    with ExitStack() as stack:
        # 24 there are in all, so each of these has a place somewhere, wherever the kernel puts it first.
        for _ in range(20):
            assert stack.enter_context(Line(server.port)).ask().status == 200
    assert server.stop() == 0


def test_reloads_and_a_stop_lose_nobody(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--limit-connections", "3").ready(2)
    with Load(server.port, 4, 4) as load:
        load.wait_for_more()
        for generation in (2, 3):
            server.signal(signal.SIGHUP)
            server.wait_for(f"generation {generation} serves in every slot")
            load.wait_for_more()
        assert (load.failures, load.announced) == ([], 0)
    with ExitStack() as stack:
        waiting = [stack.enter_context(Line(server.port)) for _ in range(12)]
        for line in waiting:
            line.send(GET)
        server.signal(signal.SIGTERM)
        for line in waiting:
            assert line.answer().status == 200
    assert server.wait() == 0


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_without_descriptors_they_wait_and_nobody_is_closed(launch: Launch, loop: str) -> None:
    # uvloop would accept and close them; asyncio would say so, with a traceback each time.
    wrapper = ["sh", "-ec", 'ulimit -n 64; exec "$@"', "sh"]
    server = launch("plain:app", "--workers", "1", "--loop", loop, wrapper=wrapper).ready(1)
    with ExitStack() as stack:
        lines = [stack.enter_context(Line(server.port)) for _ in range(100)]
        answered = 0
        while lines:
            # Whoever is answered leaves, in the order in which they came: the next one is let in.
            line = lines.pop(0)
            assert line.ask().status == 200
            line._file.close()
            line._socket.close()
            answered += 1
        assert answered == 100
    assert server.stop() == 0
    assert sum("ulimit -n" in line for line in server.lines) == 1
