"""The soak: what it calls flat and zero, and a run of seconds with everything in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.report.soaked import page
from bench.soaking.story import Length, soak
from bench.soaking.verdict import findings
from bench.soaking.watch import Record, Rest, Sample

SAMPLE = Sample(
    at=0.0, answered=0, lost=0, p50=0.001, p99=0.01, slowest=0.1, processes=4, descriptors=90, pss=90.0
)
REST = Rest(
    at=0.0,
    launcher_descriptors=30,
    launcher_holds={},
    worker_descriptors=28,
    processes=4,
    launcher_pss=28.0,
    pss=80.0,
)


def record() -> Record:
    """A minute in which nothing was wrong."""
    made = Record(2)
    made.samples = [replace(SAMPLE, at=float(second), answered=100 * second) for second in range(60)]
    made.rests = [replace(REST, at=float(second)) for second in (20, 40, 60)]
    return made


def missed(made: Record) -> set[str]:
    return {finding.name for finding in findings(made) if not finding.met}


def test_flat_and_zero_is_met() -> None:
    assert not missed(record())
    assert len(list(findings(record()))) == 8


@pytest.mark.parametrize(
    ("word", "more", "name"),
    [
        ("launcher_descriptors", 1, "descriptors of the launcher"),
        ("worker_descriptors", 1, "descriptors of workers"),
        ("processes", 1, "processes"),
        ("launcher_pss", 4.0, "PSS of the launcher"),
        ("pss", 20.0, "PSS of all"),
    ],
)
def test_what_grows_is_found(word: str, more: float, name: str) -> None:
    made = record()
    made.rests[-1] = replace(made.rests[-1], **{word: getattr(REST, word) + more})
    assert missed(made) == {name}


def lose(made: Record, second: int, number: int) -> None:
    made.samples[second:] = [replace(each, lost=each.lost + number) for each in made.samples[second:]]


def test_what_a_crash_has_lost_is_what_it_held_and_all_else_is_not_explained() -> None:
    made = record()
    made.crashes = [(30.2, 3)]
    lose(made, 31, 3)
    assert not missed(made)
    lose(made, 32, 1)
    assert missed(made) == {"lost in crashes"}
    made = record()
    made.crashes = [(30.2, 3)]
    lose(made, 35, 1)
    assert missed(made) == {"lost without a crash"}


def test_slower_and_slower_is_found_and_so_is_a_run_without_rest() -> None:
    made = record()
    made.samples[40:] = [replace(each, p99=0.2) for each in made.samples[40:]]
    assert missed(made) == {"p99 of a second, its median"}
    assert missed(Record(2)) == {"rest"}


def test_a_run_of_seconds_holds_and_loses_nothing() -> None:
    made, tallies = soak(Length(phases=2, seconds=2.5, pause=0.4), 2, seed=5, tell=lambda _: None)
    found = list(findings(made))
    told = [f"{finding.name}: {finding.text}" for finding in found]
    # How long answers take, and who shares which page by then, is up to the host.
    host = {"PSS of all", "p99 of a second, its median"}
    assert not missed(made) - host, (told, tallies, made.events)
    assert all(tally.answered for tally in tallies.values()), tallies
    assert {what for _, what in made.events} >= {"reload", "crash", "scale up"}, made.events
    assert "met" in page(made, tallies, found, "<svg></svg>", "again")
