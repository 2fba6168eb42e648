"""The decision against a model of the rule in ten lines, with one real connection for each scoreboard.

BPF_PROG_TEST_RUN would be the shorter way, but up to Linux 6.18 it answers ENOTSUPP for this type
(net/core/filter.c: sk_reuseport_prog_ops is empty). A connection over the loopback interface takes about
100 microseconds.
"""

import enum
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reuseport.kernel.plan import Policy
from tests.kernel.steered import (
    LATE_NS,
    LONG_AGO,
    NEVER_STALE,
    POLICIES,
    WORDS,
    Board,
    scene,
    skip_without_maps,
)

pytestmark = pytest.mark.usefixtures("allowed", "no_leak")


@pytest.fixture(scope="module")
def allowed() -> None:
    skip_without_maps()


class Beat(enum.Enum):
    """A worker's last heartbeat: never, older than both limits, older than the lesser one, just now."""

    NONE = enum.auto()
    STALE = enum.auto()
    SILENT = enum.auto()
    FRESH = enum.auto()

    @property
    def heartbeat(self) -> int:
        match self:
            case Beat.NONE:
                return 0
            case Beat.STALE:
                return LONG_AGO
            case Beat.SILENT:
                return time.monotonic_ns() - 2 * LATE_NS
            case Beat.FRESH:
                return NEVER_STALE


@dataclass(frozen=True)
class Row:
    fence: int
    beat: Beat
    load: int
    assigned: int
    accepted: int
    desk: int


def choose(rows: Sequence[Row], policy: Policy, start: int) -> int | None:
    live = [i for i, row in enumerate(rows) if not row.fence and row.beat is not Beat.NONE]

    def late(row: Row) -> bool:
        return row.beat is Beat.STALE or (row.beat is Beat.SILENT and row.load > 0)

    def load(row: Row) -> int:
        return 0 if policy == "round-robin" else row.load + max(0, row.assigned - row.accepted)

    return min(live, key=lambda i: (late(rows[i]), load(rows[i]), (i - start) % len(rows)), default=None)


# Between the other limit and the machine's age, so that a heartbeat of SILENT cannot become stale, nor one of
# STALE ever have been fresh, however slowly this runs.
STALE_NS = time.monotonic_ns() // 2
COUNT = st.integers(0, 3) | st.integers(0, 1 << 40)


def rows(*beats: Beat) -> st.SearchStrategy[Row]:
    return st.builds(
        Row,
        fence=st.sampled_from([0, 0, 0, 1, 7]),
        beat=st.sampled_from(beats),
        load=COUNT,
        assigned=COUNT,
        accepted=COUNT,
        desk=st.integers(0, 1),
    )


# Of 64 rows hardly ever all are late, unless there are boards without any other.
MIXED, LATE = rows(*Beat, Beat.FRESH, Beat.FRESH), rows(Beat.NONE, Beat.STALE)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("slots", [1, 5, 64])
def test_the_program_decides_as_the_model(policy: Policy, slots: int) -> None:
    boards = st.sampled_from([MIXED, MIXED, LATE]).flatmap(
        lambda row: st.lists(row, min_size=slots, max_size=slots)
    )
    with scene(slots, policy, stale_ns=STALE_NS) as s:
        turn = 0

        @settings(max_examples=100, deadline=None)
        @given(st.lists(boards, min_size=1, max_size=3))
        def decide(boards: list[list[Row]]) -> None:
            nonlocal turn
            for rows in boards:
                for slot, row in enumerate(rows):
                    write(s.board, slot, row)
                expected = choose(rows, policy, turn)
                found = s.groups[0].one()
                assert expected in (found, None)
                turn = (turn + 1 if expected is None else expected + 1) % slots
                for slot, row in enumerate(rows):
                    reserved = row.assigned + (slot == expected)
                    assert s.board.get(slot, WORDS.assigned) == reserved

        decide()


def write(board: Board, slot: int, row: Row) -> None:
    """The desk that does not serve gets what would win if anybody looked at it."""
    board.set(slot, WORDS.fence, row.fence)
    board.set(slot, WORDS.serving_desk, row.desk)
    board.set(slot, WORDS.assigned, row.assigned)
    for desk, heartbeat, load, accepted in (
        (row.desk, row.beat.heartbeat, row.load, row.accepted),
        (1 - row.desk, NEVER_STALE, 0, 1 << 50),
    ):
        board.set_desk(slot, WORDS.heartbeat, heartbeat, desk)
        board.set_desk(slot, WORDS.load, load, desk)
        board.set_desk(slot, WORDS.accepted, accepted, desk)


def test_beyond_64_slots_the_better_of_two_wins() -> None:
    with scene(70, "least-loaded") as s:
        for slot in range(0, 70, 2):
            s.board.set_desk(slot, WORDS.load, 1 << 30)
        found = s.groups[0].burst(700)
        loaded = sum(found[slot] for slot in range(0, 70, 2))
        # Both draws loaded: 35/70 * 34/69, about 172 of 700; standard deviation 11.
        assert 90 < loaded < 260
        assert max(found.values()) < 30


def test_beyond_64_slots_the_late_of_two_loses() -> None:
    with scene(70, "least-loaded") as s:
        for slot in range(0, 70, 2):
            s.board.set_desk(slot, WORDS.heartbeat, LONG_AGO)
            s.board.set_desk(slot + 1, WORDS.load, 1 << 40)
        found = s.groups[0].burst(700)
        # As above.
        assert 90 < sum(found[slot] for slot in range(0, 70, 2)) < 260


def test_beyond_64_slots_being_late_costs_nobody_a_turn() -> None:
    with scene(70, "round-robin") as s:
        for slot in range(0, 70, 2):
            s.board.set_desk(slot, WORDS.heartbeat, LONG_AGO)
        assert s.groups[0].burst(140) == dict.fromkeys(range(70), 2)
