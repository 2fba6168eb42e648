"""How far it is: a bar on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

import click

from reuseport.client.text import clean


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
        self.bar = click.progressbar(
            range(1),
            length=1,
            label=label,
            show_eta=False,
            show_pos=True,
            item_show_func=lambda _: self._text,
        )

    def say(self, text: str) -> None:
        self._text = clean(text)
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
