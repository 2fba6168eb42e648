"""The launcher's own sums: what is gone and what lives, whatever stands on the scoreboard."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.watching.readings import Readings
from reuseport.scoreboard import COUNTERS, DESKS, ROW_WORDS, Desk, Scoreboard

SLOTS = 3
LARGEST = 2**64 - 1

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["count", "count", "leave"]),
        st.integers(0, SLOTS - 1),
        st.integers(0, DESKS - 1),
        st.sampled_from(COUNTERS),
        st.integers(1, 2**20),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_folding_never_runs_backwards_and_loses_nothing(steps: list[tuple[str, int, int, Desk, int]]) -> None:
    """Workers come, count and go at every desk; the sums are what was counted, at each moment."""
    with contextlib.closing(Scoreboard.create(SLOTS)) as board:
        totals = Totals(Readings(board))
        counted = {(slot, counter): 0 for slot in range(SLOTS) for counter in COUNTERS}
        seated: set[tuple[int, int]] = set()
        for step, slot, desk, counter, count in steps:
            if (slot, desk) not in seated:
                totals.sit(slot, desk)
                seated.add((slot, desk))
            if step == "count":
                board.desk(slot, desk)[counter] += count
                counted[slot, counter] += count
            else:
                totals.leave(slot, desk)
                seated.discard((slot, desk))
            assert {place: totals.one(*place) for place in counted} == counted
            assert {
                (slot, counter): n for slot in range(SLOTS) for counter, n in totals.of(slot).items()
            } == counted
        for slot, desk in seated:
            totals.leave(slot, desk)
        assert {place: totals.one(*place) for place in counted} == counted
        assert all(set(board.desk(slot, desk)) == {0} for slot in range(SLOTS) for desk in range(DESKS))
        assert not totals.readings.doubts


WORDS = (
    st.sampled_from([0, 1, 2**31, 2**53 + 1, 2**63, LARGEST]) | st.integers(0, LARGEST) | st.integers(0, 99)
)
SCRIBBLES = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "leave", "sit"]),
        st.integers(0, DESKS - 1),
        st.integers(0, ROW_WORDS - 1),
        WORDS,
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(SCRIBBLES)
def test_whatever_workers_write_no_sum_raises_or_runs_backwards(
    steps: list[tuple[str, int, int, int]],
) -> None:
    with contextlib.closing(Scoreboard.create(1)) as board:
        totals = Totals(Readings(board))
        last = dict.fromkeys(COUNTERS, 0)
        for step, desk, word, value in steps:
            match step:
                case "write":
                    board.desk(0, desk)[word] = value
                case "leave":
                    totals.leave(0, desk)
                case _:
                    # As the launcher does: whoever sat there is gone.
                    totals.leave(0, desk)
                    totals.sit(0, desk)
            now = dict(totals.of(0))
            assert all(last[counter] <= now[counter] for counter in COUNTERS)
            assert all(now[counter] == totals.one(0, counter) for counter in COUNTERS)
            last = now


def test_two_liars_in_a_row_do_not_end_the_launcher() -> None:
    """The sum of what both wrote would not go into a word."""
    with contextlib.closing(Scoreboard.create(1)) as board:
        totals = Totals(Readings(board))
        for _ in range(2):
            totals.sit(0, 0)
            board.desk(0, 0)[Desk.REQUESTS] = LARGEST
            board.desk(0, 0)[Desk.ACCEPTED] = 3
            totals.leave(0, 0)
        assert totals.one(0, Desk.REQUESTS) == 0
        assert totals.one(0, Desk.ACCEPTED) == 6
        assert totals.readings.doubts[0] == 2
