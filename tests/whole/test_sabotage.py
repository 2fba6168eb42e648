"""A worker that was taken over turns on the listener it serves: its slot is well again, all by itself."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from tests.conftest import Launch, Launched, survivors
from tests.whole.lines import Line, wait_until


def served_by(server: Launched, connections: int = 40) -> Counter[str]:
    """How many of so many fresh connections each slot had. All are answered."""
    found: Counter[str] = Counter()
    for _ in range(connections):
        with Line(server.port) as line:
            found[line.ask().who["slot"]] += 1
    return found


@pytest.mark.parametrize("balance", ["auto", "hash"])
@pytest.mark.parametrize("path", ["/shutdown", "/elsewhere"])
def test_a_listener_that_listens_no_more_is_opened_again(launch: Launch, balance: str, path: str) -> None:
    server = launch("saboteur:app", "--workers", "2", "--balance", balance).ready(2)
    with Line(server.port) as line, contextlib.suppress(EOFError):
        line.ask(path)
    slot = server.wait_for(
        r"WARNING .*the listener of slot (\d) was closed by some worker: it listens again"
    )[1]
    server.wait_for(rf"worker in slot {slot} will be recycled")
    server.wait_for(rf"slot {slot} is ready .*reason: restart")
    wait_until(lambda: served_by(server).keys() == {"0", "1"}, lambda: server.output)
    assert server.stop() == 0


@pytest.mark.parametrize("balance", ["auto", "hash"])
def test_a_program_that_a_worker_attached_does_not_stay(launch: Launch, balance: str) -> None:
    server = launch("saboteur:app", "--workers", "2", "--balance", balance).ready(2)
    with Line(server.port) as line:
        assert line.ask("/program").status == 200
    wait_until(lambda: served_by(server).keys() == {"0", "1"}, lambda: server.output)
    assert server.stop() == 0


@pytest.mark.parametrize("balance", ["auto", "hash"])
def test_a_listener_that_is_closed_again_and_again_ends_neither_launcher_nor_sibling(
    launch: Launch, balance: str
) -> None:
    server = launch("saboteur:app", "--workers", "2", "--balance", balance).ready(2)
    with Line(server.port) as line:
        slot = line.ask("/again").who["slot"]
    sibling = server.workers()[1 - int(slot)]
    server.wait_for(rf"worker in slot {slot} will be recycled")
    for _ in range(10):
        server.wait_for(rf"the listener of slot {slot} was closed by some worker")
    assert server.workers()[1 - int(slot)] == sibling
    for process in survivors(server.pid):
        if process.cmdline()[1:2] == ["-c"] and "listener.shutdown" in process.cmdline()[2]:
            process.kill()
    assert answers(server)
    server.stop()
    assert "Traceback" not in server.output


def test_who_closes_its_siblings_listeners_too_takes_nothing_with_it(launch: Launch) -> None:
    """It holds them, for it may accept there while they are blocked."""
    server = launch("saboteur:app", "--workers", "2", "--balance", "hash").ready(2)
    with Line(server.port) as line:
        assert line.ask("/siblings").status == 200
    for _ in range(2):
        server.wait_for(r"slot \d is ready .*reason: restart")
    wait_until(lambda: served_by(server).keys() == {"0", "1"}, lambda: server.output)
    assert server.stop() == 0


def answers(server: Launched) -> bool:
    with Line(server.port) as line:
        return line.ask().status == 200
