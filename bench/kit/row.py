"""What a row of the table is made of: its size, and the figures it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.served.peers import Contestant


@dataclass(frozen=True, slots=True)
class Size:
    """A divisor of every count of a row: 1 is the row as specified."""

    divisor: int

    def of(self, count: int) -> int:
        """The count in this size, at least 1."""
        return max(1, count // self.divisor)


@dataclass(frozen=True, slots=True)
class Figure:
    """What was seen, whether it is what was promised, and the same in a few words for a table's cell."""

    text: str
    met: bool
    short: str
    rate: float = 0.0
    """Requests per second of the load, where the goal names one."""


Scenario = Callable[[Contestant, Size], Iterator[Figure]]


@dataclass(frozen=True, slots=True)
class Row:
    """One promise: what happens, what it may cost, and how it is tried. No figure: a feature is missing."""

    name: str
    about: str
    goal: str
    scenario: Scenario
