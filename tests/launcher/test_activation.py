"""The service manager's listeners: read, checked, and divided among addresses and slots."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel import inherited
from reuseport.kernel.addresses import parse_all
from reuseport.kernel.inherited import Inherited, passed
from reuseport.launcher.activation import divided, workers_for
from reuseport.launcher.ports import held


def listening(port: int = 0, *, shares: bool = True, host: str = "127.0.0.1") -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
    listener.bind((host, port))
    listener.listen()
    return listener


class Given:
    """Listeners as a manager would pass them, numbered from 3."""

    def __init__(self) -> None:
        self.found: list[Inherited] = []

    def add(self, listener: socket.socket, name: str = "") -> Inherited:
        self.found.append(Inherited(inherited.FIRST + len(self.found), name, listener))
        return self.found[-1]

    def group(self, number: int, host: str = "127.0.0.1") -> int:
        first = listening(host=host)
        port = int(first.getsockname()[1])
        self.add(first)
        for _ in range(number - 1):
            self.add(listening(port, host=host))
        return port


@pytest.fixture
def given() -> Iterator[Given]:
    made = Given()
    yield made
    for each in made.found:
        each.close()


# ── who gets what ─────────────────────────────────────────────────────────────────────────────────────────


def test_several_of_one_address_are_one_for_each_slot(given: Given) -> None:
    port = given.group(3)
    activation = divided(given.found, parse_all(["127.0.0.1:8000"]), named=False)
    assert activation.slots == 3
    assert not activation.left
    assert not activation.shared
    assert activation.groups[0].endpoint.port == port
    assert list(activation.groups[0].members) == given.found
    assert list(activation.sentences()) == [
        f"the service manager passes 3 listeners of 127.0.0.1:{port}: one for each slot"
    ]


def test_a_single_one_is_shared_and_that_is_said(given: Given, tmp_path: Path) -> None:
    given.add(listening(), "http")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "s"))
    unix.listen()
    given.add(unix)
    activation = divided(given.found, (), named=False)
    assert activation.slots == 0
    assert set(activation.shared) == set(given.found)
    local, tcp = activation.sentences()
    assert "(descriptor 3, http): all workers share it; ReusePort=yes" in tcp
    assert local == f"the service manager passes unix:{tmp_path}/s (descriptor 4): all workers share it"


def test_several_addresses_have_as_many_each(given: Given) -> None:
    given.group(2)
    given.group(2, host="::1")
    assert divided(given.found, (), named=False).slots == 2
    given.group(3)
    with pytest.raises(ConfigurationError, match=r"passes 2 of .* and 2 of .* and 3 of .*: pass as many"):
        divided(given.found, (), named=False)


def test_an_address_that_is_named_is_meant(given: Given) -> None:
    port = given.group(2)
    addresses = parse_all([f"127.0.0.1:{port}", "127.0.0.1:8123"])
    activation = divided(given.found, addresses, named=True)
    assert activation.slots == 2
    assert [str(address) for address in activation.left] == ["127.0.0.1:8123"]


def test_one_that_nobody_named_is_refused(given: Given) -> None:
    given.add(listening(), "admin")
    with pytest.raises(ConfigurationError, match=r"\(descriptor 3, admin\), and --bind does not name it"):
        divided(given.found, parse_all(["127.0.0.1:1"]), named=True)


def test_half_an_address_is_refused(given: Given) -> None:
    port = given.group(1)
    both = parse_all([f"localhost:{port}"])
    if len(socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)) < 2:
        pytest.skip("localhost is one address here")
    with pytest.raises(ConfigurationError, match=r"does not pass \[::1\]"):
        divided(given.found, both, named=True)


def test_one_by_its_number_is_shared(given: Given) -> None:
    given.group(1)
    activation = divided(given.found, parse_all(["fd://3"]), named=True)
    assert activation.shared == tuple(given.found)
    assert activation.left == ()


def test_without_any_nothing_changes() -> None:
    addresses = parse_all(["127.0.0.1:8000"])
    assert divided([], addresses, named=False).left == addresses


@pytest.mark.parametrize("asked", ["auto", 1, 4])
def test_as_many_workers_as_listeners(asked: int) -> None:
    assert workers_for(4, asked) == 4
    assert workers_for(0, asked) == asked


@pytest.mark.parametrize("asked", [2, 5])
def test_other_numbers_are_refused(asked: int) -> None:
    with pytest.raises(ConfigurationError, match=f"--workers {asked}, and the service manager passes 4"):
        workers_for(4, asked)


# ── what keeps the addresses ──────────────────────────────────────────────────────────────────────────────


def test_slots_have_theirs_and_later_ones_join_the_group(given: Given) -> None:
    port = given.group(2)
    with held(["127.0.0.1:8000"], join=False, inherited=given.found, named=False) as ports:
        assert ports.passed() == 2
        assert ports.most_slots() is None
        assert [ports.escrow(slot)[0] for slot in range(2)] == [each.socket for each in given.found]
        assert ports.escrow(2)[0].getsockname() == ("127.0.0.1", port)
        assert ports.places("http") == [f"http://127.0.0.1:{port}"]
        assert set(ports.listening()) == {*(each.socket for each in given.found), ports.escrow(2)[0]}
        ports.release()
        # The manager's are the only copies now, but for the workers'.
        assert list(ports.listening()) == []
    assert {each.socket.fileno() for each in given.found} == {-1}


def test_a_stop_lets_go_also_of_those_that_no_slot_has_used(given: Given) -> None:
    given.group(2)
    with held([], join=False, inherited=given.found, named=False) as ports:
        ports.escrow(0)
        ports.release()
        assert {each.socket.fileno() for each in given.found} == {-1}


def test_a_refusal_leaves_nothing_open(given: Given) -> None:
    given.group(2)
    with (
        pytest.raises(ConfigurationError),
        held(["127.0.0.1:1"], join=False, inherited=given.found),
    ):
        pytest.fail("it was not refused")
    assert {each.socket.fileno() for each in given.found} == {-1}


# ── what was passed ───────────────────────────────────────────────────────────────────────────────────────

CLIENT = "a, b = socket.socketpair(); os.dup2(a.fileno(), 3); os.set_inheritable(3, True)"
DATAGRAMS = "one = socket.socket(type=socket.SOCK_DGRAM); os.dup2(one.fileno(), 3)"
FILE = "os.dup2(os.open('/dev/null', 0), 3)"

TRIAL = """
import os, socket, sys
from reuseport.errors import ConfigurationError
from reuseport.kernel.inherited import passed
exec(sys.argv[1])
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID") or str(os.getpid())
try:
    print([(each.fd, each.name, str(each.endpoint or each.path), os.get_inheritable(each.fd))
           for each in passed(os.environ)])
except ConfigurationError as error:
    print(error)
"""

LISTENER = (
    "one = socket.create_server(('127.0.0.1', 0), reuse_port=True);"
    " os.dup2(one.fileno(), 3); os.set_inheritable(3, True)"
)


def passing(preparation: str, **environment: str) -> str:
    """What a process that has such descriptors makes of them."""
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, preparation],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def test_they_are_adopted_by_number_and_name() -> None:
    assert "[(3, 'http', '127.0.0.1:" in passing(LISTENER, LISTEN_FDS="1", LISTEN_FDNAMES="http")
    assert ", False)]" in passing(LISTENER, LISTEN_FDS="1")


@pytest.mark.parametrize(
    ("preparation", "environment", "word"),
    [
        ("", {"LISTEN_FDS": "x"}, "LISTEN_FDS is 'x', no number of sockets"),
        ("", {"LISTEN_FDS": "-1"}, "no number of sockets"),
        ("", {"LISTEN_FDS": "9" * 30}, "no number of sockets"),
        (LISTENER, {"LISTEN_FDS": "2"}, "descriptor 4 of the service manager is not open"),
        (LISTENER, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, "has 2 names, and LISTEN_FDS says 1"),
        (
            "os.dup2(os.open('/dev/null', 0), 3)",
            {"LISTEN_FDS": "1"},
            "descriptor 3 of the service manager is no",
        ),
        (
            "s = socket.socket(type=socket.SOCK_DGRAM); os.dup2(s.fileno(), 3); os.set_inheritable(3, True)",
            {"LISTEN_FDS": "1"},
            "is no stream",
        ),
        (CLIENT, {"LISTEN_FDS": "1"}, "say Accept=no"),
        (LISTENER, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, "LISTEN_FDS is for pid 1 and not for us"),
    ],
)
def test_what_is_no_listener_is_refused(preparation: str, environment: dict[str, str], word: str) -> None:
    assert word in passing(preparation, **environment)


def test_without_the_variables_nothing_is_touched() -> None:
    assert passed({}) == []
    assert passed({"LISTEN_FDS": "3"}) == []
    # Somebody else's.
    assert passed({"LISTEN_FDS": "3", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b:c"}) == []
