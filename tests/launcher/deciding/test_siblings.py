"""Who is told of whom: each worker of some siblings, and of a slot's new worker whoever waits there."""

from __future__ import annotations

import random

import pytest

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.siblings import NEAR, near
from reuseport.launcher.deciding.slots import Policy
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.messages import Drain, Listens, Ready, Sibling


class Server:
    """A supervisor whose workers become ready when they are asked to."""

    def __init__(self, workers: int, *, stealing: bool = True) -> None:
        policy = Policy(workers=workers, capacity=workers + 4, starts_at_once=workers, stealing=stealing)
        self.supervisor = Supervisor(policy, random.Random(1))
        self.now = 0.0
        self.told: dict[int, list[int]] = {}
        """By worker, the slots it was told of, in order."""
        self.drained: set[int] = set()
        self.feed(ev.Begin())

    def feed(self, event: ev.Event) -> None:
        self.now += 0.01
        for action in self.supervisor.handle(event, self.now):
            match action:
                case ev.Tell(worker, Sibling(slot)):
                    assert worker not in self.drained
                    self.told.setdefault(worker, []).append(slot)
                case ev.Tell(worker, Drain()):
                    self.drained.add(worker)

    def start(self, *slots: int) -> None:
        for slot in slots:
            starting = self.supervisor.slots[slot].starting()
            assert starting is not None
            self.feed(ev.Heard(starting.number, Listens()))
            self.feed(ev.Heard(starting.number, Ready()))

    def worker(self, slot: int) -> int:
        serving = self.supervisor.slots[slot].serving()
        assert serving is not None
        return serving.number


@pytest.mark.parametrize("workers", [1, 2, 3, NEAR + 1, 2 * NEAR + 3])
def test_everybody_gets_to_know_the_next_ones(workers: int) -> None:
    server = Server(workers)
    order = list(range(workers))
    random.Random(workers).shuffle(order)
    server.start(*order)
    for slot in range(workers):
        known = server.told.get(server.worker(slot), [])
        wanted = {(slot + step) % workers for step in range(1, min(NEAR, workers - 1) + 1)}
        assert sorted(known) == sorted(wanted)
        assert wanted == {other for other in range(workers) if near(slot, other, workers)}


def test_a_successor_is_told_of_all_and_all_of_it() -> None:
    server = Server(3)
    server.start(0, 1, 2)
    server.told.clear()
    before = server.worker(1)
    server.feed(ev.RestartRequested(1))
    server.start(1)
    assert server.told == {server.worker(1): [0, 2], server.worker(0): [1], server.worker(2): [1]}
    assert server.drained == {before}


def test_who_does_not_turn_is_told_when_it_does() -> None:
    server = Server(3)
    server.start(0, 1, 2)
    blocked = server.worker(0)
    pulses = {server.worker(slot): 1 for slot in range(3)}
    server.feed(ev.Tick(pulses, {}))
    server.now += 2.0
    server.feed(ev.Tick({**pulses, server.worker(1): 2, server.worker(2): 2}, {}))
    server.told.clear()
    server.feed(ev.RestartRequested(1))
    server.start(1)
    assert blocked not in server.told
    assert server.told[server.worker(2)] == [1]
    server.feed(ev.Tick({blocked: 2}, {}))
    assert server.told[blocked] == [1, 2]


def test_nobody_is_told_where_that_is_switched_off_or_when_the_server_stops() -> None:
    off = Server(2, stealing=False)
    off.start(0, 1)
    assert off.told == {}
    stopping = Server(2)
    starting = stopping.supervisor.slots[0].starting()
    assert starting is not None
    stopping.start(1)
    stopping.feed(ev.Heard(starting.number, Listens()))
    stopping.feed(ev.StopRequested())
    stopping.feed(ev.Heard(starting.number, Ready()))
    assert stopping.told == {}
