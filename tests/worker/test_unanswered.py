"""Who does not answer TLS's goodbye is not waited for; who still reads is."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme
import uvloop

from reuseport.worker.protocol.awaited import untaken
from reuseport.worker.unanswered import PATIENCE, Unanswered

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
MUCH = 8 << 20
"""Bytes that no socket buffer takes at once."""


class Served(asyncio.Protocol):
    """A connection of the server's, as its books have it."""

    transport: Any  # uvloop's is no asyncio.Transport

    def __init__(self, connections: set[Served]) -> None:
        self._connections = connections
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)
        self.lost.set_result(None)


async def met(authority: trustme.CA) -> tuple[set[Served], socket.socket]:
    """The server's connections, one, and its client, which speaks TLS with blocking calls."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("one.test").configure_cert(context)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    connections: set[Served] = set()
    # TCP: on a unix socket goodbyes that nobody reads count as untaken (unix(7), SIOCOUTQ).
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    shaken = asyncio.get_running_loop().run_in_executor(
        None, lambda: theirs.wrap_socket(client, server_hostname="one.test")
    )
    await asyncio.get_running_loop().connect_accepted_socket(lambda: Served(connections), ours, ssl=context)
    return connections, await shaken


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_does_not_answer_is_let_go(loop: str) -> None:
    async def scene() -> None:
        connections, client = await met(trustme.CA())
        (connection,) = connections
        unanswered = Unanswered(connections)
        unanswered.look(0.0)
        unanswered.look(PATIENCE * 10)
        assert not connection.transport.is_closing(), "nobody has closed it yet"
        connection.transport.close()
        while untaken(connection.transport):  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0)
        unanswered.look(PATIENCE * 20)
        unanswered.look(PATIENCE * 20.9)
        await asyncio.sleep(0)
        assert not connection.lost.done()
        unanswered.look(PATIENCE * 21.1)
        await connection.lost
        with client:
            assert client.recv(1) == b"", "it was told, and closed"

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(scene())


def test_a_protocol_that_shows_no_transport_is_left_alone() -> None:
    Unanswered([object()]).look(0.0)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_still_reads_gets_everything(loop: str) -> None:
    async def scene() -> None:
        connections, client = await met(trustme.CA())
        (connection,) = connections
        unanswered = Unanswered(connections)
        connection.transport.write(b"x" * MUCH)
        connection.transport.close()
        for step in range(10):
            unanswered.look(PATIENCE * 2 * step)

        def read() -> int:
            number = 0
            with client:
                while some := client.recv(1 << 16):
                    number += len(some)
            return number

        assert await asyncio.get_running_loop().run_in_executor(None, read) == MUCH
        await connection.lost

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(scene())
