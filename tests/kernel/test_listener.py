"""Reservations and listeners: options, families, port 0, and every refusal."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError, HostError
from reuseport.kernel.addresses import Endpoint, TCPAddress, resolve
from reuseport.kernel.listener import bind_listener, reserve_all, reserve_together

pytestmark = pytest.mark.usefixtures("no_leak")

# TEST-NET-1 (RFC 5737): on no host.
ELSEWHERE = "192.0.2.1"


def at(host: str, port: int = 0) -> Endpoint:
    return resolve(TCPAddress(host, port))[0]


def reserve(endpoint: Endpoint) -> socket.socket:
    (reservation,) = reserve_together([endpoint])
    return reservation.socket


def option(sock: socket.socket, name: int) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, name)


@pytest.mark.parametrize(("bind", "reuseaddr"), [(reserve, 0), (bind_listener, 1)])
def test_options_of_what_is_bound(bind: Callable[[Endpoint], socket.socket], reuseaddr: int) -> None:
    with bind(at("127.0.0.1")) as sock:
        assert option(sock, socket.SO_REUSEPORT) == 1
        assert option(sock, socket.SO_REUSEADDR) == reuseaddr
        assert option(sock, socket.SO_ACCEPTCONN) == 0
        assert sock.proto == socket.IPPROTO_TCP
        assert not sock.get_inheritable()


def test_only_the_workers_listener_is_non_blocking() -> None:
    with reserve(at("127.0.0.1")) as reservation, bind_listener(at("127.0.0.1")) as listener:
        assert reservation.getblocking()
        assert not listener.getblocking()


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize(("host", "only"), [("::", 0), ("::1", 1)])
def test_the_ipv6_wildcard_alone_is_dual_stack(host: str, only: int) -> None:
    with bind_listener(at(host)) as listener:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == only


@pytest.mark.usefixtures("ipv6")
def test_one_dual_stack_listener_serves_both_families() -> None:
    (reservation,) = reserve_all([TCPAddress("::", 0)])
    with contextlib.closing(reservation), bind_listener(reservation.endpoint) as listener:
        listener.listen()
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, reservation.endpoint.port)).close()
            listener.accept()[0].close()


def test_a_reservation_knows_the_port_the_kernel_chose() -> None:
    (reservation,) = reserve_all([TCPAddress("127.0.0.1", 0)])
    with contextlib.closing(reservation):
        assert reservation.endpoint.port != 0
        assert reservation.endpoint.sockaddr == reservation.socket.getsockname()


def test_closing_a_reservation_frees_the_port() -> None:
    (reservation,) = reserve_all([TCPAddress("127.0.0.1", 0)])
    reservation.close()
    with socket.socket() as exclusive:
        exclusive.bind(reservation.endpoint.sockaddr)


def test_addresses_with_port_0_get_ports_of_their_own() -> None:
    one, other = reserve_all([TCPAddress("127.0.0.1", 0), TCPAddress("127.0.0.1", 0)])
    with contextlib.closing(one), contextlib.closing(other):
        assert one.endpoint.port != other.endpoint.port


@pytest.mark.usefixtures("ipv6")
def test_families_of_one_name_share_the_port_the_kernel_chose() -> None:
    one, other = reserve_together([at("::1"), at("127.0.0.1")])
    with contextlib.closing(one), contextlib.closing(other):
        assert one.endpoint.port == other.endpoint.port != 0
        assert (one.endpoint.host, other.endpoint.host) == ("::1", "127.0.0.1")


# bind(2) prefers odd ports (inet_csk_find_open_port): one of the eight it tries first is taken for IPv6.
FEW_PORTS = """
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40015")
taken = open_listener("::1", 40001{options})
endpoints = [Endpoint(socket.AF_INET, ("127.0.0.1", 0)), Endpoint(socket.AF_INET6, ("::1", 0, 0, 0))]
ports = set()
for _ in range(100):
    for reservation in listener.reserve_together(endpoints):
        ports.add(reservation.endpoint.port)
        reservation.close()
print(40001 not in ports)
"""

NO_PORT = """
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40000")
taken = open_listener("::1", 40000)
before = len(os.listdir("/proc/self/fd"))
try:
    endpoints = [Endpoint(socket.AF_INET, ("127.0.0.1", 0)), Endpoint(socket.AF_INET6, ("::1", 0, 0, 0))]
    listener.reserve_together(endpoints)
except ReuseportError as error:
    print(type(error).__name__, error, len(os.listdir("/proc/self/fd")) - before)
"""


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize("options", ["", ", socket.SO_REUSEPORT"])
def test_a_port_taken_for_the_second_family_is_given_up(
    own_network: Callable[[str], str], options: str
) -> None:
    assert own_network(FEW_PORTS.format(options=options)) == "True"


@pytest.mark.usefixtures("ipv6")
def test_no_port_for_both_families_is_the_hosts_fault(own_network: Callable[[str], str]) -> None:
    answer = own_network(NO_PORT)
    assert answer.startswith("HostError no port is free on 127.0.0.1 and ::1")
    assert answer.endswith(" 0")


def test_an_endpoint_this_host_has_not_is_skipped_beside_one_it_has() -> None:
    (reservation,) = reserve_together([at(ELSEWHERE), at("127.0.0.1")])
    with contextlib.closing(reservation):
        assert reservation.endpoint.host == "127.0.0.1"


def test_an_address_of_another_host_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:8000 is not an address of this host"):
        reserve_all([TCPAddress(ELSEWHERE, 8000)])
    with pytest.raises(ConfigurationError, match="is not an address of this host"):
        reserve(at(ELSEWHERE))


@pytest.mark.usefixtures("ipv6")
def test_a_link_local_address_needs_its_interface() -> None:
    with pytest.raises(ConfigurationError, match="needs its interface"):
        reserve(at("fe80::1"))


def test_a_failure_leaves_nothing_reserved() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ConfigurationError, match="not an address of this host"):
        reserve_all([TCPAddress("127.0.0.1", port), TCPAddress(ELSEWHERE, port)])
    with socket.socket() as exclusive:
        exclusive.bind(("127.0.0.1", port))


@pytest.mark.usefixtures("ipv6")
def test_a_failure_for_one_family_gives_up_the_other() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        # The caught error keeps every frame alive, so only a visible close frees the port.
        with pytest.raises(ConfigurationError, match="in use") as caught:
            reserve_together([at("127.0.0.1", port), at("::1", port)])
        with socket.socket() as exclusive:
            exclusive.bind(("127.0.0.1", port))
    assert caught.tb


def test_an_endpoint_given_twice_is_refused_before_anything_is_bound() -> None:
    with pytest.raises(ConfigurationError, match="given twice"):
        reserve_all([TCPAddress("127.0.0.1", 8000), TCPAddress("127.0.0.1", 8000)])


def test_a_program_without_reuseport_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = at("127.0.0.1", server.getsockname()[1])
        command = Path("/proc/self/comm").read_text(encoding="ascii").strip()
        with pytest.raises(
            ConfigurationError,
            match=rf"{endpoint} is in use: pid {os.getpid()} \({command}, .*without SO_REUSEPORT; stop it",
        ) as caught:
            reserve_all([TCPAddress("127.0.0.1", endpoint.port)])
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.usefixtures("ipv6")
def test_a_listener_is_named_rather_than_a_connection() -> None:
    # The connection is read first, from the table of IPv4; SO_REUSEADDR lets the two share the port.
    with (
        socket.create_server(("127.0.0.1", 0)) as elsewhere,
        socket.socket() as client,
        socket.socket(socket.AF_INET6) as server,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("127.0.0.1", 0))
        client.connect(elsewhere.getsockname())
        port = client.getsockname()[1]
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        server.listen()
        with pytest.raises(ConfigurationError, match=rf"serves \[::\]:{port} without SO_REUSEPORT"):
            reserve(at("127.0.0.1", port))


@pytest.mark.usefixtures("as_root")
def test_another_users_listener_is_named(run: Callable[[str], tuple[int, str]]) -> None:
    pid, port = run(
        "become(65534)\n"
        "kept = open_listener('127.0.0.1', 0, socket.SO_REUSEPORT)\n"
        "print(kept.getsockname()[1])"
    )
    with pytest.raises(ConfigurationError, match=rf"pid {pid} \(.*, user \w+\) serves .* as another user"):
        reserve(at("127.0.0.1", int(port)))


@pytest.mark.usefixtures("silent_shown")
def test_a_bound_socket_that_does_not_listen_is_named() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigurationError, match=f"pid {os.getpid()} .* and does not listen"):
            reserve(at("127.0.0.1", silent.getsockname()[1]))


def test_a_connection_in_the_way_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        with pytest.raises(ConfigurationError, match=f"pid {os.getpid()} .* has a connection from"):
            reserve(at("127.0.0.1", client.getsockname()[1]))


PRIVILEGED = """
Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("{start}")
become(65534)
try:
    listener.reserve_together([Endpoint(socket.AF_INET, ("127.0.0.1", 81))])
    print("reserved")
except ReuseportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.usefixtures("as_root")
def test_a_privileged_port_needs_the_right(own_network: Callable[[str], str]) -> None:
    answer = own_network(PRIVILEGED.format(start=82))
    assert answer.startswith("ConfigurationError 127.0.0.1:81 is forbidden: ports below 82 need CAP_NET_BIND")
    assert "net.ipv4.ip_unprivileged_port_start" in answer


@pytest.mark.usefixtures("as_root")
def test_the_sysctl_lowers_what_is_privileged(own_network: Callable[[str], str]) -> None:
    assert own_network(PRIVILEGED.format(start=81)) == "reserved"


EXHAUSTED = """
import resource
limit = max(map(int, os.listdir("/proc/self/fd")))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
try:
    listener.reserve_together([Endpoint(socket.AF_INET, ("127.0.0.1", 0))])
except ReuseportError as error:
    print(type(error).__name__, error)
"""


def test_a_used_up_limit_is_the_hosts_fault(run: Callable[[str], tuple[int, str]]) -> None:
    assert run(EXHAUSTED)[1].startswith("HostError no socket for 127.0.0.1:0")


def test_an_errno_nobody_foresaw_is_not_dressed_up() -> None:
    with pytest.raises(OSError, match=f"Errno {errno.EPROTONOSUPPORT}") as caught:
        reserve(Endpoint(socket.AF_UNIX, ("127.0.0.1", 0)))
    assert not isinstance(caught.value, ConfigurationError | HostError)
