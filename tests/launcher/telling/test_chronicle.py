"""Log line, record and counts are made from one fact."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

from reuseport.history import Kind
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.telling.chronicle import QUIET, Chronicle
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.watching.readings import Readings
from reuseport.scoreboard import Desk, Scoreboard


class Clock:
    """Told to go on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.set = 0.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        """What it shows; somebody sets it."""
        return self.now + self.set


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scoreboard() -> Iterator[Scoreboard]:
    board = Scoreboard.create(2)
    yield board
    board.close()


@pytest.fixture
def chronicle(scoreboard: Scoreboard, clock: Clock) -> Chronicle:
    return Chronicle(Totals(Readings(scoreboard)), clock.wall, clock)


def texts(chronicle: Chronicle, kind: Kind) -> list[str]:
    return [record.text for record in chronicle.history.after(0)[0] if record.kind is kind]


def test_one_source_three_views(chronicle: Chronicle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "reuseport"):
        chronicle.report(reports.reload_done(3))
        chronicle.report(reports.reload_aborted(4, "it broke", 3, 0, 2))
        chronicle.report(reports.backs_off(1, 2.0))
    records, _ = chronicle.history.after(0)
    assert [record.text for record in records] == [line.getMessage() for line in caplog.records]
    assert [record.level.upper() for record in records] == [line.levelname for line in caplog.records]
    assert chronicle.totals.reloads == {"done": 1, "aborted": 1}
    assert chronicle.last_losses == {}
    assert (records[1].generation, records[1].cause) == (4, "it broke")
    assert (records[2].slot, records[2].time) == (1, 1_000_000.0)


def test_spawns_restarts_and_exits_are_counted(chronicle: Chronicle) -> None:
    for number, reason in enumerate((Reason.START, Reason.CRASH, Reason.HANG, Reason.RELOAD)):
        chronicle.spawned(ev.Spawn(number, 1, 0, 1, reason))
    assert chronicle.totals.spawns == {"start": 1, "crash": 1, "hang": 1, "reload": 1}
    assert chronicle.totals.spawned == {1: 4}
    assert chronicle.totals.restarts == {1: 2}
    for status in (0, 3, -signal.SIGKILL, -signal.SIGRTMIN - 1):
        chronicle.gone(status)
    assert chronicle.totals.exits == {"0": 1, "3": 1, "SIGKILL": 1, f"SIG{signal.SIGRTMIN + 1}": 1}
    assert chronicle.last_losses == {}


def test_a_slot_that_blocks_all_the_time_does_not_push_everything_else_out(
    chronicle: Chronicle, clock: Clock
) -> None:
    for _ in range(100):
        chronicle.fostered(0, 1, "stall")
        clock.now += QUIET / 50
    assert len(texts(chronicle, Kind.FOSTERED)) == 2
    chronicle.fostered(1, 0, "stall")
    chronicle.fostered(0, 1, "crash")
    chronicle.fostered(0, 1, "crash")
    assert len(texts(chronicle, Kind.FOSTERED)) == 5, "another slot, and any other cause, is news"
    assert chronicle.totals.fosters == {"crash": 2, "stall": 101, "scale": 0, "drain": 0}


def test_a_clock_that_is_set_back_silences_nothing(chronicle: Chronicle, clock: Clock) -> None:
    chronicle.fostered(0, 1, "stall")
    clock.set = -86_400.0
    clock.now += QUIET
    chronicle.fostered(0, 1, "stall")
    assert len(texts(chronicle, Kind.FOSTERED)) == 2


def test_connections_that_were_passed_on_are_told_once_a_second(
    chronicle: Chronicle, scoreboard: Scoreboard
) -> None:
    chronicle.totals.sit(1, 0)
    desk = scoreboard.desk(1, 0)
    desk[Desk.HANDOFFS_SENT] = 5
    desk[Desk.REBALANCED] = 2
    chronicle.look([0, 1], 100.0)
    desk[Desk.HANDOFFS_SENT] = 6
    chronicle.look([0, 1], 100.5)
    assert texts(chronicle, Kind.HANDOFFS) == ["slot 1 handed 3 connections over, live"]
    assert texts(chronicle, Kind.REBALANCED) == ["slot 1 passed 2 connections on to workers with less to do"]
    del desk
    chronicle.totals.leave(1, 0)
    chronicle.look([0, 1], 101.5)
    assert texts(chronicle, Kind.HANDOFFS)[1:] == ["slot 1 handed 1 connection over, live"]
    chronicle.look([0, 1], 103.0)
    assert len(chronicle.history.after(0)[0]) == 3


def test_connections_of_blocked_siblings_are_told_of_now_and_then_and_all_of_them(
    chronicle: Chronicle, scoreboard: Scoreboard
) -> None:
    chronicle.totals.sit(1, 0)
    for moment in range(1, 11):
        scoreboard.desk(1, 0)[Desk.STOLEN] = moment
        chronicle.look([0, 1], moment * QUIET / 5)
    assert texts(chronicle, Kind.STOLEN) == [
        "slot 1 accepted 1 connection of blocked siblings",
        "slot 1 accepted 5 connections of blocked siblings",
    ]


def test_figures_that_cannot_be_true_are_told_now_and_then(
    chronicle: Chronicle, scoreboard: Scoreboard
) -> None:
    chronicle.totals.sit(1, 0)
    for moment in range(100):
        scoreboard.desk(1, 0)[Desk.HANDOFFS_SENT] = 2**64 - 1 - moment
        chronicle.look([0, 1], moment * QUIET / 50)
    told = [record for record in chronicle.history.after(0)[0] if record.kind is Kind.IMPLAUSIBLE]
    assert [(record.level, record.slot) for record in told] == [("warning", 1)] * 2
    assert "HANDOFFS_SENT the last of" in told[0].text
    assert not texts(chronicle, Kind.HANDOFFS)
