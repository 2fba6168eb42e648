"""How long connections have waited to be accepted: as the kernel tells it, of the first after each look."""

from __future__ import annotations

import asyncio
import socket
import time

from reuseport.kernel.waiting import since_data, since_handshake
from reuseport.scoreboard import Desk
from reuseport.worker.protocol.arrivals import ROUND, TURNS
from tests.worker.protocol.test_deadlines import App, look, until
from tests.worker.served import Served

WAIT = 0.2
JIFFY = 0.011
"""Seconds, the longest that there is, and a millisecond's rounding."""


def test_the_kernel_knows_how_long_a_connection_and_its_bytes_have_waited() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begun = time.monotonic()
        with socket.create_connection(listener.getsockname()) as client:
            connected = time.monotonic()
            time.sleep(WAIT)
            client.send(b"x")
            sent = time.monotonic()
            time.sleep(WAIT / 2)
            accepted, _ = listener.accept()
            with accepted:
                asked = time.monotonic()
                handshake, data = since_handshake(accepted), since_data(accepted)
                now = time.monotonic()
    assert asked - connected - JIFFY <= handshake <= now - begun + JIFFY
    assert asked - sent - JIFFY <= data <= now - connected - WAIT + JIFFY


def test_of_a_unix_socket_nobody_knows() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert (since_handshake(one), since_data(one)) == (0, 0)


def test_the_longest_wait_is_told_for_a_while() -> None:
    async def go() -> None:
        async with Served(App(), "httptools") as served:
            client = socket.create_connection(tuple(served.address))
            time.sleep(WAIT)  # noqa: ASYNC251 - the event loop is late, so the client waits
            await until(lambda: served.state.connections)
            for _ in range(TURNS):  # it may be asked a turn after it was connected
                await asyncio.sleep(0)
            look(served, 1)
            assert WAIT - JIFFY <= served.desk[Desk.ACCEPT_WAIT] / 1e9 < 30
            later = await served.connect()
            look(served, ROUND)
            assert served.desk[Desk.ACCEPT_WAIT] / 1e9 >= WAIT - JIFFY
            look(served, ROUND)
            assert served.desk[Desk.ACCEPT_WAIT] / 1e9 < WAIT - JIFFY
            later.writer.close()
            client.close()

    asyncio.run(go())
