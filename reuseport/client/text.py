"""Words and tables for a terminal. A traceback may hold anything, so all is cleaned. Pure."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from reuseport.printable import printable

NONE = "-"


def clean(text: object) -> str:
    """One line that a terminal only shows: what is not printable, of any script, is spelled out."""
    return printable(str(text))


def cleaned_lines(text: object) -> list[str]:
    """The same for several, such as a traceback."""
    return [clean(line.expandtabs()) for line in str(text).rstrip("\n").split("\n")]


def cleaned(text: object) -> str:
    """The same, in one piece."""
    return "\n".join(cleaned_lines(text))


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Aligned lines; the columns in `right` to their right edge."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def age(seconds: float) -> str:
    """The two largest units: 12s, 3m20s, 2h3m, 5d4h."""
    whole = max(0, int(seconds))
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    for index, (name, length) in enumerate(units):
        if whole >= length:
            count, rest = divmod(whole, length)
            if index + 1 == len(units):
                return f"{count}{name}"
            below, smaller = units[index + 1]
            return f"{count}{name}{rest // smaller}{below}"
    return "0s"


def span(seconds: float) -> str:
    """A duration that is short: 0.4ms, 12ms, 1.3s."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def size(count: int | None) -> str:
    """Bytes, as K, M or G of 1024."""
    if count is None:
        return NONE
    if count < 1 << 20:
        return f"{count / 1024:.0f}K"
    return f"{count / (1 << 20):.0f}M" if count < 10 << 30 else f"{count / (1 << 30):.1f}G"


def clock(moment: float) -> str:
    """The local time of day; with the date when it is not today's."""
    then, now = time.localtime(moment), time.localtime()
    today = then[:3] == now[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def record_line(record: dict[str, Any]) -> str:
    """A record in one line; of a traceback its first and its last."""
    first, *more = cleaned_lines(record["text"])
    text = f"{first} ... {more[-1].strip()}" if more else first
    return f"{clock(record['time'])} {clean(record['level']):7} {text}"
