"""What one holder of a listener does to it, and another undoes."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from reuseport.kernel.addresses import TCPAddress, resolve
from reuseport.kernel.listener import bind_listener, reserve_all
from reuseport.kernel.mending import drop_program, listen_again, listens
from tests.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """At a port that was asked for by number, as all of ours are."""
    (reservation,) = reserve_all([TCPAddress(request.param, 0)])
    with contextlib.closing(reservation), bind_listener(reservation.endpoint) as bound:
        bound.listen()
        yield bound


def is_reached(listener: socket.socket) -> bool:
    with socket.create_connection(listener.getsockname()[:2], PATIENCE):
        accepted, _ = listener.accept()
        accepted.close()
    return True


def refuses(listener: socket.socket) -> bool:
    try:
        socket.create_connection(listener.getsockname()[:2], PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def elsewhere(listener: socket.socket) -> None:
    """Turn it into one end of a connection, whose other end is soon gone."""
    listener.shutdown(socket.SHUT_RD)
    with socket.create_server((listener.getsockname()[0], 0), family=listener.family) as other:
        listener.setblocking(True)
        listener.connect(other.getsockname())
    listener.setblocking(False)


def put_a_program(listener: socket.socket) -> None:
    """struct sock_fprog of one instruction, return 0 (linux/filter.h), for SO_ATTACH_REUSEPORT_CBPF."""
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0), 8)
    listener.setsockopt(socket.SOL_SOCKET, 51, struct.pack("=H6xQ", 1, ctypes.addressof(code)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda listener: listener.shutdown(socket.SHUT_RD),
        lambda listener: listener.shutdown(socket.SHUT_RDWR),
        elsewhere,
    ],
)
def test_it_listens_again_at_its_address(
    listener: socket.socket, spoil: Callable[[socket.socket], None]
) -> None:
    address = listener.getsockname()
    assert listens(listener)
    with listener.dup() as theirs:
        spoil(theirs)
    assert not listens(listener)
    assert refuses(listener)
    listen_again(listener, 16)
    assert listens(listener)
    assert listener.getsockname() == address
    assert is_reached(listener)


def test_of_one_that_listens_nothing_is_lost_but_its_queue(listener: socket.socket) -> None:
    listen_again(listener, 16)
    assert is_reached(listener)


def test_a_program_is_taken_off_and_its_absence_is_no_error(listener: socket.socket) -> None:
    assert not drop_program(listener)
    with listener.dup() as theirs:
        put_a_program(theirs)
    assert drop_program(listener)
    assert not drop_program(listener)
    assert is_reached(listener)


def test_a_socket_in_no_group_has_no_program() -> None:
    (endpoint,) = resolve(TCPAddress("127.0.0.1", 0))
    with bind_listener(endpoint) as bound:
        assert not listens(bound)
        assert not drop_program(bound)
