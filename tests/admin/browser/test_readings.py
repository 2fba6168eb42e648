"""From counters to readings, in the browser that will do it."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.admin.browser.told import BUCKETS, Told, slot, status

BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


def read(page: Page, statuses: list[Told]) -> Any:
    """What is read from the last of them: {"total": …, "slots": {number: …}}."""
    return page.evaluate(
        """async (statuses) => {
            const { Readings } = await import("/page/readings.js");
            const readings = new Readings();
            const read = statuses.map((status) => readings.take(status)).at(-1);
            return { total: read.total, slots: Object.fromEntries(read.slots) };
        }""",
        statuses,
    )


def quantile(page: Page, counts: list[int], share: float) -> float | None:
    value: float | None = page.evaluate(
        "async ([counts, q]) => (await import('/page/readings.js')).quantile(counts, q)", [counts, share]
    )
    return value


def counted(**buckets: int) -> list[int]:
    """`counted(b3=7)`: seven in bucket 3."""
    return [buckets.get(f"b{number}", 0) for number in range(BUCKETS)]


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        (counted(), 0.5, None),
        (counted(b0=10), 0.5, 0.0025),
        (counted(b2=10), 0.5, 0.0175),
        (counted(b2=10), 1.0, 0.025),
        (counted(b0=50, b5=50), 0.5, 0.005),
        (counted(b0=50, b5=50), 0.75, 0.0875),
        (counted(b14=1), 0.5, math.inf),
        (counted(b0=99, b14=1), 0.99, 0.005),
        (counted(b0=98, b14=2), 0.99, math.inf),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    modules: Page, counts: list[int], share: float, expected: float | None
) -> None:
    assert quantile(modules, counts, share) == (expected if expected is None else pytest.approx(expected))


def test_a_quantile_lies_in_the_bucket_that_holds_it(modules: Page) -> None:
    counts = [3, 0, 9, 1, 1, 4, 0, 0, 7, 2, 0, 0, 1, 5, 2]
    for percent in range(1, 101):
        value = quantile(modules, counts, percent / 100)
        reached = next(
            number
            for number, total in enumerate(accumulate(counts))
            if total >= sum(counts) * percent / 100 - 1e-9
        )
        assert value is not None
        assert value >= (BOUNDS[reached - 1] if reached else 0)
        assert value <= (BOUNDS[reached] if reached < len(BOUNDS) else math.inf)


def test_one_status_alone_has_no_rate(modules: Page) -> None:
    total = read(modules, [status([slot(0, requests=500)])])["total"]
    assert total["rate"] is None
    assert total["p50"] is None


def test_rates_are_of_five_seconds_and_percentiles_of_ten(modules: Page) -> None:
    def at(second: int) -> Told:
        # 10 a second at first, 20 in the last five seconds; slow ones until then, quick ones now.
        requests = 10 * second + 10 * max(0, second - 15)
        slow, quick = min(second, 15), max(0, second - 15)
        return status(
            [slot(0, requests=requests, cpu=0.5 * second, durations={"counts": counted(b2=quick, b9=slow)})],
            now=2000.0 + second,
        )

    total = read(modules, [at(second) for second in range(21)])["total"]
    assert total["rate"] == pytest.approx(20)
    assert total["cpu"] == pytest.approx(0.5)
    assert total["durations"] == counted(b2=5, b9=5)
    assert total["moment"]["rate"] == pytest.approx(20)


def test_a_counter_that_runs_backwards_is_no_rate(modules: Page) -> None:
    reading = read(
        modules,
        [
            status([slot(0, requests=900), slot(1, requests=0)]),
            status([slot(0, requests=3), slot(1, requests=7)], now=2001.0),
        ],
    )
    assert reading["slots"]["0"]["rate"] is None
    assert reading["total"]["rate"] == pytest.approx(7)


def test_a_slot_that_comes_and_one_that_goes(modules: Page) -> None:
    reading = read(
        modules,
        [
            status([slot(0, requests=10), slot(1, requests=1000)]),
            status([slot(0, requests=20), slot(2, requests=5)], now=2001.0),
        ],
    )
    assert reading["slots"].keys() == {"0", "2"}
    assert reading["slots"]["2"]["rate"] is None
    assert reading["total"]["rate"] == pytest.approx(10)


def test_what_a_dead_worker_left_is_no_lag(modules: Page) -> None:
    total = read(modules, [status([slot(0, lag=0.002), slot(1, pid=None, state="backoff", lag=9.0)])])[
        "total"
    ]
    assert (total["lag"], total["lagSlot"]) == (0.002, 0)


def test_memory_is_summed_over_those_that_have_some(modules: Page) -> None:
    total = read(modules, [status([slot(0, rss=10), slot(1, rss=None, pss=None), slot(2, rss=5)])])["total"]
    assert total["rss"] == 15
