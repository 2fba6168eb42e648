"""What went on between two looks: averages since the start would hide it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reuseport.instance import SlotStatus, Status
from reuseport.scoreboard import DURATION_BOUNDS


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one slot: requests in a second, CPU in percent of one, and the 99th percentile of durations."""

    requests: float
    cpu: float
    p99: float | None
    """Seconds; None without a response; infinite beyond the longest bound."""


def between(before: Status, after: Status) -> dict[int, Rates]:
    """By slot. Nothing for a slot that was not there before, or when no time has passed."""
    seconds = after["uptime"] - before["uptime"]
    if seconds <= 0:
        return {}
    old = {slot["slot"]: slot for slot in before["slots"]}
    return {
        slot["slot"]: _rates(old[slot["slot"]], slot, seconds)
        for slot in after["slots"]
        if slot["slot"] in old
    }


def _rates(before: SlotStatus, after: SlotStatus, seconds: float) -> Rates:
    counts = [
        late - early
        for early, late in zip(before["durations"]["counts"], after["durations"]["counts"], strict=True)
    ]
    return Rates(
        requests=max(0, after["requests"] - before["requests"]) / seconds,
        cpu=max(0.0, after["cpu"] - before["cpu"]) / seconds * 100,
        p99=quantile(counts, 0.99),
    )


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The duration that this share of the responses did not exceed, by straight lines within the buckets."""
    total = sum(counts)
    if total <= 0:
        return None
    wanted, seen = total * share, 0
    for index, (count, upper) in enumerate(zip(counts, DURATION_BOUNDS, strict=False)):
        if count and seen + count >= wanted:
            lower = DURATION_BOUNDS[index - 1] if index else 0.0
            return lower + (upper - lower) * (wanted - seen) / count
        seen += count
    return math.inf
