"""What `top` shows, as it changes: statuses with their rates, records, and when there is nobody to ask."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from reuseport.client.control import Control
from reuseport.client.rates import Rates, between
from reuseport.errors import ReuseportError
from reuseport.instance import Status

RETRY = 1.0
"""Seconds before a launcher that has gone is looked for again."""
WINDOW = 3
"""Statuses back, one a second, over which rates are taken: steady enough to be read."""
KEPT = 64
"""Records."""


@dataclass(frozen=True, slots=True)
class Look:
    """One moment. `gone`: why what is shown is old, in words."""

    status: Status | None
    rates: Mapping[int, Rates]
    records: tuple[dict[str, Any], ...]
    gone: str = ""


def looks(find: Callable[[], Control]) -> Iterator[Look]:
    """For ever. The first launcher must be there (AbsentError); one that goes away is looked for again."""
    control: Control | None = find()
    past: collections.deque[Status] = collections.deque(maxlen=WINDOW + 1)
    records: collections.deque[dict[str, Any]] = collections.deque(maxlen=KEPT)
    while True:
        try:
            control = control or find()
            newest = control.newest(KEPT)
            past.clear()
            records.clear()
            records.extend(newest["events"])
            with control.stream(newest["last"]) as events:
                for event in events:
                    if event.kind == "status":
                        past.append(cast("Status", event.data))
                    elif event.kind == "record":
                        records.append(event.data)
                    if past:
                        yield Look(past[-1], between(past[0], past[-1]), tuple(records))
            why = "the launcher has ended the stream"
        except ReuseportError as error:
            why = str(error)
        yield Look(past[-1] if past else None, {}, tuple(records), why)
        time.sleep(RETRY)
        control = None
