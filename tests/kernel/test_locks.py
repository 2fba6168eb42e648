"""Locks of open file descriptions, on a real file: who has one, and when the kernel releases it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from reuseport.kernel import locks

MAIL = locks.place("mail")


class File:
    """A file that is opened as often as somebody asks."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo
        self._fd = os.memfd_create("test")
        undo.callback(os.close, self._fd)

    def open(self) -> int:
        """A description of its own, open until the test ends."""
        fd = self.open_for_now()
        self._undo.callback(os.close, fd)
        return fd

    def open_for_now(self) -> int:
        """The same, the caller's to close."""
        return os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR)


@pytest.fixture
def file() -> Iterator[File]:
    with ExitStack() as undo:
        yield File(undo)


def test_one_description_at_a_time_has_a_name(file: File) -> None:
    one, other = file.open(), file.open()
    assert locks.take(one, MAIL)
    assert locks.take(one, MAIL), "it has it already"
    assert not locks.take(other, MAIL)
    assert locks.take(other, locks.place("news"))
    locks.release(other, MAIL)
    assert not locks.take(other, MAIL), "only who has it can let go of it"
    locks.release(one, MAIL)
    assert locks.take(other, MAIL)


def test_others_are_told_whether_somebody_has_it(file: File) -> None:
    one, other = file.open(), file.open()
    assert not locks.is_taken(other, MAIL)
    assert locks.take(one, MAIL)
    assert locks.is_taken(other, MAIL)
    assert not locks.is_taken(one, MAIL), "not another"
    assert not locks.is_taken(other, locks.place("news"))


def test_it_lasts_until_the_last_duplicate_is_closed_and_no_longer(file: File) -> None:
    one, other = file.open_for_now(), file.open()
    copy = os.dup(one)
    assert locks.take(one, MAIL)
    os.close(file.open_for_now())  # with lockf(3) this would release it
    os.close(one)
    assert not locks.take(other, MAIL)
    os.close(copy)
    assert locks.take(other, MAIL)


def test_what_a_killed_process_had_is_free(file: File) -> None:
    theirs, ours = file.open_for_now(), file.open()
    code = f"from reuseport.kernel import locks; print(locks.take({theirs}, {MAIL}), flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs], text=True
    ) as holder:
        os.close(theirs)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not locks.take(ours, MAIL)
        holder.send_signal(signal.SIGKILL)
    assert locks.take(ours, MAIL)


def test_names_have_places_of_their_own_in_every_file_there_can_be() -> None:
    places = {locks.place(f"{name}") for name in [*range(10_000), "é", "\udc80", "x" * 100]}
    assert len(places) == 10_003
    assert all(0 <= place < 2**62 for place in places)
