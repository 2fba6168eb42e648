"""A listener that is let go in any turn of the event loop: no connection falls between two chairs."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop
from uvicorn.config import Config

from reuseport.worker.protocol.connection import PROTOCOLS
from reuseport.worker.server import Server
from tests.worker.protocol.test_connection import GET, PATIENCE, app, state


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_connection_is_answered_or_still_queued(
    new_loop: type[asyncio.AbstractEventLoop], turns: int
) -> None:
    async def go() -> None:
        config = Config(app, http=PROTOCOLS["httptools"], log_config=None, lifespan="off", ws="none")
        config.load()
        server = Server(config, state(), [], [], print, print)
        server.lifespan = config.lifespan_class(config)
        listener = socket.create_server(("127.0.0.1", 0))
        address, escrow = listener.getsockname(), listener.dup()
        escrow.setblocking(False)
        accepting = await server.accept_from(listener)
        with socket.create_connection(address) as client, escrow:
            client.setblocking(False)
            client.sendall(GET)
            for _ in range(turns):
                await asyncio.sleep(0)
            server.accept_no_more(accepting)
            for _ in range(8):
                await asyncio.sleep(0)
            try:
                escrow.accept()[0].close()
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                answer = await asyncio.wait_for(loop.sock_recv(client, 1000), PATIENCE)
                assert answer.startswith(b"HTTP/1.1 200 ")
        async with asyncio.timeout(PATIENCE):
            while server.server_state.connections:  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(go())
