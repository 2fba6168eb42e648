"""`top` where there is no terminal: plain tables, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from reuseport.client.control import Control
from reuseport.client.summary import headline
from reuseport.client.table import lines_of, rows_of
from reuseport.client.text import clean, clock
from reuseport.client.watch import looks
from reuseport.instance import Status

TOLERANCE = 0.2
"""Seconds by which the next status may come early."""


def write(find: Callable[[], Control], interval: float, count: int | None) -> None:
    """So many tables, or for ever; the first when there are rates to show."""
    shown = 0
    last: Status | None = None
    due = 0.0
    gone = False
    for look in looks(find):
        if look.gone and not gone:
            click.echo(f"{clock(time.time())} {clean(look.gone)}; trying again", err=True)
        gone = bool(look.gone)
        if gone or look.status is last or look.status is None:
            continue
        last = look.status
        if not look.rates or time.monotonic() < due:
            continue
        due = time.monotonic() + interval - TOLERANCE
        lines = [f"{clock(last['now'])} {headline(last)}", *lines_of(rows_of(last, look.rates))]
        click.echo("\n".join(lines) + "\n")
        shown += 1
        if shown == count:
            return
