"""Double start: who is found, who is not, and what is said."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel import owners
from reuseport.kernel.addresses import Endpoint, TCPAddress, resolve
from reuseport.kernel.listener import bind_listener, refuse_strangers, reserve_all
from reuseport.kernel.strangers import Stranger, _listening, listeners_on
from tests.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("no_leak")


def at(host: str, port: int = 0) -> Endpoint:
    return resolve(TCPAddress(host, port))[0]


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def test_a_listener_is_found_with_its_owner_and_address() -> None:
    with bind_listener(at("127.0.0.1")) as listener:
        endpoint = at("127.0.0.1", listener.getsockname()[1])
        listener.listen()
        assert listeners_on(endpoint) == (Stranger(os.geteuid(), inode(listener), str(endpoint)),)


def test_a_reservation_is_no_listener() -> None:
    (reservation,) = reserve_all([TCPAddress("127.0.0.1", 0)])
    with contextlib.closing(reservation):
        assert listeners_on(reservation.endpoint) == ()
        refuse_strangers([reservation])


def test_a_connection_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = at("127.0.0.1", server.getsockname()[1])
        with socket.create_connection(endpoint.sockaddr[:2]), server.accept()[0]:
            assert len(listeners_on(endpoint)) == 1
            server.close()
            assert listeners_on(endpoint) == ()


def test_of_other_ports_nothing_is_read(tmp_path: Path) -> None:
    # Whoever has ten thousand listeners there would have us read for as long.
    row = "   0: {}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1\n"
    table = tmp_path / "tcp"
    table.write_text("  sl  local_address\n" + row.format("cannot be read"), encoding="ascii")
    assert list(_listening(table, 8081)) == []
    with pytest.raises(ValueError, match="invalid literal"):
        list(_listening(table, 8080))


def test_another_port_is_no_stranger() -> None:
    with bind_listener(at("127.0.0.1")) as listener, bind_listener(at("127.0.0.1")) as other:
        listener.listen()
        assert listeners_on(at("127.0.0.1", other.getsockname()[1])) == ()


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize(
    ("ours", "theirs", "overlap"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "::", True),
        ("0.0.0.0", "::", True),
        ("::", "127.0.0.1", True),
        ("::", "::1", True),
        ("::1", "::", True),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("::1", "0.0.0.0", False),
        ("127.0.0.1", "::1", False),
        ("0.0.0.0", "::1", False),
    ],
)
def test_strangers_are_those_on_overlapping_addresses(ours: str, theirs: str, overlap: bool) -> None:
    with bind_listener(at(theirs)) as listener:
        listener.listen()
        assert bool(listeners_on(at(ours, listener.getsockname()[1]))) == overlap


@pytest.mark.usefixtures("ipv6")
def test_a_listener_on_a_mapped_address_is_one_on_ipv4() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as mapped:
        mapped.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        mapped.bind(("::ffff:127.0.0.1", 0))
        mapped.listen()
        assert listeners_on(at("127.0.0.1", mapped.getsockname()[1]))
        assert not listeners_on(at("127.0.0.2", mapped.getsockname()[1]))


def test_a_double_start_is_refused_by_name(run: Callable[[str], tuple[int, str]]) -> None:
    pid, port = run("kept = open_listener('127.0.0.1', 0, socket.SO_REUSEPORT)\nprint(kept.getsockname()[1])")
    (reservation,) = reserve_all([TCPAddress("127.0.0.1", int(port))])
    with (
        contextlib.closing(reservation),
        pytest.raises(
            ConfigurationError,
            match=rf"^port {port} is already served by pid {pid} \({owners.command(pid)}, user"
            rf" {owners.user(os.geteuid())}\) on 127.0.0.1:{port}; stop it,.*--port.*--join",
        ),
    ):
        refuse_strangers([reservation])


HIDDEN = """
become(65534)
print(strangers.listeners_on(Endpoint(socket.AF_INET, ("127.0.0.1", {port})))[0].describe())
"""


@pytest.mark.usefixtures("as_root")
def test_another_user_is_named_when_the_pid_is_hidden(run: Callable[[str], tuple[int, str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        _, answer = run(HIDDEN.format(port=server.getsockname()[1]))
    assert answer == f"a process of user {owners.user(0)} (uid 0)"


def test_the_parent_of_a_shared_listener_is_named(run: Callable[[str], tuple[int, str]]) -> None:
    pid, port = run(
        "kept = open_listener('127.0.0.1', 0)\n"
        "if os.fork():\n"
        "    print(kept.getsockname()[1])\n"
        "else:\n"
        "    os.close(1)"
    )
    (stranger,) = listeners_on(at("127.0.0.1", int(port)))
    assert stranger.describe().startswith(f"pid {pid} ")


def test_a_process_is_found_by_its_socket() -> None:
    with socket.socket() as sock:
        number = inode(sock)
        assert owners.holders(number) == (os.getpid(),)
    assert owners.holders(number) == ()


def test_names_have_a_fallback() -> None:
    assert owners.command(os.getpid()) == Path("/proc/self/comm").read_text(encoding="ascii").strip()
    assert owners.command(2**22 + 1) == "unknown"
    assert owners.user(2**31 - 5) == str(2**31 - 5)


NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"\\x1b[2J\\nsshd: ok\\xff", 0, 0, 0)  # PR_SET_NAME
print(flush=True)
sys.stdin.read()
"""


def test_a_process_that_names_itself_for_a_terminal_is_spelled_out() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert owners.command(process.pid) == "\\x1b[2J\\nsshd: ok\ufffd"
        assert owners.command(process.pid).isprintable()
        process.communicate(timeout=PATIENCE)


def test_a_launcher_that_is_just_starting_is_a_stranger() -> None:
    """Two launchers of one user, both before their first listener: nobody listens, and still one must go."""
    first = reserve_all([TCPAddress("127.0.0.1", 0)])
    refuse_strangers(first)
    second = reserve_all([TCPAddress("127.0.0.1", first[0].endpoint.port)])
    try:
        with pytest.raises(
            ConfigurationError, match=rf"reserved by pid {os.getpid()} .*just starting.*--join"
        ):
            refuse_strangers(second)
    finally:
        for reservation in (*first, *second):
            reservation.close()


def test_connections_left_of_our_own_last_run_are_no_stranger() -> None:
    first = reserve_all([TCPAddress("127.0.0.1", 0)])
    endpoint = first[0].endpoint
    with bind_listener(endpoint) as listener:
        listener.listen()
        with socket.create_connection(endpoint.sockaddr[:2]) as client:
            listener.setblocking(True)
            accepted, _ = listener.accept()
            accepted.close()  # the server closes first: TIME_WAIT stays on its side
            assert client.recv(1) == b""
    first[0].close()
    again = reserve_all([TCPAddress(endpoint.host, endpoint.port)])
    assert not again[0].first
    refuse_strangers(again)
    again[0].close()
