"""Server-sent events come in whatever pieces the network makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.client import sse

STREAM = (
    ": hello\n\n"
    'event: status\ndata: {"pid": 7, "application": "läden:app"}\n\n'
    "id: 41\nevent: record\n"
    'data: {"seq": 41,\ndata: "text": "a\\nb"}\n\n'
    ":\n\n"
    "event: record\ndata: no JSON\n\n"
    "event: record\ndata: [1]\n\n"
    'id: 42\nevent:record\ndata:{"seq": 42}\n\n'
    'id: 43\nevent: record\ndata: {"cut": "off"'
)
EVENTS = [
    sse.Event("status", {"pid": 7, "application": "läden:app"}),
    sse.Event("record", {"seq": 41, "text": "a\nb"}, 41),
    sse.Event("record", {"seq": 42}, 42),
]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_the_pieces_make_no_difference(cuts: list[int], end: str) -> None:
    data = STREAM.replace("\n", end).encode()
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[start:stop] for start, stop in pairwise(places)]
    assert list(sse.events(pieces)) == EVENTS


def test_an_event_is_given_as_soon_as_it_is_complete() -> None:
    taken = []

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            taken.append(number)
            yield b'event: record\ndata: {"seq": %d}\n\n' % number

    events = sse.events(pieces())
    assert next(events).data == {"seq": 0}
    assert taken == [0]


def test_an_event_without_an_end_is_not_collected_for_ever() -> None:
    with pytest.raises(ValueError, match="without an end"):
        list(sse.events(b"data: " + b"x" * 65536 for _ in range(1000)))


def test_a_large_status_is_no_trouble() -> None:
    data = {"slots": [{"slot": number, "text": "x" * 2000} for number in range(128)]}
    stream = f"event: status\ndata: {json.dumps(data)}\n\n".encode()
    pieces = [stream[start : start + 4096] for start in range(0, len(stream), 4096)]
    assert [event.data for event in sse.events(pieces)] == [data]
