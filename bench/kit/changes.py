"""A result against an older one: what changed, beyond noise.

Absolute figures belong to a moment of a machine, ratios within a round much less; so both are told. A change
is what leaves the two ranges without a value in common.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.kit.arithmetic import ENOUGH, Spread, against, spread
from bench.kit.results import Contested, Measured, Metric, Results

SAME_MACHINE = ("kernel", "processor", "cores", "python", "root")


def changes(old: Results, new: Results) -> Iterator[str]:
    """What a reader of the new one should know."""
    for key in SAME_MACHINE:
        if old.machine.get(key) != new.machine.get(key):
            yield f"another machine: {key} was {old.machine.get(key)}, is {new.machine.get(key)}"
    versions = new.machine["versions"]
    for name, before in old.machine["versions"].items():
        if versions.get(name) != before:
            yield f"another version: {name} was {before}, is {versions.get(name)}"
    for row in new.rows:
        before = old.of(row.name)
        if before is None:
            yield f"{row.name}: not in the older result"
        else:
            yield from _row(before, row)


def _row(old: Measured, new: Measured) -> Iterator[str]:
    rounds = [len(one.rounds) for row in (old, new) for one in row.contestants if not one.errors()]
    if min(rounds, default=ENOUGH) < ENOUGH:
        yield f"{new.name}: fewer than {ENOUGH} rounds do not tell what is noise"
        return
    known = {metric.name for metric in old.metrics}
    said = [*_failures(old, new)]
    for metric in new.metrics:
        if metric.name in known:
            said += [*_figures(old, new, metric), *_ratios(old, new, metric)]
    yield from said or [f"{new.name}: nothing beyond noise"]


def _pairs(old: Measured, new: Measured) -> Iterator[tuple[Contested, Contested]]:
    """Who is in both."""
    for contested in new.contestants:
        before = old.of(contested.name)
        if before is not None:
            yield before, contested


def _failures(old: Measured, new: Measured) -> Iterator[str]:
    for before, after in _pairs(old, new):
        if bool(before.errors()) != bool(after.errors()):
            yield f"{new.name}, {after.name}: {'fails now' if after.errors() else 'failed before'}"


def _figures(old: Measured, new: Measured, metric: Metric) -> Iterator[str]:
    for earlier, later in _pairs(old, new):
        found = _changed(spread(earlier.figures(metric.name)), spread(later.figures(metric.name)))
        if found is None:
            continue
        before, after = (one.middle for one in found)
        better = "better" if (after > before) == (metric.better == "higher") else "worse"
        texts = f"{metric.text(before)} → {metric.text(after)} {metric.unit}".rstrip()
        yield f"{new.name}, {later.name}, {metric.title}: {texts}, {better}"


def _ratios(old: Measured, new: Measured, metric: Metric) -> Iterator[str]:
    for _, contested in _pairs(old, new):
        if metric.counted or contested.name == new.subject:
            continue
        pair = (new.subject, contested.name, metric.name)
        found = _changed(against(old, *pair), against(new, *pair))
        if found is not None:
            before, after = (one.middle for one in found)
            yield f"{new.name}, {new.subject} / {contested.name}, {metric.title}: {before:.2f} → {after:.2f}"


def _changed(before: Spread | None, after: Spread | None) -> tuple[Spread, Spread] | None:
    """Both, if they have no value in common."""
    if before is None or after is None or before.overlaps(after):
        return None
    return before, after
