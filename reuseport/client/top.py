"""`top` on a terminal: one screen, live, sorted by the column one likes. The only module that needs rich."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import FrameType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from reuseport.client.control import Control
from reuseport.client.summary import facts, headline, is_well, latest, notes
from reuseport.client.table import COLUMNS, GAP, Row, fitting, rows_of
from reuseport.client.text import clean
from reuseport.client.watch import Look, looks
from reuseport.instance import Status

KEYS = "left/right: sort column   r: reverse   up/down: scroll   space: pause   q: quit"
NOTES = 4
"""Lines of what is unusual."""
SLOTS = 8
"""These have their place before notes and records have."""

_STYLES = {"ready": "green", "starting": "cyan", "draining": "yellow", "drained": "yellow", "empty": "dim"}
_ARROWS = {b"\x1b[C": "right", b"\x1b[D": "left", b"\x1b[A": "up", b"\x1b[B": "down"}
_LETTERS = {b"q": "quit", b"r": "reverse", b" ": "pause", b">": "right", b"<": "left"}


@dataclass(frozen=True, slots=True)
class View:
    """What the keys have made of the screen."""

    column: int = 0
    reverse: bool = False
    first: int = 0
    paused: bool = False

    def pressed(self, key: str) -> View:
        """After a key."""
        match key:
            case "left" | "right":
                step = 1 if key == "right" else -1
                return replace(self, column=(self.column + step) % len(COLUMNS), first=0)
            case "up" | "down":
                return replace(self, first=max(0, self.first + (1 if key == "down" else -1)))
            case "reverse":
                return replace(self, reverse=not self.reverse, first=0)
            case "pause":
                return replace(self, paused=not self.paused)
        return self


@dataclass(slots=True)
class _Feed:
    """Reads the stream in a thread; `wake` is readable when there is news."""

    find: Callable[[], Control]
    look: Look = field(default_factory=lambda: Look(None, {}, ()))
    ended: bool = False
    """It never should."""
    wake: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def begin(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for look in looks(self.find):
                self.look = look
                os.eventfd_write(self.wake, 1)
        finally:
            self.ended = True
            os.eventfd_write(self.wake, 1)


def watch(find: Callable[[], Control]) -> None:
    """Until q, SIGINT or SIGTERM. Raises AbsentError when there is no launcher to begin with."""
    find()
    feed, view = _Feed(find), View()
    console = Console(highlight=False)
    feed.begin()
    with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        look = feed.look
        while True:
            live.update(screen(look, view, console.width, console.height), refresh=True)
            for ready in select.select([keyboard, feed.wake], [], [])[0]:
                if ready == feed.wake:
                    os.eventfd_read(feed.wake)
                    if feed.ended:
                        raise RuntimeError("the reader of the stream has ended; its traceback is above")
                    continue
                typed = os.read(keyboard, 64)
                for key in _read_keys(typed):
                    if key == "quit":
                        return
                    view = view.pressed(key)
                    # Beyond the end there is nothing to come back from.
                    view = replace(
                        view, first=min(view.first, len(look.status["slots"]) if look.status else 0)
                    )
                if not typed:
                    return  # the terminal is gone
            look = look if view.paused else feed.look


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """The terminal gives each key at once and shows none; as before afterwards, however that comes."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    ends = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    # Stopped in the middle, we would leave the other screen behind.
    ends[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    except KeyboardInterrupt:
        return  # as q; the screen has been left already
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        for number, handler in ends.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _read_keys(typed: bytes) -> Iterator[str]:
    while typed:
        length = 3 if typed[:3] in _ARROWS else 1
        key, typed = typed[:length], typed[length:]
        if name := _ARROWS.get(key) or _LETTERS.get(key):
            yield name


# ── the screen ────────────────────────────────────────────────────────────────────────────────────────


def screen(look: Look, view: View, width: int, height: int) -> RenderableType:
    """As much as there is room for; the keys always."""
    status = look.status
    if status is None:
        return Group(_line(look.gone or "waiting for the first status", "dim"), _line(KEYS, "reverse"))
    parts: list[RenderableType] = [_line(headline(status), "bold green" if is_well(status) else "bold red")]
    if look.gone:
        parts.append(_line(f"{look.gone}; trying again", "red"))
    if view.paused:
        parts.append(_line("paused", "black on yellow"))
    parts += [_line(line, "dim") for line in facts(status)]
    rows = sorted(rows_of(status, look.rates), key=COLUMNS[view.column].key, reverse=view.reverse)
    # Below the lines so far: the titles, slots, what is unusual, what happened, and the keys.
    room = height - len(parts) - 2
    below = _below(status, look, room - 1 - min(len(rows), SLOTS))
    room -= len(below)
    if len(rows) > room:
        room = max(1, room - 1)
        first = min(view.first, len(rows) - room)
        more = [_line(f"slots {first + 1} to {first + room} of {len(rows)} in this order", "dim")]
        rows = rows[first : first + room]
    else:
        more = []
    return Group(*parts, _table(rows, view, width), *more, *below, _line(KEYS[:width], "reverse"))


def _below(status: Status, look: Look, room: int) -> list[Text]:
    """What is unusual, and in what room that leaves the last records."""
    unusual = list(notes(status))
    if len(unusual) > NOTES:
        unusual[NOTES:] = [f"and {len(unusual) - NOTES} more"]
    unusual = unusual[: max(0, room)]
    left = max(0, room - len(unusual))
    records = latest(list(look.records))[-left:] if left else []
    return [_line(line, "yellow") for line in unusual] + [_line(line, "") for line in records]


def _line(text: str, style: str) -> Text:
    return Text(clean(text), style=style, no_wrap=True, overflow="ellipsis")


def _table(rows: list[Row], view: View, width: int) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
    shown = fitting(rows, width, COLUMNS[view.column])
    for column in shown:
        sorts = column is COLUMNS[view.column]
        title = f"{column.title} {'v' if view.reverse else '^'}" if sorts else column.title
        table.add_column(
            Text(title, style="reverse" if sorts else ""),
            justify="left" if column.left else "right",
            no_wrap=True,
        )
    for row in rows:
        style = _STYLES.get(row.slot["state"], "red")
        table.add_row(*(Text(column.cell(row), style if column.title == "state" else "") for column in shown))
    return table
