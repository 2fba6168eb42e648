"""Which slot has answered with which key: found by everybody, bounded, and none believed that cannot be."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator

import pytest

from reuseport.keytable import BUCKETS, GROUP, TAG, WAYS, KeyTable

SLOTS = 40


@contextlib.contextmanager
def table() -> Iterator[KeyTable]:
    with contextlib.closing(KeyTable.create(SLOTS)) as made:
        for slot in range(SLOTS):
            made.reach(slot)
        yield made


def tags(number: int) -> list[bytes]:
    rng = random.Random(1)
    return [rng.randbytes(TAG) for _ in range(number)]


def test_what_one_writes_all_find() -> None:
    with table() as ours, contextlib.closing(KeyTable(os.dup(ours.fd), SLOTS)) as other:
        known = {tag: number % SLOTS for number, tag in enumerate(tags(2000))}
        for tag, slot in known.items():
            ours.put(tag, slot)
        other.reach(SLOTS - 1)
        assert {tag: list(other.find(tag)) for tag in known} == {tag: [slot] for tag, slot in known.items()}
        assert list(other.find(b"not here")) == []


def test_a_slot_that_nobody_knows_of_is_not_looked_for() -> None:
    with contextlib.closing(KeyTable.create(SLOTS)) as found:
        found.put(b"far away", GROUP)
        assert list(found.find(b"far away")) == []
        found.reach(GROUP)
        assert list(found.find(b"far away")) == [GROUP]
        found.reach(10**9)
        assert list(found.find(b"far away")) == [GROUP]


def test_the_oldest_of_a_bucket_is_forgotten_and_no_other_slots() -> None:
    with table() as found:
        same = [b"\x05\x00" + tag[2:] for tag in tags(WAYS + 3)]
        found.put(same[0], 7)
        for tag in same:
            found.put(tag, 3)
        assert [bool(list(found.find(tag))) for tag in same] == [True, False, False] + [True] * WAYS
        assert list(found.find(same[0])) == [7]


def test_a_flood_of_keys_takes_no_more_room() -> None:
    with table() as found:
        size = os.fstat(found.fd).st_size
        for tag in tags(3 * WAYS * BUCKETS):
            found.put(tag, 1)
        assert os.fstat(found.fd).st_size == size
        newest = tags(3 * WAYS * BUCKETS)[-1000:]
        assert all(list(found.find(tag)) == [1] for tag in newest)


def test_across_two_tags_there_is_none() -> None:
    with table() as found:
        wanted = b"\x05\x00xyzXYZ"
        # Side by side in one bucket: the end of the one, and the beginning of the other.
        found.put(b"\x05\x00ab\x05\x00xy", 3)
        start = found._map.find(b"ab\x05\x00xy") + 6
        found._map[start : start + 4] = b"zXYZ"
        assert found._map.find(wanted) >= 0
        assert list(found.find(wanted)) == []


def test_nobody_can_resize_it() -> None:
    with table() as found, pytest.raises(PermissionError):
        os.ftruncate(found.fd, 1)
