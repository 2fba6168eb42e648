"""Sockets that are bound and say nothing, as sock_diag tells of them."""

import os
import socket

import pytest

from reuseport.kernel.addresses import Endpoint
from reuseport.kernel.silent import Silent, silent_sockets
from reuseport.kernel.strangers import starting_on

pytestmark = pytest.mark.usefixtures("silent_shown")


def shown(sock: socket.socket) -> Endpoint | None:
    """Where it is bound, if it is among them."""
    inode = os.fstat(sock.fileno()).st_ino
    found = [each for each in silent_sockets() if each.inode == inode]
    assert all(each == Silent(each.endpoint, os.geteuid(), inode) for each in found)
    return found[0].endpoint if found else None


def test_only_who_is_bound_and_neither_listens_nor_is_connected() -> None:
    with socket.socket() as sock, socket.socket() as client:
        assert shown(sock) is None
        sock.bind(("127.0.0.1", 0))
        endpoint = shown(sock)
        assert endpoint is not None
        assert endpoint.sockaddr == sock.getsockname()
        sock.listen()
        assert shown(sock) is None
        client.bind(("127.0.0.1", 0))
        client.connect(endpoint.sockaddr)
        assert shown(client) is None


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_both_families(host: str) -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind((host, 0))
        endpoint = shown(sock)
        assert endpoint is not None
        assert endpoint.sockaddr == sock.getsockname()


def test_many_come_in_several_packets() -> None:
    socks = [socket.socket() for _ in range(400)]
    try:
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        assert {os.fstat(sock.fileno()).st_ino for sock in socks} <= {each.inode for each in silent_sockets()}
    finally:
        for sock in socks:
            sock.close()


def test_a_kernel_that_does_not_show_ours_cannot_tell_of_others() -> None:
    with socket.socket() as other, socket.socket() as unseen:
        other.bind(("127.0.0.1", 0))
        endpoint = Endpoint(socket.AF_INET, other.getsockname())
        (stranger,) = starting_on(endpoint, ()) or ()
        assert stranger.inode == os.fstat(other.fileno()).st_ino
        assert starting_on(endpoint, {stranger.inode}) == ()
        # Not bound: no kernel shows it, as an old one shows nobody.
        assert starting_on(endpoint, {os.fstat(unseen.fileno()).st_ino}) is None
