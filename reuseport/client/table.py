"""The table of slots, for `status` and `top` alike: what each column shows and is sorted by. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reuseport.client.rates import Rates
from reuseport.client.text import NONE, age, clean, columns, size, span
from reuseport.instance import SlotStatus, Status
from reuseport.scoreboard import DURATION_BOUNDS


@dataclass(frozen=True, slots=True)
class Row:
    """A slot, and what it did between two looks."""

    slot: SlotStatus
    rates: Rates | None
    now: float


@dataclass(frozen=True, slots=True)
class Column:
    """`value` is sorted by; `show` makes the cell of it. None is shown as a dash, and sorted as the least."""

    title: str
    value: Callable[[Row], float | str | None]
    show: Callable[[float], str] = "{:.0f}".format
    left: bool = False

    def cell(self, row: Row) -> str:
        """The text, clean."""
        value = self.value(row)
        if value is None:
            return NONE
        return clean(value) if isinstance(value, str) else self.show(value)

    def key(self, row: Row) -> tuple[bool, float, str]:
        """To sort by."""
        value = self.value(row)
        if isinstance(value, str):
            return True, 0.0, value
        return value is not None, 0.0 if value is None else value, ""


def _up(row: Row) -> float | None:
    started = row.slot["started_at"]
    return None if started is None else row.now - started


def _state(slot: SlotStatus) -> str:
    return slot["state"] if slot["wanted"] else f"{slot['state']}, away"


def _p99(seconds: float) -> str:
    return f">{DURATION_BOUNDS[-1]:g}s" if math.isinf(seconds) else span(seconds)


COLUMNS = (
    Column("slot", lambda row: row.slot["slot"]),
    Column(
        "state",
        lambda row: row.slot["state"] if row.slot["wanted"] else f"{row.slot['state']}, away",
        left=True,
    ),
    Column("gen", lambda row: row.slot["generation"]),
    Column("pid", lambda row: row.slot["pid"]),
    Column("up", _up, age),
    Column("requests", lambda row: row.slot["requests"]),
    Column("req/s", lambda row: None if row.rates is None else row.rates.requests, "{:.1f}".format),
    Column("p99", lambda row: None if row.rates is None else row.rates.p99, _p99),
    Column("flight", lambda row: row.slot["in_flight"]),
    Column("conns", lambda row: row.slot["connections"]),
    Column("queue", lambda row: row.slot["accept_queue"]["length"]),
    Column("lag", lambda row: row.slot["lag"], span),
    Column("cpu%", lambda row: None if row.rates is None else row.rates.cpu),
    Column("rss", lambda row: row.slot["rss"], lambda value: size(int(value))),
    Column("restarts", lambda row: row.slot["restarts"]),
)
OMITTED = ("requests", "up", "p99", "pid", "gen", "rss", "conns", "lag", "restarts")
"""Titles of the columns that a narrow terminal does without, the first ones first."""
GAP = 2
MARK = 2
"""Room for a sign beside the title of the column that is sorted by."""


def rows_of(status: Status, rates: Mapping[int, Rates]) -> list[Row]:
    """A row for each slot that is wanted or still has a worker."""
    return [
        Row(slot, rates.get(slot["slot"]), status["now"])
        for slot in status["slots"]
        if slot["wanted"] or slot["pid"] is not None
    ]


def fitting(rows: Sequence[Row], width: float, always: Column = COLUMNS[0]) -> list[Column]:
    """The columns there is room for; `always` is one of them."""
    shown = {
        column.title: max([len(column.title), *(len(column.cell(row)) for row in rows)]) for column in COLUMNS
    }
    shown[always.title] = max(shown[always.title], len(always.title) + MARK)
    for title in OMITTED:
        if sum(shown.values()) + GAP * (len(shown) - 1) <= width:
            break
        if title != always.title:
            del shown[title]
    return [column for column in COLUMNS if column.title in shown]


def lines_of(rows: Sequence[Row], width: float = math.inf) -> list[str]:
    """The table as plain text."""
    shown = fitting(rows, width)
    cells = [[column.title for column in shown]]
    cells += [[column.cell(row) for column in shown] for row in rows]
    return columns(cells, right={index for index, column in enumerate(shown) if not column.left})
