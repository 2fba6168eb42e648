"""What must run once runs in one worker of a real server, whatever becomes of that one, and never in two."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import signal
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from reuseport.messages import Holds, LimitReached
from reuseport.packets import encode
from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import settled, wait_until
from tests.whole.test_lies import lie

pytestmark = pytest.mark.alone
MOST = 1.0
"""Seconds in which somebody else has it."""


@dataclass
class Play:
    server: Launched
    control: Control

    def begins(self) -> tuple[int, int, float]:
        """The next who begins: slot, pid, when."""
        found = self.server.wait_for(r"begins in slot (\d+), pid (\d+), at (\S+)")
        return int(found[1]), int(found[2]), float(found[3])

    def ends(self) -> float:
        return float(self.server.wait_for(r"ends in slot \d+, pid \d+, at (\S+)")[1])

    def holders(self) -> list[dict[str, Any]]:
        """Whom the status names."""
        code, body = self.control.ask("GET", "/api/v1/status")
        assert code == 200
        told: list[dict[str, Any]] = json.loads(body)["only_one"]
        return told

    def shown(self, slot: int, pid: int) -> bool:
        return self.holders() == [{"name": "scheduler", "slot": slot, "pid": pid}]


@pytest.fixture
def play(launch: Launch, tmp_path: Path, request: pytest.FixtureRequest) -> Play:
    """Two workers, or with what a test says beside."""
    arguments, env = getattr(request, "param", ((), {}))
    env = {"TEST_WITNESS": str(tmp_path / "witness"), **env}
    server = launch("single:app", "--workers", "2", *arguments, env=env)
    server.wait_for_first("all 2 workers are ready")
    return Play(server, Control(server))


def killed(pid: int) -> float:
    """Kill it; when it was gone."""
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([pidfd], [], [], PATIENCE)
    os.close(pidfd)
    return time.monotonic()


EXECUTED: tuple[tuple[str, ...], dict[str, str]] = ((), {})
FORKED: tuple[tuple[str, ...], dict[str, str]] = (("--mold", "--loop", "asyncio"), {})


@pytest.mark.parametrize("play", [EXECUTED, FORKED], indirect=True, ids=["executed", "forked"])
def test_another_one_has_it_within_a_second_when_the_holder_is_killed(play: Play) -> None:
    slot, pid, _ = play.begins()
    wait_until(lambda: play.shown(slot, pid), play.holders)
    took = []
    for _ in range(3):
        gone = killed(pid)
        slot, pid, began = play.begins()
        took.append(began - gone)
        play.server.wait_for(r"is ready \(generation 1, .* reason: crash\)")
    wait_until(lambda: play.shown(slot, pid), play.holders)
    # Not the slowest: this machine may have other things to do for a second, too.
    assert statistics.median(took) < MOST, took
    assert play.server.stop() == 0
    assert play.server.count("two at once") == 0
    assert play.server.count("Traceback") == 0


def test_a_reload_moves_it_to_whoever_stays(play: Play) -> None:
    play.begins()
    for generation in (2, 3):
        play.server.signal(signal.SIGHUP)
        play.server.wait_for_first(f"generation {generation} serves in every slot")
        settled(play.server, 2)
        # Those who stay have it in the end, though one that was still to be replaced may have had it first.
        wait_until(lambda: {one["pid"] for one in play.holders()} <= {*play.server.workers().values()})
    wait_until(lambda: len(play.holders()) == 1)
    moments = re.findall(r"(begins|ends) in slot .*, at (\S+)", play.server.output)
    took = [
        float(began) - float(ended)
        for (end, ended), (begin, began) in itertools.pairwise(moments)
        if (end, begin) == ("ends", "begins")
    ]
    assert len(took) >= 2
    assert statistics.median(took) < MOST, took
    assert play.server.stop() == 0
    assert play.server.count("two at once") == 0
    assert play.server.count("Traceback") == 0


def test_a_drained_slot_gives_it_to_the_other_one(play: Play) -> None:
    slot, _, _ = play.begins()
    assert play.control.ask("POST", f"/api/v1/slots/{slot}/drain")[0] == 202
    ended = play.ends()
    other, _, began = play.begins()
    assert other != slot
    assert began - ended < MOST


@pytest.mark.parametrize("play", [((), {"TEST_DEAF": "1"})], indirect=True)
def test_who_drains_and_does_not_leave_keeps_it_to_the_end(play: Play) -> None:
    slot, pid, _ = play.begins()
    assert play.control.ask("POST", f"/api/v1/slots/{slot}/drain")[0] == 202
    assert play.begins()[0] != slot
    play.server.wait_for_first(rf"worker in slot {slot} \(pid {pid}\) exited cleanly")
    lines = play.server.lines
    shut, begun = (
        next(i for i, line in enumerate(lines) if re.search(sign, line))
        for sign in (rf"slot {slot}: Waiting for application shutdown", rf"begins in slot {1 - slot}")
    )
    assert shut < begun, "until then it was in use"
    assert play.server.count("two at once") == 0


def test_a_child_of_the_holder_that_lives_on_does_not_hold_it(play: Play) -> None:
    _, pid, _ = play.begins()
    told: dict[str, Any] = {}

    def forked() -> bool:
        told.update(httpx.get(f"{play.server.url}/fork", timeout=PATIENCE).json())
        return "child" in told

    wait_until(forked)
    try:
        os.kill(pid, signal.SIGKILL)
        assert play.begins()[1] != pid
        os.kill(told["child"], 0)
    finally:
        os.kill(told["child"], signal.SIGKILL)


@pytest.mark.parametrize("play", [((), {"TEST_RESTLESS": "1"})], indirect=True)
def test_who_comes_and_goes_ten_thousand_times_a_second_is_not_condemned_for_it(play: Play) -> None:
    seen = set()

    def flickers() -> bool:
        seen.add(len(play.holders()))
        return seen >= {0, 1}

    wait_until(flickers)
    assert play.server.stop() == 0
    assert play.server.count("condemned|violat|Traceback") == 0


def test_who_says_that_it_holds_what_nobody_holds_is_not_believed(launch: Launch) -> None:
    server = launch("liar:app", "--workers", "1", "--lifespan", "off").ready(1)
    control = Control(server)
    lie(server, encode(Holds(("ghost", "x" * 9999, "\x1b[2J"))))
    lie(server, encode(LimitReached(1)))
    server.wait_for("will be recycled")  # it has heard both, and the liar lives
    code, body = control.ask("GET", "/api/v1/status")
    assert (code, json.loads(body)["only_one"]) == (200, [])
    server.wait_for("reason: max_requests")
    lie(server, b'{"kind": "Holds", "names": [7]}')
    server.wait_for("Holds.names is")
