"""System calls that keep the interpreter lock do what Python's own do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reuseport.kernel.unyielding import Alarm, duplicate, read_anew, send_descriptor, unread
from reuseport.worker.passing import FULL, GONE
from tests.conftest import PATIENCE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def inbox() -> Iterator[tuple[socket.socket, socket.socket]]:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with receiving, sending:
        yield receiving, sending


def test_unread_bytes_stay_unread(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    assert not unread(ours.fileno())
    theirs.send(b"GET")
    assert unread(ours.fileno())
    assert ours.recv(10) == b"GET"
    theirs.shutdown(socket.SHUT_WR)
    assert select.select([ours], [], [], PATIENCE)[0]
    assert not unread(ours.fileno()), "an end of file is nothing to read"


def test_unread_bytes_before_an_end_of_file_count(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b"GET")
    theirs.shutdown(socket.SHUT_WR)
    assert unread(ours.fileno())


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"first\0and more")
    with file.open("rb", buffering=0) as stream:
        assert read_anew(stream.fileno(), 7) == b"first\0a"
        file.write_bytes(b"2")
        assert read_anew(stream.fileno(), 7) == b"2"
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_anew(-1, 7)


def test_what_is_no_socket_has_nothing_unread() -> None:
    with contextlib.closing(Alarm()) as alarm:
        assert not unread(alarm.fileno())


def test_a_duplicate_is_another_descriptor_that_no_program_inherits(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    with socket.socket(fileno=duplicate(ours.fileno())) as copy:
        assert copy.fileno() != ours.fileno()
        assert fcntl.fcntl(copy, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        copy.send(b"x")
        assert theirs.recv(1) == b"x"
    with pytest.raises(OSError, match="Bad file descriptor"):
        duplicate(-1)


def test_a_descriptor_is_sent_and_kept(
    pair: tuple[socket.socket, socket.socket], inbox: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    receiving, sending = inbox
    send_descriptor(sending.fileno(), b"r", ours.fileno())
    packet, fds, _, _ = socket.recv_fds(receiving, 16, 2)
    assert (packet, len(fds)) == (b"r", 1)
    with socket.socket(fileno=fds[0]) as copy:
        copy.send(b"1")
        ours.send(b"2")
        assert theirs.recv(2, socket.MSG_WAITALL) == b"12"


def test_a_full_inbox_and_one_that_nobody_holds_are_told(
    pair: tuple[socket.socket, socket.socket], inbox: tuple[socket.socket, socket.socket]
) -> None:
    receiving, sending = inbox

    def fill() -> None:
        for _ in range(10_000):
            send_descriptor(sending.fileno(), b"r", pair[0].fileno())

    with pytest.raises(OSError, match="temporarily unavailable") as full:
        fill()
    assert full.value.errno in FULL
    receiving.close()
    with pytest.raises(OSError, match=r"reset|Broken pipe") as gone:
        fill()
    assert gone.value.errno in GONE


def test_an_alarm_that_is_pushed_back_does_not_ring() -> None:
    with contextlib.closing(Alarm()) as alarm:
        began = time.monotonic()
        alarm.set(0.001)
        alarm.set(0.2)
        alarm.wait()
        assert time.monotonic() - began >= 0.2
        alarm.set(0)
        alarm.wait()
        alarm.set(3600)
        assert not select.select([alarm], [], [], 0)[0]
        assert not os.get_inheritable(alarm.fileno())
