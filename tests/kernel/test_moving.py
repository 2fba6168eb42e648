"""A port that changes hands while connections are in TIME_WAIT, and stays closed to everybody else.

Who is let in depends on two options of each socket that is there, so all combinations are tried, as the same
user and as another, over both families. net/ipv4/inet_connection_sock.c has the rules.
"""

import contextlib
import itertools
import os
import socket
from collections.abc import Callable

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import Endpoint, TCPAddress, resolve
from reuseport.kernel.listener import Reservation, _prove, bind_listener, refuse_strangers, reserve_together

pytestmark = pytest.mark.usefixtures("no_leak")

COMBINATIONS = tuple(itertools.product((0, 1), (0, 1)))
"""SO_REUSEADDR and SO_REUSEPORT."""
UVICORN = (1, 0)
HOSTS = ("127.0.0.1", "0.0.0.0", "::1", "::")

STRANGER = """
become({uid})
let_in = []
for options in ({options}):
    for listens in (False, True):
        with contextlib.suppress(OSError), socket.socket({family}) as sock:
            for name, value in zip((socket.SO_REUSEADDR, socket.SO_REUSEPORT), options):
                sock.setsockopt(socket.SOL_SOCKET, name, value)
            if {family} == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, {only})
            sock.bind(({host!r}, {port}))
            if listens:
                sock.listen()
            let_in.append((*options, listens))
print("let in:", let_in)
"""


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    if ":" in request.param:
        request.getfixturevalue("ipv6")
    return str(request.param)


def at(host: str, port: int = 0) -> Endpoint:
    return resolve(TCPAddress(host, port))[0]


def reserve(endpoint: Endpoint) -> Reservation:
    (reservation,) = reserve_together([endpoint])
    return reservation


def opened(endpoint: Endpoint, reuseaddr: int, reuseport: int) -> socket.socket:
    """Bound, as other servers do it."""
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuseaddr)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuseport)
        sock.bind(endpoint.sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def use(listener: socket.socket) -> None:
    """Listen, close a connection from the server's side first, then the server: TIME_WAIT stays there."""
    port = listener.getsockname()[1]
    address = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
    listener.setblocking(True)
    with listener:
        listener.listen()
        with socket.create_connection((address, port)) as client:
            listener.accept()[0].close()
            assert client.recv(1) == b""


def theirs(endpoint: Endpoint, options: tuple[int, int]) -> Endpoint:
    """TIME_WAIT of another server."""
    with opened(endpoint, *options) as listener:
        port = listener.getsockname()[1]
        use(listener)
    return endpoint.with_port(port)


def ours(endpoint: Endpoint) -> Endpoint:
    """TIME_WAIT of a slot's listener."""
    with contextlib.closing(reserve(endpoint)) as reservation:
        use(bind_listener(reservation.endpoint))
    return reservation.endpoint


def strangers(run: Callable[[str], tuple[int, str]], endpoint: Endpoint, uid: int = 65534) -> str:
    """With which options another user gets in beside us, to bind (False) or to listen (True) there."""
    source = STRANGER.format(
        uid=uid,
        options=COMBINATIONS,
        family=int(endpoint.family),
        only=int(endpoint.host != "::"),
        host=endpoint.host,
        port=endpoint.port,
    )
    return run(source)[1]


@pytest.mark.parametrize("options", [(0, 1), (1, 0), (1, 1)])
def test_we_start_after_whoever_could_start_again_himself(host: str, options: tuple[int, int]) -> None:
    endpoint = theirs(at(host), options)
    with contextlib.closing(reserve(endpoint)) as reservation:
        refuse_strangers([reservation])
        with bind_listener(endpoint) as listener, bind_listener(endpoint) as other:
            listener.listen()
            other.listen()


def test_a_server_without_either_option_keeps_the_port_for_a_while(host: str) -> None:
    endpoint = theirs(at(host), (0, 0))
    with pytest.raises(ConfigurationError, match="wait up to 60 seconds"):
        reserve(endpoint)


@pytest.mark.parametrize("options", [(0, 1), (1, 0), (1, 1)])
def test_whoever_has_an_option_starts_after_us(host: str, options: tuple[int, int]) -> None:
    with opened(ours(at(host)), *options) as listener:
        listener.listen()


def test_over_and_back_again(host: str) -> None:
    endpoint = ours(at(host))
    for _ in range(2):
        endpoint = ours(theirs(endpoint, UVICORN))
    reserve(endpoint).close()


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("before", ["nobody", "uvicorn", "ourselves"])
def test_no_other_user_gets_in(before: str, host: str, run: Callable[[str], tuple[int, str]]) -> None:
    endpoint = at(host)
    if before == "uvicorn":
        endpoint = theirs(endpoint, UVICORN)
    elif before == "ourselves":
        endpoint = ours(endpoint)
    with contextlib.closing(reserve(endpoint)) as reservation:
        endpoint = reservation.endpoint
        assert strangers(run, endpoint) == "let in: []", "the reservation alone"
        with bind_listener(endpoint) as listener:
            assert strangers(run, endpoint) == "let in: []", "beside a listener that does not listen yet"
            listener.listen()
            assert strangers(run, endpoint) == "let in: []", "beside one that does"
        assert strangers(run, endpoint) == "let in: []", "when it has gone"


def test_of_our_own_user_only_who_shares(run: Callable[[str], tuple[int, str]], host: str) -> None:
    with contextlib.closing(reserve(at(host))) as reservation:
        let_in = strangers(run, reservation.endpoint, uid=os.geteuid())
        assert let_in == "let in: [(0, 1, False), (0, 1, True), (1, 1, False), (1, 1, True)]"


def test_who_slips_in_while_we_bind_can_neither_listen_nor_be_in_our_way(host: str) -> None:
    """A reservation has SO_REUSEADDR for one call: this is that moment."""
    endpoint = theirs(at(host), UVICORN)
    with opened(endpoint, 1, 1) as reservation, opened(endpoint, *UVICORN) as stranger:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        with pytest.raises(OSError, match="Address already in use"):
            stranger.listen()
        with bind_listener(endpoint) as listener:
            listener.listen()


def test_a_port_that_bind_does_not_guard_is_not_ours(host: str) -> None:
    with opened(at(host), *UVICORN) as bound, pytest.raises(OSError, match="Address already in use"):
        _prove(at(host, bound.getsockname()[1]))


def test_a_server_that_is_just_starting_is_not_bound_over(host: str) -> None:
    """It has bound, as uvicorn does before it imports the application, and nobody has ever listened."""
    with opened(at(host), *UVICORN) as starting:
        with pytest.raises(ConfigurationError, match="does not listen: it is this server itself"):
            reserve(at(host, starting.getsockname()[1]))
        starting.listen()


@pytest.mark.usefixtures("silent_shown")
@pytest.mark.parametrize("options", [UVICORN, (0, 1), (1, 1)])
def test_nor_started_beside_when_connections_are_left_of_another(host: str, options: tuple[int, int]) -> None:
    """TIME_WAIT explains that the port was bound before us, and hides that somebody else has it, too."""
    endpoint = theirs(at(host), (1, 1))
    with (
        opened(endpoint, *options),
        contextlib.closing(reserve(endpoint)) as reservation,
        pytest.raises(ConfigurationError, match=f"reserved by pid {os.getpid()} .*just starting"),
    ):
        refuse_strangers([reservation])
