"""A result against an older one: only what is beyond noise is a change."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from bench.kit.changes import changes
from bench.kit.results import Contested, Measured, Outcome, Results, read

RECORDED = Path(__file__).parent / "recorded.json"


@pytest.fixture
def old() -> Results:
    results = read(RECORDED)
    results.rows = results.rows[:1]
    return results


@pytest.fixture
def new(old: Results) -> Results:
    return deepcopy(old)


def of(results: Results, name: str) -> Contested:
    found = results.rows[0].of(name)
    assert found is not None
    return found


def scale(contested: Contested, metric: str, factor: float) -> None:
    for outcome in contested.rounds:
        outcome.figures[metric] *= factor


def test_the_same_is_no_change(old: Results, new: Results) -> None:
    assert list(changes(old, new)) == ["keepalive: nothing beyond noise"]


def test_what_stays_within_the_ranges_is_noise(old: Results, new: Results) -> None:
    scale(of(new, "reuseport"), "rate", 1.9)  # 1,467 to 2,842 becomes 2,787 to 5,400
    assert not [line for line in changes(old, new) if line.startswith("keepalive, reuseport, requests/s")]


def test_what_leaves_them_is_a_change_of_figure_and_of_ratio(old: Results, new: Results) -> None:
    scale(of(new, "reuseport"), "rate", 10.0)
    assert list(changes(old, new)) == [
        "keepalive, reuseport, requests/s: 2,742 → 27,417, better",
        "keepalive, reuseport / shared listener, requests/s: 0.45 → 4.52",
        "keepalive, reuseport / uvicorn --workers, requests/s: 0.68 → 6.83",
        "keepalive, reuseport / node cluster rr, requests/s: 2.98 → 29.81",
    ]


def test_less_is_better_where_it_is(old: Results, new: Results) -> None:
    scale(of(new, "node cluster rr"), "cpu", 0.1)
    [line, *_] = changes(old, new)
    assert line == "keepalive, node cluster rr, CPU a request: 351.0 → 35.1 µs, better"


def test_who_fails_now_and_who_failed_before(old: Results, new: Results) -> None:
    of(new, "reuseport").rounds = [Outcome(0, error="RuntimeError")]
    of(old, "node cluster rr").rounds = [Outcome(0, error="RuntimeError")]
    told = list(changes(old, new))
    assert told == ["keepalive, reuseport: fails now", "keepalive, node cluster rr: failed before"]


def test_few_rounds_do_not_tell_what_is_noise(old: Results, new: Results) -> None:
    del of(new, "reuseport").rounds[0]
    scale(of(new, "reuseport"), "rate", 100.0)
    assert list(changes(old, new)) == ["keepalive: fewer than 3 rounds do not tell what is noise"]


def test_another_machine_another_version_and_another_row_are_named(old: Results, new: Results) -> None:
    new.machine["cores"], new.machine["versions"]["granian"] = 8, "3.0.0"
    new.rows.append(Measured("more", "", "us", [], [], {}))
    assert list(changes(old, new)) == [
        "another machine: cores was 2, is 8",
        "another version: granian was 2.8.7, is 3.0.0",
        "keepalive: nothing beyond noise",
        "more: not in the older result",
    ]
