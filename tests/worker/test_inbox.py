"""What comes out of an inbox: connections, and whatever else somebody may have put there."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from reuseport.scoreboard import Desk
from reuseport.worker.inbox import Inbox
from reuseport.worker.passing import PASSED, RESCUED
from tests.worker.served import PATIENCE, Client, Served, request


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def passed(sending: socket.socket, packet: bytes) -> tuple[Client, socket.socket]:
    """A client whose connection comes out of the inbox, and the duplicate that who sent it keeps."""
    listener = socket.create_server(("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    connection, _ = listener.accept()
    listener.close()
    socket.send_fds(sending, [packet], [connection.fileno()])

    return Client(reader, writer), connection


async def taking_up(packet: bytes) -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    async with Served(app, "httptools", interface="asgi3") as served:
        inbox = Inbox(receiving.detach(), served.server, served.desk)
        inbox.open(asyncio.get_running_loop())
        with sending:
            # A pipe, a file, nothing at all, more than one.
            out, into = os.pipe()
            socket.send_fds(sending, [b"c"], [out])
            socket.send_fds(sending, [b"r"], [into])
            sending.send(b"c")
            os.close(out)
            os.close(into)
            client, kept = await passed(sending, packet)
            async with client:
                assert await client.ask(request()) == 200
                assert served.desk[Desk.HANDOFFS_RECEIVED] == 1
                assert await client.ask(request("/", "GET", "Connection: close")) == 200
                if packet == RESCUED:
                    assert await client.rest() == b"", "the end is told although another holds it, too"
                kept.close()
                assert await client.rest() == b""
        inbox.close()


@pytest.mark.parametrize("packet", [PASSED, RESCUED])
def test_what_is_no_connection_is_closed_and_the_next_is_served(packet: bytes) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(asyncio.wait_for(taking_up(packet), PATIENCE))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
