"""Whoever listens at a control socket: a command waits for him for so long, and takes so much."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from reuseport.client import control as module
from reuseport.client.control import Control, GoneError, SilentError
from reuseport.client.waiting import follow

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
DRIP = 0.02


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[Iterable[bytes]], Path]]:
    """Answers everybody with these pieces, DRIP seconds between two, as long as he listens."""
    ended = threading.Event()
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)

    def answer(pieces: Iterable[bytes]) -> None:
        while not ended.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                for piece in pieces:
                    client.sendall(piece)
                    if ended.wait(DRIP):
                        return

    def begin(pieces: Iterable[bytes]) -> Path:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        threads.append(threading.Thread(target=answer, args=(pieces,)))
        threads[0].start()
        return tmp_path / "socket"

    yield begin
    ended.set()
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([HEAD + b"\r\n", *[b"x"] * 10_000], id="an answer"),
        pytest.param([b"HTTP/1.1 200 OK\r\nX: ", *[b"x"] * 10_000], id="a head"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n"] * 10_000, id="that one may go on"),
    ],
)
def test_who_drips_is_not_waited_for(
    answering: Callable[[Iterable[bytes]], Path], monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]
) -> None:
    monkeypatch.setattr(module, "WHOLE", 0.3)
    began = time.monotonic()
    with pytest.raises(SilentError):
        Control(answering(pieces)).status()
    assert time.monotonic() - began < 10_000 * DRIP / 2


def test_who_does_not_come_to_an_end_takes_no_memory(
    answering: Callable[[Iterable[bytes]], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 1000)
    with pytest.raises(SilentError, match="does not come to an end"):
        Control(answering([HEAD + b"\r\n" + b" " * 2000])).status()


def test_a_stream_that_drips_is_followed_until_the_deadline(
    answering: Callable[[Iterable[bytes]], Path],
) -> None:
    path = answering([HEAD + b"\r\n", *[b":"] * 10_000])
    assert list(follow(Control(path), 0, time.monotonic() + 0.3)) == []


def test_where_somebody_else_listens_nobody_does(answering: Callable[[Iterable[bytes]], Path]) -> None:
    path = answering([HEAD + b"Content-Length: 2\r\n\r\n{}"])
    assert Control(path, of=os.getpid()).events() == {}
    with pytest.raises(GoneError):
        Control(path, of=os.getppid()).events()
