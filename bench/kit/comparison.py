"""Rows of the comparison, and how they are measured: every contestant once a round, in turns.

A measurement starts its own servers, fresh ones for each round. What fails is an outcome of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.kit.calibration import Calibration
from bench.kit.measure import interleaved
from bench.kit.results import Beside, Claim, Contested, Figures, Measured, Metric, Outcome
from bench.kit.versions import version_of
from bench.served.lineup import GIVES_UP, Entry

FAILS = (*GIVES_UP, ImportError, subprocess.SubprocessError)
"""What a peer or a tool that is missing, dies or errs makes of a measurement."""
TELLS = 500
"""Characters of an error, from its end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often is measured."""

    rounds: int = 3
    scale: float = 1.0

    def seconds(self, full: float) -> float:
        """So long at full size; a load generator that counts in seconds needs one at least."""
        return max(1.0, full * self.scale)


@dataclass(frozen=True, slots=True)
class Trial:
    """One contestant's turn in one round."""

    entry: Entry
    number: int
    pace: Pace
    calibration: Calibration

    def slow(self, milliseconds: float) -> str:
        """The path of a request that costs so much CPU time on the event loop. Raises RuntimeError."""
        return self.calibration.path(self.entry.runtime, milliseconds)


Measure = Callable[[Trial], Figures]


@dataclass(frozen=True, slots=True)
class Row:
    """A question. `entries` is who is asked, the subject first; `quick` is who is asked in a hurry.

    `tools` are the programs that put the load on.
    """

    name: str
    about: str
    metrics: tuple[Metric, ...]
    measure: Measure
    entries: tuple[Entry, ...]
    quick: tuple[Entry, ...]
    tools: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[Beside, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What has just been measured, to be told while the rest is."""

    row: Measured
    contested: Contested
    outcome: Outcome


def measured(
    row: Row, entries: Sequence[Entry], pace: Pace, calibration: Calibration
) -> Iterator[tuple[Measured, Step]]:
    """The row as far as it has come, after each measurement.

    Who fails is not tried again in this row: a server that does not come up takes a minute to show it.
    """
    here = {entry.name for entry in entries}
    result = Measured(
        row.name,
        row.about,
        entries[0].name,
        list(row.metrics),
        [claim for claim in row.claims if {claim.of, claim.to or claim.of} <= here],
        dict(row.absent),
        [one for one in row.beside if {one.of, one.to} <= here],
        [Contested(entry.name) for entry in entries],
    )
    by_name = {contested.name: contested for contested in result.contestants}
    for number, entry in interleaved(entries, pace.rounds):
        contested = by_name[entry.name]
        if contested.errors():
            continue
        outcome = Outcome(number)
        try:
            contested.versions = entry.contestant.versions()
            for tool in row.tools:
                version_of(tool)
            outcome.figures.update(row.measure(Trial(entry, number, pace, calibration)))
        except FAILS as error:
            outcome.error = f"{type(error).__name__}: {str(error)[-TELLS:]}"
        contested.rounds.append(outcome)
        yield result, Step(result, contested, outcome)
