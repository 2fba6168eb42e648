"""All records are asked for often, by many: each is made into JSON once."""

from __future__ import annotations

import json

import pytest

from reuseport.history import ROOM, History, Kind, Level, encoded


def test_a_record_is_encoded_once_for_as_long_as_it_is_kept() -> None:
    history = History()
    encoded.cache_clear()
    for _ in range(3):
        for number in range(ROOM // 2):
            history.add(1_000_000.5, Kind.READY, f"slot {number} is ready", slot=number)
        for _ in range(3):
            for record in history.after(0)[0]:
                encoded(record)
    assert encoded.cache_info().misses == history.last


@pytest.mark.parametrize("level", ["debug", "error"])
def test_it_says_what_the_dictionary_says(level: Level) -> None:
    record = History().add(1.5, Kind.CRASHED, "“ä\n\ud800", level=level, slot=1, generation=2, cause="crash")
    assert json.loads(encoded(record)) == record.to_dict()
    assert b"\n" not in encoded(record), "one line, as a stream of events wants it"
