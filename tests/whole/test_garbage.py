"""Garbage on the client port hurts nobody else: others are answered, no worker dies, no traceback."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.conftest import PATIENCE, Launch
from tests.whole.clients import client, meet_all

PROMPT = 5.0
"""Seconds within which another client must be answered: far below any timeout that would free a worker."""

REPEATED = 20
"""Connections of each kind: by the hash, some of them reach each of two workers."""

Garbage = Callable[[int], AbstractContextManager[None]]


@contextmanager
def connections(port: int, number: int = REPEATED) -> Iterator[list[socket.socket]]:
    """Open until the test is over with them."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            for _ in range(number)
        ]


def send_as_far_as_taken(bad: socket.socket, data: bytes) -> None:
    # The server may well answer and hang up before it has read all of it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        bad.sendall(data)


@contextmanager
def random_bytes(port: int) -> Iterator[None]:
    chaos = random.Random(2)
    with connections(port) as clients:
        for bad in clients:
            send_as_far_as_taken(bad, chaos.randbytes(chaos.randint(1, 50_000)))
        yield


@contextmanager
def half_a_request_and_gone(port: int) -> Iterator[None]:
    with connections(port) as clients:
        for length, bad in enumerate(clients, 1):
            bad.sendall(b"GET /some/where HTTP/1.1\r\nHost: x"[:length])
    yield


@contextmanager
def a_body_cut_short(port: int) -> Iterator[None]:
    with connections(port) as clients:
        for bad in clients:
            bad.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nonly this")
    yield


@contextmanager
def headers_of_a_mebibyte(port: int) -> Iterator[None]:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(1024))
    with connections(port) as clients:
        for bad in clients:
            send_as_far_as_taken(bad, b"GET / HTTP/1.1\r\nHost: x\r\n" + lines)
        yield


@contextmanager
def one_endless_header(port: int) -> Iterator[None]:
    with connections(port) as clients:
        for bad in clients:
            send_as_far_as_taken(bad, b"GET / HTTP/1.1\r\nX: " + b"x" * 2**20)
        yield


@contextmanager
def one_byte_and_silence(port: int) -> Iterator[None]:
    with connections(port) as clients:
        for bad in clients:
            bad.sendall(b"G")
        yield


@contextmanager
def opened_and_reset(port: int) -> Iterator[None]:
    with connections(port) as clients:
        for bad in clients[::2]:
            bad.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for bad in clients:
            # No linger time: close(2) sends a reset (socket(7), SO_LINGER).
            bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    yield


@contextmanager
def two_hundred_idle_connections(port: int) -> Iterator[None]:
    with connections(port, 200):
        yield


@contextmanager
def a_websocket_that_is_none(port: int) -> Iterator[None]:
    handshake = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with connections(port) as clients:
        for bad in clients:
            bad.sendall(handshake)
            assert bad.recv(1000).startswith(b"HTTP/1.1 101")
            send_as_far_as_taken(bad, b"\xff" * 1000)
        yield


GARBAGE: tuple[Garbage, ...] = (
    random_bytes,
    half_a_request_and_gone,
    a_body_cut_short,
    headers_of_a_mebibyte,
    one_endless_header,
    one_byte_and_silence,
    opened_and_reset,
    two_hundred_idle_connections,
    a_websocket_that_is_none,
)


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_garbage_hurts_nobody_else(http: str, launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--http", http).ready(2)
    workers = server.workers()
    with client(patience=PROMPT) as asking:
        for garbage in GARBAGE:
            with garbage(server.port):
                met = meet_all(asking, server.url, 2)
            assert {slot: seen["pid"] for slot, seen in met.items()} == workers, garbage.__name__
            assert "Traceback" not in server.output, garbage.__name__
    assert server.workers() == workers
    assert server.stop() == 0
    assert "Traceback" not in server.output
    assert server.count(r"worker in slot \d .*exited cleanly") == 2


def test_garbage_on_a_tls_port_hurts_nobody_else(launch: Launch, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = launch("plain:app", "--workers", "2", "--ssl-certfile", str(certificate)).ready(2)
    workers = server.workers()
    url = server.url.replace("http:", "https:")
    with client(verify=trusting, patience=PROMPT) as asking:
        for garbage in (random_bytes, half_a_request_and_gone, opened_and_reset, one_byte_and_silence):
            with garbage(server.port):
                met = meet_all(asking, url, 2)
            assert {slot: seen["pid"] for slot, seen in met.items()} == workers, garbage.__name__
    assert server.stop() == 0
    assert "Traceback" not in server.output
