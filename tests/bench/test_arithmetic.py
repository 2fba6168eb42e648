"""What the comparison makes of figures: of recorded rounds, and of some that are awkward."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from bench.kit.arithmetic import Spread, against, in_words, judged, range_of, spread, verdict
from bench.kit.results import Beside, Claim, Contested, Measured, Metric, Outcome, Results, read, written
from bench.report.page import page
from bench.report.tables import MANY, table
from bench.report.text import aligned, claims, lost, markdown

RECORDED = Path(__file__).parent / "recorded.json"
RATE, LOST = Metric("rate", "requests/s", better="higher"), Metric("lost", "lost", counted=True)


@pytest.fixture
def recorded() -> Results:
    return read(RECORDED)


def contested(name: str, *figures: float | str, metric: str = "rate") -> Contested:
    """A contestant; a word instead of a figure is an error."""
    rounds = [
        Outcome(n, error=one) if isinstance(one, str) else Outcome(n, {metric: one})
        for n, one in enumerate(figures)
    ]
    return Contested(name, "", rounds)


def row(*contestants: Contested, claims: list[Claim] | None = None, metric: Metric = RATE) -> Measured:
    return Measured("row", "about", "us", [metric], claims or [], {}, [], list(contestants))


# ── on recorded data ──────────────────────────────────────────────────────────────────────────────────


def test_a_ratio_is_taken_within_each_round(recorded: Results) -> None:
    keepalive = recorded.of("keepalive")
    assert keepalive is not None
    found = against(keepalive, "reuseport", "shared listener", "rate")
    assert found is not None
    by_hand = [2841.8182 / 8858.0, 2741.7476 / 4617.4757, 1466.9811 / 3243.2692]
    assert (found.middle, found.low, found.high) == pytest.approx(
        (median(by_hand), min(by_hand), max(by_hand)), rel=1e-6
    )
    assert found.count == 3
    # The ratio of the medians is another one: the machine was not the same in all rounds.
    assert found.middle != pytest.approx(2741.7476 / 4617.4757, rel=0.1)


def test_a_ratio_whose_spread_crosses_1_is_no_difference(recorded: Results) -> None:
    keepalive = recorded.of("keepalive")
    assert keepalive is not None
    [one] = judged(keepalive)
    assert (one.verdict, one.found) == ("no difference", "no difference (0.44 to 1.01)")


def test_figures_are_medians_with_their_range(recorded: Results) -> None:
    keepalive = recorded.of("keepalive")
    assert keepalive is not None
    assert range_of(keepalive, "reuseport", "rate") == "2,742 (1,467 to 2,842)"
    assert range_of(keepalive, "reuseport", "cpu") == "117.9 (117.3 to 176.5)"
    mixed = recorded.of("mixed")
    assert mixed is not None
    assert range_of(mixed, "reuseport", "p99") == "8,669 (4,846 to 9,863)"


def test_where_we_lose_is_told(recorded: Results) -> None:
    assert [line for one in recorded.rows for line in lost(one)] == [
        "keepalive, requests/s: shared listener has 2.21 times reuseport's",
        "mixed, p99: shared listener has 0.49 times reuseport's",
        "mixed, p99: uvicorn --workers has 0.27 times reuseport's",
        "mixed, p99: node cluster rr has 0.60 times reuseport's",
    ]
    assert "- mixed, p99: shared listener has 0.49 times reuseport's" in markdown(recorded)


def test_results_are_read_as_they_were_written(recorded: Results, tmp_path: Path) -> None:
    written(recorded, tmp_path / "again.json")
    assert read(tmp_path / "again.json") == recorded
    assert (tmp_path / "again.json").read_text() == RECORDED.read_text()


def test_another_file_is_not_read_as_results(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"form": 0}')
    with pytest.raises(ValueError, match="no result of this version"):
        read(tmp_path / "other.json")


def test_the_page_has_everything_and_needs_nothing_else(recorded: Results) -> None:
    told = page(recorded, {"keepalive": "<svg>a plot</svg>"}, ["keepalive: something changed"])
    for expected in (
        "<svg>a plot</svg>",
        "keepalive: something changed",
        "2,742 (1,467 to 2,842)",
        "mixed: 400/s due on new connections",
        "net.ipv4.tcp_migrate_req",
        "scripts/bench --only mixed",
        "2841.8",
    ):
        assert expected in told
    for elsewhere in ("<script", "<link", "src=", "url(", "@import"):
        assert elsewhere not in told


def test_the_table_for_the_readme_has_each_row_and_who_serves(recorded: Results) -> None:
    told = markdown(recorded).splitlines()
    assert told[0].startswith("2026-11-26, 2 cores (AMD EPYC), Linux 6.18.44, Python 3.11.7, reuseport ")
    assert told[2] == "| row, median | reuseport | shared listener | uvicorn --workers | node cluster rr |"
    assert told[4].startswith("| `keepalive`: hello")
    assert told[4].endswith("| **2,742** | 4,617 | 3,358 | 953 |")


# ── awkward ones ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([], None),
        ([2.0], Spread(2, 2, 2, 1)),
        ([3.0, 1.0], Spread(2, 1, 3, 2)),
        ([9, 1, 2], Spread(2, 1, 9, 3)),
    ],
)
def test_spread(figures: list[float], expected: Spread | None) -> None:
    assert spread(figures) == expected


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "–"),  # noqa: RUF001 - a dash, as in the tables
        (Spread(1.2, 1.2, 1.2, 1), "1.20, one round"),
        (Spread(1.2, 1.1, 1.3, 3), "1.20 (1.10 to 1.30)"),
        (Spread(0.8, 0.7, 0.9, 3), "0.80 (0.70 to 0.90)"),
        (Spread(1.2, 0.9, 1.3, 3), "no difference (0.90 to 1.30)"),
        (Spread(1.2, 1.0, 1.3, 3), "no difference (1.00 to 1.30)"),
    ],
)
def test_ratios_in_words(found: Spread | None, words: str) -> None:
    assert in_words(found) == words


@pytest.mark.parametrize(
    ("found", "claim", "expected"),
    [
        (None, Claim("us", "rate", "it", least=1.5), "not measured"),
        (Spread(1.6, 1.5, 1.7, 3), Claim("us", "rate", "it", least=1.5), "confirmed"),
        (
            Spread(1.6, 1.5, 1.7, 2),
            Claim("us", "rate", "it", least=1.5),
            "confirmed, in too few rounds to tell",
        ),
        (Spread(1.4, 1.3, 1.49, 3), Claim("us", "rate", "it", least=1.5), "refuted"),
        (
            Spread(1.6, 1.4, 1.7, 3),
            Claim("us", "rate", "it", least=1.5),
            "met by the median, but the rounds disagree",
        ),
        (
            Spread(1.4, 1.3, 1.7, 3),
            Claim("us", "rate", "it", least=1.5),
            "missed by the median, but the rounds disagree",
        ),
        (Spread(0.9, 0.8, 1.0, 3), Claim("us", "p99", "it", most=1.0), "confirmed"),
        (Spread(0.9, 0.8, 1.1, 3), Claim("us", "p99", "it", most=1.0), "no difference"),
        (Spread(1.2, 1.1, 1.3, 3), Claim("us", "p99", "it", most=1.0), "refuted"),
        (Spread(0, 0, 0, 3), Claim("us", "lost", most=0.0), "confirmed"),
        (Spread(0, 0, 1, 3), Claim("us", "lost", most=0.0), "met by the median, but the rounds disagree"),
        (Spread(2, 1, 4, 3), Claim("us", "lost", most=0.0), "refuted"),
    ],
)
def test_verdicts(found: Spread | None, claim: Claim, expected: str) -> None:
    assert verdict(found, claim) == expected


def test_only_rounds_that_both_finished_are_compared() -> None:
    one = row(contested("us", 4.0, "RuntimeError: gone", 9.0), contested("it", 2.0, 5.0, 3.0))
    assert against(one, "us", "it", "rate") == Spread(2.5, 2.0, 3.0, 2)
    assert against(one, "us", "nobody", "rate") is None


def test_there_is_no_ratio_to_nothing() -> None:
    assert against(row(contested("us", 4.0), contested("it", 0.0)), "us", "it", "rate") is None


def test_an_error_is_in_every_report_and_never_a_figure() -> None:
    gone = contested("it", "RuntimeError: <died>")
    late = contested("late", 3.0, "TimeoutError: no answer")
    one = row(contested("us", 4.0, 4.0), gone, late)
    given = table(one)
    assert given.lines == [
        ["us", "4", ""],
        ["it", "error", "–"],  # noqa: RUF001 - a dash, as in the tables
        ["late", "3, then an error", "1.33, one round"],
    ]
    assert given.notes == [
        "ERROR it, round 1: RuntimeError: <died>",
        "ERROR late, round 2: TimeoutError: no answer",
    ]
    results = read(RECORDED)
    results.rows = [one]
    assert "ERROR it, round 1: RuntimeError: <died>" in aligned(given)
    assert "ERROR it, round 1: RuntimeError: &lt;died&gt;" in page(results, {}, [])
    # The README's table has room for some, under their names; a median of what was left would be no error.
    for contestant, name in zip(one.contestants, ("reuseport", "granian", "single"), strict=True):
        contestant.name = name
    one.subject = "reuseport"
    assert "| row, median | reuseport | single | granian |" in markdown(results)
    assert "| **4** | error | error |" in markdown(results)


def test_many_metrics_are_lines_each_with_its_ratios() -> None:
    names = [f"m{number}" for number in range(MANY)]
    us, it = (
        Contested(who, "", [Outcome(n, dict.fromkeys(names, figure * (n + 1))) for n in range(2)])
        for who, figure in (("us", 2.0), ("it", 4.0))
    )
    for outcome in it.rounds:
        outcome.figures["m1"] = float("nan")
    gone = contested("gone", "RuntimeError: <died>")
    one = Measured("row", "about", "us", [Metric(name, name) for name in names], [], {}, [], [us, it, gone])
    given = table(one)
    assert given.head == ["(us / it)", "us", "it", "gone"]
    assert given.lines[0] == ["m0", "3", "6 (0.50, 0.50 to 0.50)", "error"]
    assert given.lines[1] == ["m1", "3", "–", "error"]  # noqa: RUF001 - a dash, as in the tables
    assert len(given.lines) == MANY


def test_who_cannot_take_part_is_named_with_the_reason() -> None:
    one = row(contested("us", 4.0))
    one.absent.update({"a": "has no page", "b": "has no page", "c": "has no time"})
    assert table(one).notes == ["not here: a, b: has no page", "not here: c: has no time"]


def test_what_others_measured_stands_beside() -> None:
    one = row(contested("us", 4.0, 6.0), contested("it", 2.0, 2.0))
    one.beside.append(Beside("us", "it", "rate", 4.476, "the article"))
    assert table(one).notes == ["us / it, requests/s: 2.50 (2.00 to 3.00); the article has 4.48"]


def test_counts_have_no_ratio() -> None:
    one = row(contested("us", 0.0, metric="lost"), contested("it", 7.0, metric="lost"), metric=LOST)
    assert table(one).head == ["", "lost"]
    assert list(lost(one)) == []


def test_who_used_the_cores_is_told() -> None:
    busy = Outcome(0, {"rate": 1.0, "client_cores": 0.95, "other_cores": 0.4})
    one = row(Contested("us", "", [busy]), contested("it", 2.0))
    assert table(one).notes == [
        "the load generator used 0.9 cores or more, so it may have been the limit: us",
        "other programs and the kernel used more than 0.15 cores in 1 of 2 measurements, 0.40 at most",
    ]


def test_claims_are_told_in_a_line() -> None:
    results = read(RECORDED)
    results.rows = [
        row(
            contested("us", 4.0, 5.0, 6.0),
            contested("it", 2.0, 2.0, 2.0),
            claims=[Claim("us", "rate", "it", least=1.5), Claim("us", "rate", most=100.0)],
        )
    ]
    assert list(claims(results)) == [
        "row: us / it, requests/s ≥ 1.5: confirmed: 2.50 (2.00 to 3.00)",
        "row: us, requests/s ≤ 100: confirmed: 5 (4 to 6)",
    ]
