"""Where a session belongs to, as far as memory tells that anybody may have written."""

from __future__ import annotations

import collections
import contextlib
import random
import time
from collections.abc import Iterator

import pytest

from reuseport.keytable import KeyTable
from reuseport.scoreboard import Desk, Scoreboard, SlotWord
from reuseport.worker.sticky.homes import AWAY, Homes
from reuseport.worker.sticky.keys import Key

SLOTS = 6


class Place:
    """All slots as they are when all is well, seen from slot 0."""

    def __init__(self, scoreboard: Scoreboard, table: KeyTable) -> None:
        self.scoreboard = scoreboard
        self.table = table
        for slot in range(SLOTS):
            self.turn(slot)
            scoreboard.slot(slot)[SlotWord.SERVING_DESK] = 1
        self.homes = self.of(0)

    def of(self, own: int) -> Homes:
        homes = Homes(self.table, self.scoreboard, own, 1)
        homes.reach(range(SLOTS))
        return homes

    def turn(self, slot: int, ago: float = 0.0) -> None:
        self.scoreboard.desk(slot, 1)[Desk.HEARTBEAT] = time.monotonic_ns() - int(ago * 1e9)

    def fence(self, slot: int) -> None:
        self.scoreboard.slot(slot)[SlotWord.FENCE] = 1


@pytest.fixture
def place() -> Iterator[Place]:
    scoreboard, table = Scoreboard.create(SLOTS), KeyTable.create(SLOTS)
    with contextlib.closing(table):
        yield Place(scoreboard, table)


def keys(number: int) -> list[Key]:
    rng = random.Random(1)
    return [Key(rng.randbytes(8)) for _ in range(number)]


def test_it_belongs_to_whom_it_was_answered_by_first(place: Place) -> None:
    for number, key in enumerate(keys(60)):
        place.of(number % SLOTS).learn(key.tag)
        place.of((number + 1) % SLOTS).learn(key.tag)
        assert place.homes.of(key) == number % SLOTS


def test_hashing_is_fair_and_the_same_everywhere(place: Place) -> None:
    chosen = [place.homes.of(key) for key in keys(1200)]
    assert chosen == [place.of(3).of(key) for key in keys(1200)]
    counts = collections.Counter(chosen)
    assert len(counts) == SLOTS
    assert max(counts.values()) < 300


def test_only_the_keys_of_a_slot_that_goes_find_another(place: Place) -> None:
    before = [place.homes.of(key) for key in keys(600)]
    place.fence(4)
    after = [place.of(0).of(key) for key in keys(600)]
    assert all(new == old for new, old in zip(after, before, strict=True) if old != 4)
    assert {new for new, old in zip(after, before, strict=True) if old == 4} == {0, 1, 2, 3, 5}


def test_whoever_is_gone_is_forgotten_and_whoever_is_away_is_not(place: Place) -> None:
    [key] = keys(1)
    place.of(4).learn(key.tag)
    place.turn(4, AWAY + 1)
    assert place.homes.of(key) is None
    place.of(2).learn(key.tag)
    assert list(place.table.find(key.tag)) == [4]
    place.fence(4)
    assert place.homes.of(key) in {0, 1, 2, 3, 5}
    place.of(2).learn(key.tag)
    assert place.homes.of(key) == 2


def test_who_leaves_learns_no_more(place: Place) -> None:
    [key] = keys(1)
    Homes(place.table, place.scoreboard, 4, 0).learn(key.tag)
    place.fence(5)
    place.of(5).learn(key.tag)
    assert list(place.table.find(key.tag)) == []


def test_the_slot_that_our_cookie_names(place: Place) -> None:
    [key] = keys(1)
    assert place.homes.of(Key(key.tag, 3)) == 3
    assert place.homes.of(Key(key.tag, 9999)) == place.homes.of(key)
    place.fence(3)
    assert place.homes.of(Key(key.tag, 3)) == place.of(0).of(key)


def test_nothing_that_stands_there_is_too_strange(place: Place) -> None:
    rng = random.Random(2)
    found = keys(50)
    for key in found:
        place.table.put(key.tag, rng.randrange(SLOTS))
    for _ in range(200):
        slot = rng.randrange(1, SLOTS)
        place.scoreboard.slot(slot)[rng.choice(list(SlotWord))] = rng.choice([0, 1, 3, 2**63, 2**64 - 1])
        place.scoreboard.desk(slot, 1)[Desk.HEARTBEAT] = rng.choice([0, 1, time.monotonic_ns(), 2**64 - 1])
        homes = place.of(0)
        assert all(home is None or 0 <= home < SLOTS for home in map(homes.of, found))
