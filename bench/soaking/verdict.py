"""Flat and zero, or not: what a run shows. Pure.

The first rest is after a phase of everything, so what is made once is made by then; from there on nothing
grows. What a killed worker had accepted dies with it, whoever serves: as much may be lost in the moments
around a crash, and nothing ever else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bench.soaking.watch import Record

BEFORE, AFTER = 1.5, 3.0
"""Seconds around a crash in which its losses are noticed: samples are a second apart."""
LAUNCHER_MIB = 3.0
"""By which the launcher's PSS may differ: how many share its pages differs, too."""
SHARE = 0.15
"""By which the PSS of all may grow."""
SLOWER, MARGIN = 3.0, 0.05
"""Answers of the last third may take so many times as long as those of the first, and seconds longer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, whether it is kept, and by what figures."""

    name: str
    met: bool
    text: str


def findings(record: Record) -> Iterator[Finding]:
    """All of them. A run without a rest, or of one, shows nothing."""
    if len(record.rests) < 2:
        yield Finding("rest", met=False, text="the server did not come to rest twice: nothing is known")
        return
    yield from _losses(record)
    first, last = record.rests[0], record.rests[-1]
    for name, before, after in (
        ("descriptors of the launcher", first.launcher_descriptors, last.launcher_descriptors),
        ("descriptors of workers", first.worker_descriptors, last.worker_descriptors),
        ("processes", first.processes, last.processes),
    ):
        yield Finding(name, met=after <= before, text=f"{before} at the first rest, {after} at the last")
    yield Finding(
        "PSS of the launcher",
        met=last.launcher_pss - first.launcher_pss <= LAUNCHER_MIB,
        text=f"{first.launcher_pss:.1f} MiB at the first rest, {last.launcher_pss:.1f} at the last",
    )
    yield Finding(
        "PSS of all",
        met=last.pss <= (1 + SHARE) * first.pss,
        text=f"{first.pss:.0f} MiB at the first rest, {last.pss:.0f} at the last",
    )
    yield from _latency(record)


def _losses(record: Record) -> Iterator[Finding]:
    unexplained = 0
    before = 0
    for sample in record.samples:
        fresh, before = sample.lost - before, sample.lost
        near = any(at - BEFORE <= sample.at <= at + AFTER for at, _ in record.crashes)
        if fresh and not near:
            unexplained += fresh
    held = sum(number for _, number in record.crashes)
    answered = record.samples[-1].answered if record.samples else 0
    yield Finding(
        "lost without a crash", met=unexplained == 0, text=f"{unexplained} of {answered} answered requests"
    )
    yield Finding(
        "lost in crashes",
        met=before - unexplained <= held,
        text=f"{before - unexplained}; the {len(record.crashes)} workers killed held {held} connections",
    )


def _latency(record: Record) -> Iterator[Finding]:
    third = len(record.samples) // 3
    if not third:
        return
    early = median(sample.p99 for sample in record.samples[:third])
    late = median(sample.p99 for sample in record.samples[-third:])
    yield Finding(
        "p99 of a second, its median",
        met=late <= SLOWER * early + MARGIN,
        text=f"{early * 1e3:.0f} ms in the first third, {late * 1e3:.0f} in the last",
    )
