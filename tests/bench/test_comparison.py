"""How a row is measured, and what `python -m bench` leaves behind, with a tiny row on real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.kit.calibration import Calibration
from bench.kit.comparison import Measure, Pace, Row, Trial, measured
from bench.kit.results import Claim, Measured, Metric
from bench.rows.table import ROWS
from bench.served.field import EVERYBODY, NODE_SINGLE, PLAIN, SHARED, SINGLE, UVICORN
from bench.served.lineup import Entry

ROOT = Path(__file__).parents[2]
RATE = Metric("rate", "requests/s", better="higher")
PLENTY = 300
"""Seconds for a comparison that takes ten, on a loaded machine."""


def through(measure: Measure, entries: Sequence[Entry], rounds: int = 2, **more: Any) -> Measured:
    row = Row("row", "about", (RATE,), measure, tuple(entries), (), **more)
    for so_far, _ in measured(row, entries, Pace(rounds), Calibration()):
        result = so_far
    return result


def test_contestants_take_turns_in_every_round() -> None:
    seen: list[tuple[int, str]] = []

    def measure(trial: Trial) -> Mapping[str, float]:
        seen.append((trial.number, trial.entry.name))
        return {"rate": 1.0}

    through(measure, [SINGLE, SHARED, PLAIN], rounds=2)
    names = [SINGLE.name, SHARED.name, PLAIN.name]
    assert seen == [*((0, name) for name in names), *((1, name) for name in reversed(names))]


@pytest.mark.parametrize("error", [RuntimeError, TimeoutError, ValueError, ImportError, LookupError, OSError])
def test_who_fails_is_an_error_and_keeps_the_rounds_before(error: type[Exception]) -> None:
    def measure(trial: Trial) -> Mapping[str, float]:
        if trial.entry is SHARED and trial.number == 1:
            raise error("it died")
        return {"rate": float(trial.number)}

    result = through(measure, [SINGLE, SHARED], rounds=3)
    one = result.of(SHARED.name)
    assert one is not None
    assert one.figures("rate") == [0.0]
    assert [outcome.error for outcome in one.rounds] == ["", f"{error.__name__}: it died"]
    other = result.of(SINGLE.name)
    assert other is not None
    assert other.figures("rate") == [0.0, 1.0, 2.0]


def test_a_mistake_of_ours_is_nobodys_error() -> None:
    def measure(_: Trial) -> Mapping[str, float]:
        raise AssertionError("a bug")

    with pytest.raises(AssertionError, match="a bug"):
        through(measure, [SINGLE])


def test_a_tool_that_is_missing_is_an_error_of_everybody() -> None:
    result = through(lambda _: {"rate": 1.0}, [SINGLE, SHARED], tools=("no-such-tool",))
    for one in result.contestants:
        assert "no-such-tool is not installed" in one.rounds[0].error


def test_claims_about_who_is_not_here_are_left_out() -> None:
    claims = (Claim(SINGLE.name, "rate", SHARED.name, least=1.0), Claim(SINGLE.name, "rate", most=9.0))
    assert through(lambda _: {"rate": 1.0}, [SINGLE], claims=claims).claims == [claims[1]]


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────────


def test_names_are_unique() -> None:
    for names in ([row.name for row in ROWS], [entry.name for entry in EVERYBODY]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_knows_whom_and_what_it_is_about(row: Row) -> None:
    names = {entry.name for entry in row.entries}
    assert row.entries[0].name == row.quick[0].name == "reuseport"
    assert {entry.name for entry in row.quick} <= names
    assert not names & set(row.absent)
    metrics = {metric.name for metric in row.metrics}
    for claim in row.claims:
        assert {claim.of, claim.to or claim.of} <= names
        assert claim.metric in metrics
        assert claim.goal is not None
    for beside in row.beside:
        assert {beside.of, beside.to} <= names
        assert beside.metric in metrics


# ── the command ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def path_without_node(tmp_path: Path) -> str:
    """What the comparison needs of the machine, and no Node."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in ("wrk", "unshare", "setpriv", "env"):
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"not supported: {program} is missing")
        (programs / program).symlink_to(found)
    return str(programs)


def bench(*arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=PLENTY,
        check=False,
    )


def test_a_tiny_comparison_from_end_to_end(tmp_path: Path, path_without_node: str) -> None:
    own_network = [shutil.which("unshare") or "unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n", "true"]
    if subprocess.run(own_network, check=False).returncode != 0:
        pytest.skip("not supported: the kernel gives no network namespace")
    output = tmp_path / "out"
    who = [argument for entry in (SINGLE, SHARED, NODE_SINGLE) for argument in ("--contestant", entry.name)]
    rows = ("--only", "keepalive", "--only", "cpu")
    done = bench("--quick", *rows, *who, "--output", str(output), path=path_without_node)
    assert done.returncode == 0, done.stderr
    assert "[1/5, " in done.stderr
    assert f"{SHARED.name}  " in done.stdout

    results = json.loads((output / "results.json").read_text())
    assert results["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert results["machine"]["versions"]["node"].startswith("node is not installed")
    assert results["calibration"]["python"] > 0
    keepalive, cpu = results["rows"]
    assert [one["name"] for one in cpu["contestants"]] == [SINGLE.name, SHARED.name]
    single, shared, node = keepalive["contestants"]
    for one in (single, shared, *cpu["contestants"]):
        [outcome] = one["rounds"]
        assert outcome["error"] == ""
        figures = outcome["figures"]
        assert figures["rate"] > 0
        assert 0 < figures["p50"] <= figures["p99"]
        # The kernel's account: time on the cores, shared by the requests.
        assert figures["cpu"] * figures["requests"] == pytest.approx(
            figures["server_cores"] * figures["requests"] / figures["rate"], rel=0.5
        )
    [outcome] = node["rounds"]
    assert outcome["error"].startswith("ImportError: node is not installed")
    page = (output / "report.html").read_text()
    assert "ERROR node single, round 1: ImportError" in page
    assert "`keepalive`" in (output / "table.md").read_text()

    again = bench(
        "--quick", "--only", "cpu", "--contestant", SINGLE.name, "--compare", str(output / "results.json"),
        "--output", str(tmp_path / "again"), path=path_without_node,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "cpu: fewer than 3 rounds do not tell what is noise" in again.stdout
    assert "cpu: fewer than 3 rounds" in (tmp_path / "again" / "report.html").read_text()


def test_each_request_is_a_line_of_the_access_log(tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = bench("--quick", "--only", "logged", "--contestant", UVICORN.name, "--output", str(output))
    assert done.returncode == 0, done.stderr
    [row] = json.loads((output / "results.json").read_text())["rows"]
    [uvicorn] = row["contestants"]
    # A line that was missing would be an error, and no figure.
    assert [outcome["error"] for outcome in uvicorn["rounds"]] == [""]
    assert uvicorn["rounds"][0]["figures"]["requests"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "nothing"], "the rows are keepalive, logged, connect, apart,"),
        (["--contestant", "nobody"], "no contestant nobody"),
        (["--rounds", "0"], "--rounds is 1 at least"),
        (["--compare", "/nowhere/old.json"], "/nowhere/old.json"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: list[str], says: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_list_names_every_row_and_everybody() -> None:
    done = bench("--list")
    assert done.returncode == 0
    for row in ROWS:
        assert f"\n{row.name}: {row.about}\n" in f"\n{done.stdout}"
    for entry in EVERYBODY:
        assert entry.name in done.stdout
