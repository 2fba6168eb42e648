"""How many connections have had an answer lately: those that bring the load, and that can be passed on.

Time is cut into rounds. One ends when each connection in it has had two answers on average, after LEAST
seconds at the earliest and MOST at the latest: so those that ask all the time are told from those that did a
moment ago, and those that wait for seconds are counted all the same. A connection is active until the end of
the round that follows its last answer's. That costs a comparison with each answer, and more once in a round.
"""

from __future__ import annotations

from typing import Protocol

LEAST = 0.25
"""Seconds."""
MOST = 2.0
"""Seconds."""
ANSWERS = 2
"""For each connection, on average."""


class Answered(Protocol):
    """A connection; `round` is the last one in which it had an answer."""

    round: int


class Activity:
    """Counts the connections of this round, and those of the last round that are not yet in this one."""

    def __init__(self) -> None:
        self.round = 1
        self._in_this = 0
        self._in_last = 0
        self._began = 0.0
        self._answers = 0

    def note(self, connection: Answered) -> None:
        """Its first answer in this round."""
        if connection.round == self.round - 1:
            self._in_last -= 1
        connection.round = self.round
        self._in_this += 1

    def lose(self, connection: Answered) -> None:
        """It is gone: closed, or passed on."""
        if connection.round == self.round:
            self._in_this -= 1
        elif connection.round == self.round - 1:
            self._in_last -= 1
        connection.round = NEVER

    @property
    def active(self) -> int:
        """How many are."""
        return self._in_this + self._in_last

    def turn(self, now: float, answers: int) -> None:
        """Begin the next round, if it is time. `now` in seconds; `answers`: all that were ever given."""
        age = now - self._began
        if age >= MOST or (age >= LEAST and answers - self._answers >= ANSWERS * self._in_this):
            self.round += 1
            self._in_last, self._in_this = self._in_this, 0
            self._began, self._answers = now, answers


NEVER = -1
"""The round of a connection that has had no answer yet."""
