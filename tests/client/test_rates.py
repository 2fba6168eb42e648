"""Rates and percentiles between two looks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.client.rates import between, quantile
from reuseport.scoreboard import DURATION_BOUNDS
from tests.admin.statuses import slot_status, status

BUCKETS = len(DURATION_BOUNDS) + 1


def counts(*pairs: tuple[int, int]) -> list[int]:
    made = [0] * BUCKETS
    for bucket, count in pairs:
        made[bucket] = count
    return made


def test_rates_are_those_of_the_time_between() -> None:
    early = status([slot_status(0, requests=100, cpu=5.0, durations={"counts": counts((0, 90)), "sum": 1.0})])
    late = status(
        [
            slot_status(
                0, requests=150, cpu=5.25, durations={"counts": counts((0, 90), (2, 50)), "sum": 2.0}
            ),
            slot_status(1),
        ],
        now=early["now"] - 3600.0,  # somebody has set the clock back
        uptime=early["uptime"] + 0.5,
    )
    rates = between(early, late)
    assert list(rates) == [0]
    assert (rates[0].requests, rates[0].cpu) == (100.0, 50.0)
    assert rates[0].p99 == pytest.approx(0.01 + 0.015 * 0.99)


def test_without_time_or_responses_there_is_nothing_to_tell() -> None:
    now = status(1)
    assert between(now, now) == {}
    assert between(now, status(1, uptime=now["uptime"] + 1))[0].p99 is None


@given(st.lists(st.integers(0, 1000), min_size=BUCKETS, max_size=BUCKETS), st.floats(0.01, 1.0))
def test_a_quantile_is_in_the_bucket_that_holds_it(given_counts: list[int], share: float) -> None:
    found = quantile(given_counts, share)
    total = sum(given_counts)
    if found is None:
        assert total == 0
        return
    upper = next((bound for bound in DURATION_BOUNDS if bound >= found), math.inf)
    below = sum(count for count, bound in zip(given_counts, DURATION_BOUNDS, strict=False) if bound < found)
    within = sum(
        count
        for count, bound in zip(given_counts, [*DURATION_BOUNDS, math.inf], strict=True)
        if bound <= upper
    )
    assert below <= total * share + 1e-6
    assert within >= total * share - 1e-6
