"""The model against what is known of queues, against rules by hand, and against a recorded measurement."""

from __future__ import annotations

import heapq
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.report.simulated import told
from bench.served.field import HASH
from bench.simulation import pooling, queueing
from bench.simulation.load import load, paths, rate
from bench.simulation.measuring import Measurements
from bench.simulation.pooling import Pool, pooled
from bench.simulation.queueing import Floats, Hall, Mode, Worker, latencies, served_in_turn
from bench.simulation.study import (
    HYPOTHETICAL,
    SIMULATED,
    Point,
    breaks_down,
    calibrated,
    checked,
    herds,
    kept,
    one_checked,
    scaled,
)

RECORDED = Path(__file__).parent / "recorded-simulation.json"
PLAIN = Worker(overhead=0.0, ahead=0)
EVERY = [*SIMULATED.values(), *HYPOTHETICAL]
every_mode = pytest.mark.parametrize("mode", EVERY, ids=lambda mode: mode.name)


def exponential(count: int, between: float, lasting: float, seed: int = 1) -> tuple[Floats, Floats]:
    chance = np.random.default_rng(seed)
    return np.cumsum(chance.exponential(between, count)), chance.exponential(lasting, count)


def run(mode: Mode, workers: int, arrivals: Floats, works: Floats, worker: Worker = PLAIN) -> Floats:
    one: Floats = latencies(mode, workers, arrivals, works, worker)[0]
    return one


# ── against theory ────────────────────────────────────────────────────────────────────────────────────


@every_mode
def test_everybody_is_served_and_nobody_sooner_than_the_work_takes(mode: Mode) -> None:
    given = load(8, 0.8, 1000, 1)
    found = run(mode, 8, given.arrivals, given.works, Worker())
    assert np.isfinite(found).all()
    assert (found >= given.works + Worker().overhead - 1e-9).all()


@every_mode
def test_one_worker_is_one_queue_whatever_the_mode(mode: Mode) -> None:
    arrivals, works = exponential(1000, 0.010, 0.008)
    ends = np.empty(len(arrivals))
    free = 0.0
    for job, (at, work) in enumerate(zip(arrivals, works, strict=True)):
        free = max(free, at) + work
        ends[job] = free
    assert run(mode, 1, arrivals, works) == pytest.approx(ends - arrivals)


def test_one_queue_for_all_is_the_textbooks() -> None:
    # Erlang's C for 4 servers, 0.7 of their time used: a request waits with probability 0.429, and
    # 1 / (4/s - 2.8/s) on average if it does; it is served in 1 s.
    arrivals, works = exponential(30_000, 1 / 2.8, 1.0, seed=5)
    found = run(SIMULATED["shared listener"], 4, arrivals, works)
    assert found.mean() == pytest.approx(1.0 + 0.429 / 1.2, rel=0.05)


def test_a_queue_of_ones_own_is_the_textbooks_too() -> None:
    # By the hash each of 4 workers is a queue with 0.7 of its time used: 1 / (1/s - 0.7/s).
    arrivals, works = exponential(30_000, 1 / 2.8, 1.0, seed=5)
    found = run(SIMULATED["plain SO_REUSEPORT"], 4, arrivals, works)
    assert found.mean() == pytest.approx(1 / 0.3, rel=0.15)


@pytest.mark.parametrize("workers", [2, 5])
def test_one_queue_for_all_is_whoever_is_free_first(workers: int) -> None:
    arrivals, works = exponential(2000, 0.010 / workers, 0.008)
    free = [0.0] * workers
    expected = []
    for at, work in zip(arrivals, works, strict=True):
        end = max(at, heapq.heappop(free)) + work
        heapq.heappush(free, end)
        expected.append(end - at)
    assert run(SIMULATED["shared listener"], workers, arrivals, works) == pytest.approx(np.array(expected))


def test_a_single_server_lets_one_pass_after_the_other() -> None:
    arrivals = np.array([0.0, 0.1, 0.1, 5.0])
    assert served_in_turn(arrivals, 1.0) == pytest.approx(np.array([1.0, 2.0, 3.0, 6.0]))
    assert served_in_turn(arrivals, 0.0) is arrivals


# ── rules by hand ─────────────────────────────────────────────────────────────────────────────────────

BLOCK = 1.0
ONE_BLOCKED = (np.array([0.0, *(0.1 + 0.01 * n for n in range(8))]), np.array([BLOCK, *[0.0] * 8]))
"""A request that blocks the first worker, and quick ones while it does."""


def held_up(mode: Mode, workers: int = 2, worker: Worker = PLAIN) -> int:
    """How many of the quick ones waited for the end of the block."""
    found = run(mode, workers, *ONE_BLOCKED, worker)
    return int((found[1:] > 0.5).sum())


def test_turns_give_a_blocked_worker_its_share_all_the_same() -> None:
    assert held_up(SIMULATED["blind master"]) == 4


def test_a_blocked_worker_holds_one_that_it_knows_nothing_of() -> None:
    assert held_up(SIMULATED["master"]) == 1


@pytest.mark.parametrize("name", ["shared listener", "reuseport", "reuseport round-robin"])
def test_nobody_is_held_up_where_who_is_blocked_is_passed_over(name: str) -> None:
    assert held_up(SIMULATED[name]) == 0


def test_who_waits_at_a_blocked_worker_is_relieved() -> None:
    found = run(replace(SIMULATED["reuseport hash"], stealing=False), 2, *ONE_BLOCKED)
    relieved = found[found > 1e-9][1:]
    assert len(relieved) > 0
    assert relieved == pytest.approx(np.full(len(relieved), PLAIN.relief))


def test_who_waits_at_a_blocked_worker_is_stolen_by_one_that_waits_too() -> None:
    assert run(SIMULATED["reuseport hash"], 2, *ONE_BLOCKED)[1:] == pytest.approx(np.zeros(8))
    # One that was free a moment ago may be free again in a moment.
    arrivals, works = np.full(20, 0.0), np.array([BLOCK] * 1 + [0.0] * 19)
    arrivals[1:] += PLAIN.patience / 2
    found = run(SIMULATED["reuseport hash"], 2, arrivals, works)[1:]
    assert set(found.round(9)) == {0.0, round(PLAIN.patience / 2, 9)}


def test_a_worker_that_becomes_idle_takes_who_has_waited_longest() -> None:
    # The first one is done before the second, and each has somebody waiting.
    hall = Hall(SIMULATED["reuseport hash"], 2, PLAIN, np.array([0.0, 0.0, 0.1, 0.2]), np.zeros(4), 1)
    hall.turned[:] = 0.0
    for owner, job in ((1, 2), (0, 3)):
        hall.rule._put(owner, job, 0.2)  # type: ignore[attr-defined]
    assert [hall.rule.first(0, 0.3), hall.rule.first(0, 0.3), hall.rule.first(0, 0.3)] == [2, 3, None]
    assert hall.load.tolist() == [2, 0]


def test_only_so_many_siblings_are_looked_after() -> None:
    lonely = replace(PLAIN, near=1)
    hall = Hall(SIMULATED["reuseport hash"], 3, lonely, np.zeros(1), np.zeros(1), 1)
    hall.turned[:] = 0.0
    hall.rule._put(2, 0, 0.0)  # type: ignore[attr-defined]
    assert hall.rule.first(0, 1.0) is None
    assert hall.rule.first(1, 1.0) == 0


def test_nobody_is_relieved_of_what_is_accepted_already() -> None:
    # Three come while the first of them is being served; one of them has been accepted ahead.
    arrivals, works = np.array([0.0, 0.0, 0.0, 0.0]), np.array([BLOCK, BLOCK, 0.0, 0.0])
    given = Hall(SIMULATED["reuseport hash"], 1, replace(PLAIN, ahead=2), arrivals, works, 1)
    assert given.run() == pytest.approx(np.array([1.0, 2.0, 2.0, 2.0]))


def test_least_loaded_counts_what_is_on_its_way_and_takes_turns() -> None:
    mode = SIMULATED["reuseport"]
    burst = np.zeros(400)
    hall = Hall(mode, 8, PLAIN, burst, np.full(400, 0.001), 1)
    for job in range(400):
        hall.rule.place(job, 0.0)
    assert hall.load.tolist() == [50] * 8


def test_who_is_late_comes_after_who_has_more_to_do() -> None:
    mode = replace(SIMULATED["reuseport"], stealing=False)
    hall = Hall(mode, 2, PLAIN, np.zeros(4), np.array([BLOCK, 0.0, 0.0, 0.0]), 1)
    hall.rule.place(0, 0.0)
    late = int(hall.load.argmax())
    hall.load[1 - late] += 5
    hall.rule.place(1, PLAIN.late)
    assert hall.load[late] == 2
    hall.rule.place(2, PLAIN.late * 1.1)
    assert hall.load[late] == 2


def test_beyond_64_workers_two_are_compared() -> None:
    arrivals, works = np.zeros(65), np.full(65, 1.0)
    unrelieved = replace(SIMULATED["reuseport"], relieved=False)
    assert run(unrelieved, 65, arrivals, works).max() == 2.0  # somebody met one that was busy already
    exact = next(mode for mode in HYPOTHETICAL if mode.rule is queueing.Exact)
    assert run(exact, 65, arrivals, works).max() == pytest.approx(1.0)
    assert run(SIMULATED["reuseport"], 64, arrivals[:64], works[:64]).max() == pytest.approx(1.0)


def test_a_master_that_costs_too_much_is_the_bottleneck() -> None:
    arrivals, works = np.arange(1000) * 0.001, np.zeros(1000)
    slow = replace(SIMULATED["master"], serial=0.002)
    assert run(slow, 512, arrivals, works)[-1] == pytest.approx(1.0, rel=0.01)


# ── kept connections ──────────────────────────────────────────────────────────────────────────────────


def test_the_pass_over_a_window_is_the_recursion() -> None:
    chance = np.random.default_rng(3)
    asked, places = chance.poisson(20, 12), np.arange(12) % 3
    backlog: Floats = np.array([0.0, 0.05, 1.0])
    waits, left, come = pooling.window(asked, places, backlog, 0.01, np.random.default_rng(4))
    again = np.random.default_rng(4)
    workers = np.repeat(places, asked)
    times = again.uniform(0, pooling.WINDOW, len(workers))
    for worker in range(3):
        free, expected = float(backlog[worker]), []
        for at in np.sort(times[workers == worker]):
            free = max(free, at) + 0.01
            expected.append(free - at)
        start = int((workers < worker).sum())
        assert waits[start : start + len(expected)] == pytest.approx(np.array(expected))
        assert left[worker] == pytest.approx(max(0.0, free - pooling.WINDOW))
        assert come[worker] == pytest.approx(0.01 * len(expected))


def test_a_window_without_requests_lets_the_backlog_shrink() -> None:
    nothing = np.zeros(2, dtype=np.int64)
    chance = np.random.default_rng(1)
    _, left, _ = pooling.window(nothing, np.array([0, 1]), np.array([1.0, 0.1]), 0.01, chance)
    assert left == pytest.approx(np.array([1.0 - pooling.WINDOW, 0.0]))


def test_rebalancing_evens_out_what_landed_badly() -> None:
    pool = Pool(seconds=20.0)
    stays = pooled(pool, 8, pooling.from_one_listener, 1, rebalanced=False)
    moves = pooled(pool, 8, pooling.from_one_listener, 1, rebalanced=True)
    assert stays.busiest > 2.5
    assert moves.busiest < 1.3
    assert moves.p99 < stays.p99 / 10
    assert stays.moves == 0 < moves.moves


def test_even_connections_are_left_alone() -> None:
    even = pooled(Pool(sigma=0.0, seconds=20.0), 8, pooling.in_turn, 1, rebalanced=True)
    assert even.busiest == pytest.approx(1.0, abs=0.1)
    assert even.moves < 1.0


@pytest.mark.parametrize(
    "landing", [pooling.by_hash, pooling.in_turn, pooling.of_two, pooling.from_one_listener]
)
def test_everybody_lands_somewhere(landing: pooling.Landing) -> None:
    places = landing(1000, 16, np.random.default_rng(1))
    assert len(places) == 1000
    assert set(places) <= set(range(16))


# ── the load ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_load_uses_the_workers_as_said_and_is_asked_for_as_simulated() -> None:
    given = load(4, 0.6, 40_000, 1)
    assert given.works.sum() / given.arrivals[-1] == pytest.approx(4 * 0.6, rel=0.05)
    assert len(given.arrivals) / given.arrivals[-1] == pytest.approx(rate(4, 0.6), rel=0.03)
    asked = paths(given)
    for (at, path), arrival, work in list(zip(asked, given.arrivals, given.works, strict=True))[:200]:
        assert at == arrival
        assert (float(path.removeprefix("/block/")) / 1e3 if work else path) == (
            pytest.approx(work) if work else "/"
        )


# ── recorded ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def recorded() -> Measurements:
    return Measurements(**json.loads(RECORDED.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def worker(recorded: Measurements) -> Worker:
    return calibrated(recorded)


def test_the_model_is_like_what_was_measured(recorded: Measurements, worker: Worker) -> None:
    found = checked(recorded, worker)
    assert {one.name for one in found if one.workers == 8} == set(SIMULATED)
    errors = sorted(one.error for one in found if one.workers == 8)
    assert errors[len(errors) // 2] < 0.35
    assert errors[-1] < 0.9


def test_a_worse_model_is_seen_to_be_worse(recorded: Measurements, worker: Worker) -> None:
    good = one_checked(recorded, worker, 8, HASH.name)
    without_stealing = one_checked(recorded, replace(worker, patience=10.0), 8, HASH.name)
    assert without_stealing.error > 2 * good.error


def test_a_herd_is_what_workers_cost_beyond_where_they_share_nothing() -> None:
    found = Measurements()
    found.cost = {
        "plain SO_REUSEPORT": {"2": 102e-6, "8": 108e-6, "32": 132e-6},
        "shared listener": {"2": 110e-6, "8": 140e-6, "32": 260e-6},
        "reuseport": {"2": 102e-6, "8": 108e-6, "32": 132e-6},
    }
    assert {one.name: one.more for one in herds(found)} == {
        "shared listener": pytest.approx(4e-6),
        "reuseport": pytest.approx(0.0, abs=1e-12),
    }
    del found.cost["plain SO_REUSEPORT"]
    assert list(herds(found)) == []


def test_the_report_has_all_of_it_and_says_what_failed(recorded: Measurements, worker: Worker) -> None:
    recorded.failures["master on 8 workers"] = "TimeoutError: gone"
    checks = [one_checked(recorded, worker, size, HASH.name) for size in (2, 8)]
    points = list(scaled(recorded, worker, (2,), requests=100))
    pools, grown = list(kept((2,))), list(herds(recorded))
    text = "\n".join(told(recorded, worker, checks, points, pools, grown, "2026-11-26"))
    assert "- ERROR master on 8 workers: TimeoutError: gone" in text
    assert f"({HASH.name})" in text
    assert f"off by {checks[1].error:.0%} in the median" in text
    for mode in EVERY:
        assert f"| {mode.name} |" in text
    assert "| one listener, rebalanced |" in text


def test_the_scale_has_every_mode_and_says_where_it_breaks(recorded: Measurements) -> None:
    points = list(scaled(recorded, Worker(), (2, 8), requests=300))
    assert len(points) == 2 * 3 * len(EVERY)
    made_up = [Point("shared queue", 2, 0.6, 0.1), Point("shared queue", 8, 0.6, 0.001)]
    made_up += [Point("shared queue", 16, 0.6, 0.001), Point("hash", 16, 0.6, 0.15)]
    made_up += [Point("hash", 2, 0.6, 0.15), Point("hash", 8, 0.6, 0.15), Point("reuseport", 8, 0.6, 0.009)]
    assert breaks_down(made_up, "hash", 0.6) == 8
    assert breaks_down(made_up, "reuseport", 0.6) is None


def test_kept_connections_are_simulated_both_ways() -> None:
    found = list(kept((2,)))
    assert {(one.landing, one.rebalanced) for one in found} == {
        (landing, rebalanced)
        for landing in ("hash", "in turn, or least-loaded", "two choices", "one listener")
        for rebalanced in (False, True)
    }
