"""What keeps the addresses: had or refused as a whole, escrow and inboxes by slot, all let go at the end."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError, HostError
from reuseport.kernel.listener import bind_listener
from reuseport.launcher.ports import held


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_port_is_reserved_and_let_go() -> None:
    before = descriptors()
    with held(["127.0.0.1:0"], join=False) as ports:
        (endpoint,) = ports.endpoints()
        with socket.socket() as rude, pytest.raises(OSError, match="in use"):
            rude.bind(endpoint.sockaddr)
        with bind_listener(endpoint) as listener:
            assert listener.getsockname() == endpoint.sockaddr
        assert ports.describe("http") == f"http://127.0.0.1:{endpoint.port}"
    assert descriptors() == before
    with socket.socket() as next_one:
        next_one.bind(endpoint.sockaddr)


def test_a_reservation_gets_no_connection() -> None:
    with (
        held(["127.0.0.1:0"], join=False) as ports,
        socket.socket() as client,
        pytest.raises(ConnectionRefusedError),
    ):
        client.connect(ports.endpoints()[0].sockaddr)


def test_one_address_that_cannot_be_had_leaves_nothing_behind(tmp_path: Path) -> None:
    before = descriptors()
    path = tmp_path / "app.sock"
    missing = tmp_path / "missing" / "app.sock"
    with (
        pytest.raises(ConfigurationError),
        held(["127.0.0.1:0", f"unix:{path}", f"unix:{missing}"], join=False),
    ):
        pytest.fail("it was not refused")
    assert descriptors() == before
    assert not path.exists()


def test_a_stranger_on_the_port_is_refused_unless_we_join() -> None:
    before = descriptors()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        bind = f"127.0.0.1:{stranger.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="--join"), held([bind], join=False):
            pytest.fail("it was not refused")
        with held([bind], join=True) as ports:
            assert ports.endpoints()[0].port == stranger.getsockname()[1]
    assert descriptors() == before


def test_a_unix_socket_is_shared_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with held([f"unix:{path}"], join=False) as ports:
        assert ports.endpoints() == []
        (fd,) = ports.shared_fds()
        with socket.socket(fileno=os.dup(fd)) as listener:
            assert listener.getsockname() == str(path)
        assert path.is_socket()
        assert "one shared listener" in ports.describe("http")
    assert not path.exists()


def test_a_unix_socket_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with held([f"unix:{path}"], join=False), socket.socket(socket.AF_UNIX) as successor:
        path.unlink()
        successor.bind(str(path))
    assert path.is_socket()


def test_the_escrow_is_bound_once_and_closed_at_the_release() -> None:
    before = descriptors()
    with held(["127.0.0.1:0", "127.0.0.1:0"], join=False) as ports:
        escrow = ports.escrow(0)
        assert [each.getsockname() for each in escrow] == [each.sockaddr for each in ports.endpoints()]
        assert ports.escrow(0) is escrow
        assert not set(ports.listeners(0)) & set(ports.listeners(1))
        assert not any(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for each in escrow)
        others = ports.escrow(1)
        ports.release()
        assert all(each.fileno() == -1 for each in (*escrow, *others)), "it was not closed"
        ports.release()
    assert descriptors() == before


def test_listeners_are_bound_all_or_none() -> None:
    with held(["127.0.0.1:0"] * 2, join=False) as ports:
        before = descriptors()
        lowest_free = os.dup(0)
        os.close(lowest_free)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
        try:
            with pytest.raises(HostError, match="ulimit -n"):
                ports.escrow(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert descriptors() == before
        assert len(ports.escrow(0)) == 2


def test_a_queue_in_escrow_survives_its_worker() -> None:
    with held(["127.0.0.1:0"], join=False) as ports:
        worker = ports.escrow(0)[0].dup()
        worker.listen()
        with socket.create_connection(worker.getsockname(), timeout=30) as client:
            worker.close()
            client.sendall(b"?")
            with ports.escrow(0)[0].dup() as adopted:
                adopted.setblocking(True)
                connection, _ = adopted.accept()
                with connection:
                    assert connection.recv(1) == b"?"


def test_an_inbox_belongs_to_its_slot_and_keeps_what_was_sent() -> None:
    before = descriptors()
    with held(["127.0.0.1:0"], join=False) as ports:
        receiving, sending = ports.inbox(0)
        assert ports.inbox(0) == (receiving, sending)
        assert set(ports.inbox(1)).isdisjoint({receiving, sending})
        assert not any(map(os.get_inheritable, (receiving, sending)))
        os.write(sending, b"c")
        assert os.read(receiving, 2) == b"c"
    assert descriptors() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_while_serving_lets_go_as_well(error: type[BaseException]) -> None:
    before = descriptors()

    def serve() -> None:
        with held(["127.0.0.1:0"], join=False) as ports:
            ports.escrow(0)
            ports.inbox(0)
            raise error

    with pytest.raises(error):
        serve()
    assert descriptors() == before
