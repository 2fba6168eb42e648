"""The kernel facts that reservation and listeners stand on, each tried on this kernel."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reuseport.kernel.addresses import TCPAddress
from reuseport.kernel.listener import Reservation, bind_listener, reserve_all
from reuseport.kernel.queue import AcceptQueue, accept_queue

CLIENTS = 20
LISTEN = "0A"

# Binds and listens as another user with the given options, and prints the errno, 0 for success.
INTRUDER = """
become(65534)
try:
    kept = open_listener("127.0.0.1", {port}, {options})
    print(0)
except OSError as error:
    print(error.errno)
"""


@pytest.fixture
def reservation() -> Iterator[Reservation]:
    (held,) = reserve_all([TCPAddress("127.0.0.1", 0)])
    with contextlib.closing(held):
        yield held


def connect(reservation: Reservation, clients: contextlib.ExitStack) -> None:
    for _ in range(CLIENTS):
        clients.enter_context(socket.create_connection(reservation.endpoint.sockaddr[:2]))


def test_a_reservation_alone_receives_nobody(reservation: Reservation) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(reservation.endpoint.sockaddr[:2])


def test_a_bound_listener_receives_nobody_until_it_listens(reservation: Reservation) -> None:
    with bind_listener(reservation.endpoint), pytest.raises(ConnectionRefusedError):
        socket.create_connection(reservation.endpoint.sockaddr[:2])


def test_beside_a_reservation_the_listeners_receive_everybody(reservation: Reservation) -> None:
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(bind_listener(reservation.endpoint)) for _ in range(2)]
        for listener in listeners:
            listener.listen(CLIENTS)
        connect(reservation, opened)
        assert sum(accept_queue(listener).waiting for listener in listeners) == CLIENTS


def test_the_accept_queue_tells_its_depth_and_limit(reservation: Reservation) -> None:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(bind_listener(reservation.endpoint))
        assert accept_queue(listener) == AcceptQueue(0, 0)
        listener.listen(100)
        connect(reservation, opened)
        copy = opened.enter_context(listener.dup())
        assert accept_queue(copy) == AcceptQueue(CLIENTS, 100)
        listener.accept()[0].close()
        assert accept_queue(copy) == AcceptQueue(CLIENTS - 1, 100)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    "options", ["", "socket.SO_REUSEPORT", "socket.SO_REUSEADDR", "socket.SO_REUSEPORT, socket.SO_REUSEADDR"]
)
def test_another_user_cannot_listen_over_a_reservation(
    reservation: Reservation, run: Callable[[str], tuple[int, str]], options: str
) -> None:
    _, answer = run(INTRUDER.format(port=reservation.endpoint.port, options=options))
    assert int(answer) == errno.EADDRINUSE


@pytest.mark.usefixtures("as_root")
def test_with_reuseaddr_another_user_could(run: Callable[[str], tuple[int, str]]) -> None:
    # Why reservations never set it. If this fails the kernel has become stricter: good news.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as careless:
        careless.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        careless.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        careless.bind(("127.0.0.1", 0))
        _, answer = run(INTRUDER.format(port=careless.getsockname()[1], options="socket.SO_REUSEADDR"))
    assert int(answer) == 0


def test_another_process_of_our_user_joins(
    reservation: Reservation, run: Callable[[str], tuple[int, str]]
) -> None:
    _, answer = run(
        f"kept = listener.bind_listener(Endpoint.from_json({reservation.endpoint.to_json()}))\n"
        "kept.listen()\nprint('joined')"
    )
    assert answer == "joined"
    socket.create_connection(reservation.endpoint.sockaddr[:2]).close()


def test_what_asyncio_accepts_has_nagle_off(reservation: Reservation) -> None:
    async def nodelay_of_one_connection() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client: socket.socket = writer.get_extra_info("socket")
            seen.set_result(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        server = await asyncio.start_server(answer, sock=bind_listener(reservation.endpoint))
        async with server:
            _, writer = await asyncio.open_connection(*reservation.endpoint.sockaddr[:2])
            nodelay = await seen
            writer.close()
            await writer.wait_closed()
            return nodelay

    assert asyncio.run(nodelay_of_one_connection()) != 0


def test_proc_lists_every_listener_before_the_first_connection(reservation: Reservation) -> None:
    with contextlib.ExitStack() as opened:
        early = opened.enter_context(bind_listener(reservation.endpoint))
        early.listen(CLIENTS)
        connect(reservation, opened)
        opened.enter_context(bind_listener(reservation.endpoint)).listen()
        rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        listening = [row.split()[3] == LISTEN for row in rows]
    assert listening.count(True) >= 2
    assert listening.count(False) >= CLIENTS
    assert listening == sorted(listening, reverse=True)
