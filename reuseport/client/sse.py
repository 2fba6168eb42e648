"""Server-sent events, read as they come (the event stream format of the HTML standard). Pure."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

LONGEST = 4 << 20
"""Characters of one event; a status of 128 slots is a tenth of that."""


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is "status" or "record", `id` a record's number."""

    kind: str
    data: dict[str, Any]
    id: int | None = None


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Every complete event, whatever pieces it comes in; comments and what is no JSON object are left out.

    Raises ValueError for an event that is longer than any of ours.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = ""
    for chunk in chunks:
        text = (text + decoder.decode(chunk)).replace("\r\n", "\n")
        *blocks, text = text.split("\n\n")
        for block in blocks:
            event = _event(block)
            if event is not None:
                yield event
        if len(text) > LONGEST:
            raise ValueError("an event without an end")


def _event(block: str) -> Event | None:
    kind, number, data = "message", None, []
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id" and value.isdecimal():
            number = int(value)
    try:
        content = json.loads("\n".join(data))
    except ValueError:
        return None
    return Event(kind, content, number) if isinstance(content, dict) else None
