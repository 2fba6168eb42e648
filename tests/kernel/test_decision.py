"""The decision against a model of the rule in ten lines, with one real connection for each scoreboard.

BPF_PROG_TEST_RUN would be the shorter way, but up to Linux 6.18 it answers ENOTSUPP for this type
(net/core/filter.c: sk_reuseport_prog_ops is empty). A connection over the loopback interface takes about
100 microseconds.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reuseport.kernel.plan import Policy
from tests.kernel.steered import (
    LONG_AGO,
    NEVER_STALE,
    POLICIES,
    STALE_NS,
    WORDS,
    Board,
    scene,
    skip_without_maps,
)

pytestmark = pytest.mark.usefixtures("allowed", "no_leak")


@pytest.fixture(scope="module")
def allowed() -> None:
    skip_without_maps()


@dataclass(frozen=True)
class Row:
    fence: int
    heartbeat: int
    in_flight: int
    assigned: int
    accepted: int
    desk: int


def choose(rows: Sequence[Row], policy: Policy, start: int) -> int | None:
    live = [i for i, row in enumerate(rows) if not row.fence and row.heartbeat + STALE_NS >= NOW]

    def load(i: int) -> int:
        if policy == "round-robin":
            return 0
        return rows[i].in_flight + max(0, rows[i].assigned - rows[i].accepted)

    return min(live, key=lambda i: (load(i), (i - start) % len(rows)), default=None)


NOW = time.monotonic_ns()
COUNT = st.integers(0, 3) | st.integers(0, 1 << 40)
ROWS = st.builds(
    Row,
    fence=st.sampled_from([0, 0, 0, 1, 7]),
    heartbeat=st.sampled_from([NEVER_STALE, NEVER_STALE, NEVER_STALE, LONG_AGO]),
    in_flight=COUNT,
    assigned=COUNT,
    accepted=COUNT,
    desk=st.integers(0, 1),
)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("slots", [1, 5, 64])
def test_the_program_decides_as_the_model(policy: Policy, slots: int) -> None:
    with scene(slots, policy) as s:
        turn = 0

        @settings(max_examples=100, deadline=None)
        @given(st.lists(st.lists(ROWS, min_size=slots, max_size=slots), min_size=1, max_size=3))
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
    for desk, heartbeat, in_flight, accepted in (
        (row.desk, row.heartbeat, row.in_flight, row.accepted),
        (1 - row.desk, NEVER_STALE, 0, 1 << 50),
    ):
        board.set_desk(slot, WORDS.heartbeat, heartbeat, desk)
        board.set_desk(slot, WORDS.in_flight, in_flight, desk)
        board.set_desk(slot, WORDS.accepted, accepted, desk)


def test_beyond_64_slots_the_better_of_two_wins() -> None:
    with scene(70, "least-loaded") as s:
        for slot in range(0, 70, 2):
            s.board.set_desk(slot, WORDS.in_flight, 1 << 30)
        found = s.groups[0].burst(700)
        loaded = sum(found[slot] for slot in range(0, 70, 2))
        # Both draws loaded: 35/70 * 34/69, about 172 of 700; standard deviation 11.
        assert 90 < loaded < 260
        assert max(found.values()) < 30
