"""The shared memory between real processes: who writes what, and what is sealed."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reuseport.scoreboard import (
    COUNTERS,
    DESKS,
    DURATION_BOUNDS,
    DURATION_BUCKETS,
    RESPONSES,
    ROW_WORDS,
    SLOT_WORDS,
    WORD_BYTES,
    Desk,
    Scoreboard,
    SlotWord,
    add,
)

SLOTS = 3
LARGEST = 2**64 - 1


@contextlib.contextmanager
def scoreboard(slots: int = SLOTS) -> Iterator[Scoreboard]:
    with contextlib.closing(Scoreboard.create(slots)) as made:
        yield made


def words(board: Scoreboard) -> list[int]:
    """Every word of the file, as another program would read it."""
    content = os.pread(board.fd, board.slots * SLOT_WORDS * WORD_BYTES, 0)
    return list(memoryview(content).cast("Q"))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_new_one_has_room_for_its_slots_and_all_words_0() -> None:
    with scoreboard(7) as board:
        assert board.slots == 7
        assert words(board) == [0] * (7 * SLOT_WORDS)


def test_the_enumerations_fit_their_rows() -> None:
    assert sorted(Desk) == list(range(len(Desk)))
    assert len(Desk) <= ROW_WORDS
    assert sorted(SlotWord) == list(range(len(SlotWord)))
    assert len(SlotWord) <= ROW_WORDS
    assert len(set(COUNTERS)) == len(COUNTERS)


def test_each_status_class_and_each_bound_has_a_word_of_its_own() -> None:
    assert [word.name for word in RESPONSES] == [f"RESPONSES_{digit}XX" for digit in range(1, 6)]
    assert [word.name for word in DURATION_BUCKETS] == [f"DURATION_BUCKET_{index}" for index in range(15)]
    assert len(DURATION_BUCKETS) == len(DURATION_BOUNDS) + 1
    assert list(DURATION_BOUNDS) == sorted(DURATION_BOUNDS)
    assert {*RESPONSES, *DURATION_BUCKETS} < set(COUNTERS)


def test_every_word_has_one_owner() -> None:
    """Each row, written with its own number, is read back whole: none shares a word, none is left out."""
    with scoreboard() as board:
        rows = [board.slot(slot) for slot in range(SLOTS)]
        rows += [board.desk(slot, desk) for slot in range(SLOTS) for desk in range(DESKS)]
        for number, row in enumerate(rows, start=1):
            assert len(row) == ROW_WORDS
            for index in range(ROW_WORDS):
                row[index] = number
        for number, row in enumerate(rows, start=1):
            assert set(row) == {number}
        assert 0 not in words(board)
        del rows, row


def test_the_desk_of_another_process_is_read_at_once_and_only_it_changes() -> None:
    """Real processes sit at the desks of one slot and write until they are told to end."""
    script = """
import os, sys
from reuseport.scoreboard import *
board, desk = Scoreboard(int(sys.argv[1]), 3), int(sys.argv[2])
row = board.desk(1, desk)
for count in range(1, 20_001):
    row[Desk.REQUESTS] = count
    row[Desk.HEARTBEAT] = (count << 32) | count
os.write(1, b".")
sys.stdin.read()
"""
    with scoreboard() as board, contextlib.ExitStack() as running:
        writers = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script, str(board.fd), str(desk)],
                    pass_fds=(board.fd,),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=Path(__file__).parents[1],
                )
            )
            for desk in range(DESKS)
        ]
        seen = [0] * DESKS
        while sum(seen) < DESKS * 20_000 and any(writer.poll() is None for writer in writers):
            for desk in range(DESKS):
                beat = board.desk(1, desk)[Desk.HEARTBEAT]
                assert beat >> 32 == beat & 0xFFFFFFFF, "a torn word"
                assert beat >> 32 >= seen[desk], "a word ran backwards"
                seen[desk] = beat >> 32
        assert seen == [20_000] * DESKS
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.read(1) == b"."
        counted = [board.word(slot, desk, Desk.REQUESTS) for slot in range(SLOTS) for desk in range(DESKS)]
        assert counted == [0] * DESKS + [20_000] * DESKS + [0] * DESKS
        assert set(board.slot(1)) == {0}, "a worker wrote the launcher's words"


@pytest.mark.parametrize("size", [0, WORD_BYTES, 100 * SLOT_WORDS * WORD_BYTES])
def test_nobody_can_resize_it(size: int) -> None:
    with scoreboard() as board, pytest.raises(PermissionError):
        os.ftruncate(board.fd, size)


def test_nobody_can_seal_it_against_writing() -> None:
    with scoreboard() as board:
        with pytest.raises(PermissionError):
            fcntl.fcntl(board.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        board.desk(0, 0)[Desk.REQUESTS] = LARGEST
        assert board.word(0, 0, Desk.REQUESTS) == LARGEST


def test_it_is_not_inherited_by_accident() -> None:
    with scoreboard() as board:
        assert not os.get_inheritable(board.fd)


def test_a_second_mapping_is_the_same_memory() -> None:
    with scoreboard() as board, contextlib.closing(Scoreboard(os.dup(board.fd), SLOTS)) as other:
        assert other.slots == board.slots
        other.desk(2, 1)[Desk.IN_FLIGHT] = 5
        assert board.word(2, 1, Desk.IN_FLIGHT) == 5


def test_closing_gives_back_descriptor_and_mapping() -> None:
    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count("reuseport-scoreboard")

    before, mapped = descriptors(), mappings()
    with scoreboard():
        assert descriptors() > before  # mmap(2) in Python keeps a duplicate of its own
        assert mappings() == mapped + 1
    assert descriptors() == before
    assert mappings() == mapped


def test_the_memory_outlives_its_creator() -> None:
    """A worker goes on writing when the launcher is gone: no SIGBUS."""
    with scoreboard() as board:
        copy = os.dup(board.fd)
        size = os.fstat(copy).st_size
    with contextlib.closing(Scoreboard(copy, SLOTS)) as left, mmap.mmap(copy, size) as again:
        left.desk(0, 0)[Desk.REQUESTS] = 1
        assert any(again[:])


def test_what_is_no_file_cannot_be_mapped() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises((OSError, ValueError)):
            Scoreboard(read_end, SLOTS)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_clearing_a_desk_leaves_everything_else_alone() -> None:
    with scoreboard() as board:
        for row in (board.slot(0), board.desk(0, 0), board.desk(0, 1), board.desk(1, 0)):
            row[0] = 7
        del row
        board.clear(0, 0)
        assert set(board.desk(0, 0)) == {0}
        assert board.slot(0)[0] == board.word(0, 1, Desk.HEARTBEAT) == board.word(1, 0, Desk.HEARTBEAT) == 7


def test_counting_where_anything_may_stand_never_raises() -> None:
    with scoreboard() as board:
        words = board.desk(0, 0)
        for found, counted in [(0, 2), (LARGEST, 1), (LARGEST - 2, LARGEST)]:
            words[Desk.REBALANCED] = found
            add(words, Desk.REBALANCED, 2)
            assert words[Desk.REBALANCED] == counted
        del words
