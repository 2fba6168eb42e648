"""All records are asked for often, by many: each is made into JSON once."""

from __future__ import annotations

import json

import pytest

from reuseport.history import History, Kind, Level


def test_a_record_is_encoded_once_for_as_long_as_it_is_kept() -> None:
    history = History()
    for number in range(100):
        history.add(1_000_000.5, Kind.READY, f"slot {number} is ready", slot=number)
    first = [record.encoded for record in history.after(0)[0]]
    assert all(again.encoded is made for again, made in zip(history.after(0)[0], first, strict=True))


@pytest.mark.parametrize("level", ["debug", "error"])
def test_it_says_what_the_dictionary_says(level: Level) -> None:
    record = History().add(1.5, Kind.CRASHED, "“ä\n\ud800", level=level, slot=1, generation=2, cause="crash")
    assert json.loads(record.encoded) == record.to_dict()
    assert b"\n" not in record.encoded, "one line, as a stream of events wants it"
