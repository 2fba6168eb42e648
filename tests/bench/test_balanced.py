"""The arithmetic behind the rows about balance, and that nobody is missing from their report."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from bench.balanced import ROWS
from bench.kit.asking import Answer, by_worker, percentile
from bench.kit.quiet import Cores
from bench.rows import blocked, mixed
from bench.rows.mixed import Mixed, quiet_ratios
from bench.rows.pooled import Costs, Pooled, first_workers, load_by_worker
from bench.rows.spread import exact_from
from bench.served.lineup import LEVEL_0, PLAIN, Finding, Trials, ratios, tried
from bench.served.peers import module

QUIET, LOUD = Cores(1.3, 0.0), Cores(1.0, 0.9)


def answer(connection: int, due: float, at: float, pid: int) -> Answer:
    return Answer(connection, "/", due, at, pid)


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_latency_counts_from_when_the_request_was_due() -> None:
    assert answer(1, 10.0, 12.5, 7).latency == 2.5


def test_answers_are_counted_by_worker_the_busiest_first() -> None:
    assert by_worker(answer(n, 0, 1, pid) for n, pid in enumerate([7, 8, 8, 9, 8, 9])) == [3, 2, 1]


@pytest.mark.parametrize(("share", "figure"), [(0.5, 51), (0.99, 100), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_one_of_the_figures(share: float, figure: float) -> None:
    assert percentile(range(100, 0, -1), share) == figure


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no answer"):
        percentile([], 0.99)


def test_a_ratio_is_within_a_round() -> None:
    assert ratios([1.0, 6.0], [2.0, 3.0]) == [0.5, 2.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [2.0, 3.0])


def test_only_rounds_that_were_quiet_for_both_are_compared() -> None:
    ours = [Mixed(quick, 1.0, 100, cores) for quick, cores in [(1.0, QUIET), (9.0, LOUD), (3.0, QUIET)]]
    theirs = [Mixed(quick, 1.0, 100, cores) for quick, cores in [(2.0, QUIET), (1.0, QUIET), (1.0, LOUD)]]
    assert quiet_ratios(ours, theirs) == [0.5]
    assert quiet_ratios(ours, []) == []


def test_mixed_load_is_judged_by_the_median_of_quiet_rounds() -> None:
    def rounds(*quick: float) -> list[Mixed]:
        # The last round is disturbed: however bad it was, nobody is judged by it.
        return [*(Mixed(one, 1.0, 100, QUIET) for one in quick), Mixed(9.0, 1.0, 100, LOUD)]

    trials = Trials(
        {
            "plain": rounds(1.0, 1.0, 1.0),
            "level 0": rounds(0.5, 0.7, 2.0),
            "level 2": rounds(0.5, 0.5, 0.5),
            "master": rounds(0.4, 0.4, 0.4),
        }
    )
    found = {finding.name: finding for finding in mixed.findings(2, trials)}
    assert {name: finding.met for name, finding in found.items()} == {
        "plain, 2 workers": None,
        "level 0, 2 workers": True,
        "level 2, 2 workers": False,
        "master, 2 workers": None,
    }
    assert found["level 0, 2 workers"].short == "p99 700.0 (500.0 to 2000.0) ms"
    assert "1.25 (1.25 to 1.25) of master" in found["level 2, 2 workers"].text
    assert "no quiet round to compare with uvicorn --workers" in found["level 2, 2 workers"].text


def test_the_mean_load_is_time_in_hand() -> None:
    # Over 10 s: worker 7 has one request all the time and another for the last 5 s, worker 8 one for 2 s.
    answers = [
        answer(1, 0.0, 30.0, 7),
        answer(2, 15.0, 20.0, 7),
        answer(3, 18.0, 99.0, 8),
        answer(4, 1, 9, 8),
    ]
    assert load_by_worker(answers, 10.0, 20.0) == {7: 1.5, 8: pytest.approx(0.2)}


def test_the_busiest_is_compared_with_the_mean_of_all_workers() -> None:
    assert Pooled([16], [16.0] + [0.0] * 7, 480.0, 0).busiest == 8.0
    assert Costs([16, 16], [30, 10], [40], 0).fairness == 1.5


def test_connections_are_where_their_first_answer_came_from() -> None:
    assert first_workers(
        [answer(1, 0, 1, 7), answer(2, 0, 1, 7), answer(1, 1, 2, 8), answer(3, 0, 3, 8)]
    ) == [2, 1]


@pytest.mark.parametrize(
    ("busiest", "healed"),
    [([8, 8, 8], 0.0), ([20, 9, 8, 8], 2.0), ([8, 8, 9], None), ([9, 8, 9, 8], 3.0)],
    ids=["always", "soon", "lost at the end", "on and off"],
)
def test_exact_from_is_the_last_time_it_became_exact(busiest: list[int], healed: float | None) -> None:
    assert exact_from([(float(since), most) for since, most in enumerate(busiest)], 8) == healed


# ── loads ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_connections_to_a_blocked_worker_come_before_it_is_free() -> None:
    arrivals = blocked.arrivals()
    assert len(arrivals) == blocked.CONNECTIONS
    assert arrivals[-1][0] < float(blocked.BLOCK.removeprefix("/work/")) / 1e3
    assert len({offset for offset, _ in arrivals}) == blocked.CONNECTIONS / blocked.TOGETHER


def test_mixed_load_is_the_same_for_everybody_in_a_round_and_another_in_the_next() -> None:
    assert mixed.arrivals(1, 2) == mixed.arrivals(1, 2) != mixed.arrivals(2, 2)


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_mixed_load_uses_the_cores_as_said(cores: int) -> None:
    arrivals = mixed.arrivals(3, cores)
    slow = [float(path.removeprefix("/burn/")) for _, path in arrivals if path != "/"]
    assert len(slow) == pytest.approx(mixed.SLOW_SHARE * len(arrivals), abs=1)
    assert min(slow) >= 50
    assert max(slow) <= 200
    assert sum(slow) / 1e3 / mixed.SECONDS / cores == pytest.approx(mixed.USED, rel=0.15)
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(arrivals)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps))


# ── the report ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("met", "word"), [(True, "met"), (False, "MISSED"), (None, "beside")])
def test_a_finding_says_what_became_of_the_promise(met: bool | None, word: str) -> None:
    assert str(Finding("level 2", "a b c", "a", met)) == f"level 2: {word}: a\n    a b c"


def test_a_contestant_that_does_not_start_is_in_the_report() -> None:
    wrong = replace(
        LEVEL_0.contestant, name="wrong", command=lambda _: module("reuseport", "--no-such-option")
    )
    entries = [replace(LEVEL_0, contestant=wrong), PLAIN]
    trials = tried(entries, 2, 1, lambda one, number: (number, len(one.workers())))
    assert trials.results == {"plain": [(0, 1), (1, 1)]}
    [finding] = trials.failures()
    assert (finding.name, finding.met) == ("wrong", False)
    assert "No such option" in finding.text


def test_who_gives_up_later_has_no_results_left() -> None:
    def measure(_: object, number: int) -> int:
        if number == 1:
            raise RuntimeError("not all were answered")
        return number

    trials: Trials[int] = tried([PLAIN], 3, 1, measure)
    assert trials.results == {}
    assert trials.gave_up == {"plain": "round 2: RuntimeError: not all were answered"}


# ── the command ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], f"the rows are {', '.join(row.name for row in ROWS)}"),
        (["--only", "nobody"], "'nobody'"),
    ],
)
def test_a_row_or_contestant_that_does_not_exist_is_refused(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "bench.balanced", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert says in done.stderr
