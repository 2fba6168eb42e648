"""How far it is: a bar on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from typing import Protocol

import click

from reuseport.client.text import clean

WIDTH = 20
"""Characters of the bar."""


class Progress(Protocol):
    """Shows what is going on while somebody waits."""

    def say(self, text: str) -> None:
        """A step."""

    def reached(self, done: int, of: int) -> None:
        """So far."""


class _Lines:
    def say(self, text: str) -> None:
        click.echo(clean(text))

    def reached(self, done: int, of: int) -> None:
        """The lines have said so."""


class _Bar:
    def __init__(self, label: str) -> None:
        self._text: str | None = None
        # A line that wraps would be left behind at each step: [bar], "  12/64  ", and what is between them.
        self._room = shutil.get_terminal_size().columns - len(label) - WIDTH - 20
        self.bar = click.progressbar(
            range(1),
            length=1,
            width=WIDTH,
            label=label,
            show_eta=False,
            show_pos=True,
            item_show_func=lambda _: self._text,
        )

    def say(self, text: str) -> None:
        # What stands in brackets is for those who read it later.
        self._text = clean(text).partition(" (")[0][: max(0, self._room)]
        self.bar.render_progress()

    def reached(self, done: int, of: int) -> None:
        self.bar.length = max(of, done, 1)
        self.bar.pos = done
        self.bar.render_progress()


@contextlib.contextmanager
def shown(label: str) -> Iterator[Progress]:
    """For as long as it takes."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    progress = _Bar(label)
    with progress.bar:
        yield progress
