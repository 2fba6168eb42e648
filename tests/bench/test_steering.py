"""The bench of the steering program: what it counts are connections, and it says what it lacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.steering import BATCH, POLICIES, load, plan, rig
from reuseport.kernel.plan import Policy
from tests.kernel.steered import counting, skip_without_maps


@pytest.fixture(autouse=True)
def allowed() -> None:
    skip_without_maps()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("slots", [8, 64])
def test_each_connection_is_one_run(slots: int, policy: Policy) -> None:
    with counting(), rig(plan(slots, policy)) as one:
        cost = one.run(2 * BATCH + 1)
        assert cost.runs == 2 * BATCH + 1
        assert cost.nanoseconds > 0
        assert one.run(1).runs == 1


def test_loading_is_timed_and_measured() -> None:
    few, many = load(plan(8, "least-loaded")), load(plan(64, "least-loaded"))
    assert few[0] > 0 < many[0]
    assert few[1] < many[1]


def test_without_the_capability_it_says_so_after_what_it_could_measure() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("not supported: setpriv(1) is missing")
    only = ("setpriv", "--bounding-set=-all,+bpf", "--inh-caps=-all,+bpf", "--ambient-caps=-all")
    done = subprocess.run(
        [*only, sys.executable, "-m", "bench.steering", "--rounds", "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "round-robin, 64 slots" in done.stdout
    assert "ns per SYN" not in done.stdout
    assert done.stderr == "what a run costs is told to CAP_SYS_ADMIN only: run as root\n"
