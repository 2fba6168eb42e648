"""What figures say: medians with their range, ratios within a round, and when there is no difference.

No measurement here, and nothing printed: this is tested on recorded data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.kit.results import Claim, Contested, Measured

NOTHING = "–"  # noqa: RUF001 - a dash, as in the tables
ENOUGH = 3
"""Rounds below which a spread says nothing."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures and their range."""

    middle: float
    low: float
    high: float
    count: int

    def crosses(self, value: float) -> bool:
        """Whether the range has something on both sides of the value, or touches it."""
        return self.low <= value <= self.high

    def overlaps(self, other: Spread) -> bool:
        """Whether the ranges have a value in common."""
        return self.low <= other.high and other.low <= self.high


def spread(figures: Sequence[float]) -> Spread | None:
    """None for no figures."""
    if not figures:
        return None
    return Spread(median(figures), min(figures), max(figures), len(figures))


def ratios(one: Contested, other: Contested, metric: str) -> list[float]:
    """One against the other, in each round that both finished; rounds in which the other's is 0 have none."""
    theirs = {
        outcome.number: outcome.figures[metric] for outcome in other.rounds if metric in outcome.figures
    }
    return [
        outcome.figures[metric] / theirs[outcome.number]
        for outcome in one.rounds
        if metric in outcome.figures and theirs.get(outcome.number)
    ]


def against(row: Measured, one: str, other: str, metric: str) -> Spread | None:
    """The spread of the ratios of two contestants of a row; None where there is nothing to compare."""
    first, second = row.of(one), row.of(other)
    if first is None or second is None:
        return None
    return spread(ratios(first, second, metric))


def in_words(ratio: Spread | None) -> str:
    """`1.20 (1.10 to 1.31)`; a ratio whose range crosses 1 is no difference."""
    if ratio is None:
        return NOTHING
    if ratio.count < 2:
        return f"{ratio.middle:.2f}, one round"
    if ratio.crosses(1.0):
        return f"no difference ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.middle:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


# ── claims ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim and what became of it."""

    claim: Claim
    expected: str
    found: str
    verdict: str


def judged(row: Measured) -> Iterator[Judged]:
    """Every claim of a row."""
    for claim in row.claims:
        yield _judged(row, claim)


def _judged(row: Measured, claim: Claim) -> Judged:
    metric = row.metric(claim.metric)
    sign = "≥" if claim.least is not None else "≤"
    if claim.to:
        found = against(row, claim.of, claim.to, claim.metric)
        expected = f"{claim.of} / {claim.to}, {metric.title} {sign} {claim.goal:g}"
        return Judged(claim, expected, in_words(found), verdict(found, claim))
    contested = row.of(claim.of)
    found = spread(contested.figures(claim.metric)) if contested else None
    expected = f"{claim.of}, {metric.title} {sign} {metric.text(claim.goal)}"
    return Judged(claim, expected, range_of(row, claim.of, claim.metric), verdict(found, claim))


def verdict(found: Spread | None, claim: Claim) -> str:
    """Confirmed or refuted when every round says so; what the median says when they do not agree."""
    if found is None:
        return "not measured"
    if claim.least is not None:
        every, none, middle = found.low >= claim.goal, found.high < claim.goal, found.middle >= claim.goal
    else:
        every, none, middle = found.high <= claim.goal, found.low > claim.goal, found.middle <= claim.goal
    if every or none:
        word = "confirmed" if every else "refuted"
        return word if found.count >= ENOUGH else f"{word}, in too few rounds to tell"
    if claim.to and claim.goal == 1.0:
        return "no difference"
    return f"{'met' if middle else 'missed'} by the median, but the rounds disagree"


def range_of(row: Measured, name: str, metric: str) -> str:
    """`median (lowest to highest)` of a contestant, in the metric's unit; a dash where it has none."""
    contested, form = row.of(name), row.metric(metric)
    found = spread(contested.figures(metric)) if contested else None
    if found is None:
        return NOTHING
    if found.count < 2 or found.low == found.high:
        return form.text(found.middle)
    return f"{form.text(found.middle)} ({form.text(found.low)} to {form.text(found.high)})"
