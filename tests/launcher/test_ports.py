"""What keeps the addresses: had or refused as a whole, escrow and inboxes by slot, all let go at the end."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel.listener import bind_listener
from reuseport.launcher.ports import held


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def pipe_watched() -> tuple[int, int]:
    """(read end, write end): the read end sees the end of file once the write end is closed."""
    return os.pipe()


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


def test_the_escrow_keeps_the_first_duplicates_and_closes_later_ones() -> None:
    """A successor sends duplicates of the very listeners it was given."""
    before = descriptors()
    with held(["127.0.0.1:0"], join=False) as ports:
        assert ports.escrow(0) == []
        first_read, first = pipe_watched()
        second_read, second = pipe_watched()
        ports.keep(0, [first])
        ports.keep(0, [second])
        assert ports.escrow(0) == [first]
        assert os.read(second_read, 1) == b"", "it was not closed"
        assert ports.escrow(1) == []
        ports.release()
        assert ports.escrow(0) == []
        assert os.read(first_read, 1) == b"", "it was not closed"
        ports.release()
        os.close(first_read)
        os.close(second_read)
    assert descriptors() == before


def test_a_queue_in_escrow_survives_its_worker() -> None:
    with held(["127.0.0.1:0"], join=False) as ports:
        worker = bind_listener(ports.endpoints()[0])
        worker.listen()
        ports.keep(0, [os.dup(worker.fileno())])
        with socket.create_connection(worker.getsockname(), timeout=30) as client:
            worker.close()
            client.sendall(b"?")
            with socket.socket(fileno=os.dup(ports.escrow(0)[0])) as adopted:
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
    read_end, write_end = pipe_watched()

    def serve() -> None:
        with held(["127.0.0.1:0"], join=False) as ports:
            ports.keep(0, [write_end])
            ports.inbox(0)
            raise error

    with pytest.raises(error):
        serve()
    assert os.read(read_end, 1) == b""
    os.close(read_end)
    assert descriptors() == before
