"""What comes out of a session inbox: requests, and whatever else somebody may have put there."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import uvloop

from reuseport.keytable import KeyTable
from reuseport.scoreboard import Desk, Scoreboard
from reuseport.worker.protocol.connection import PROTOCOLS
from reuseport.worker.sticky.homes import AWAY, Homes
from reuseport.worker.sticky.incoming import Incoming
from reuseport.worker.sticky.keys import Keys
from reuseport.worker.sticky.movable import MOVABLE
from reuseport.worker.sticky.moving import BESIDE, MOST, SHORT, WITH
from reuseport.worker.sticky.sessions import Sessions
from tests.worker.served import PATIENCE, Client, Served, request

SLOTS = 3


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Scene:
    """A worker in slot 0 that reads the session inbox of `slot`."""

    def __init__(self, http: str, app: Any = app) -> None:
        self.scoreboard = Scoreboard.create(SLOTS)
        self.table = KeyTable.create(SLOTS)
        self.desk = self.scoreboard.desk(0, 0)
        keys = Keys(("header:key",), b"x" * 32)
        homes = Homes(self.table, self.scoreboard, 0, 0)
        homes.reach(range(SLOTS))
        self.sessions = Sessions(keys, homes, self.desk)
        self.served = Served(app, MOVABLE[PROTOCOLS[http]], interface="asgi3")
        self.served.config.loaded_app = self.served.state.requests.around(self.sessions.around(app))
        self.served.state.sessions = self.sessions
        self.receiving, self.sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def close(self) -> None:
        self.sending.close()
        self.table.close()
        os.close(self.scoreboard.fd)

    def incoming(self, slot: int) -> Incoming:
        return Incoming(self.receiving.detach(), self.served.server, self.desk, self.sessions, slot)

    async def send(self, *packet: bytes, beside: tuple[int, ...] = ()) -> tuple[Client, int]:
        """A packet with a connection: its client, and who keeps the descriptor."""
        listener = socket.create_server(("127.0.0.1", 0))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        connection, _ = listener.accept()
        listener.close()
        socket.send_fds(self.sending, packet, [connection.fileno(), *beside])
        return Client(reader, writer), connection.detach()


def file(content: bytes) -> int:
    made = os.memfd_create("test")
    os.write(made, content)
    return made


async def taking_up(scene: Scene) -> None:
    async with scene.served:
        incoming = scene.incoming(0)
        incoming.open(asyncio.get_running_loop())
        out, into = os.pipe()
        directory = os.open("/", os.O_RDONLY)
        large, empty = file(b"x" * (MOST + 1)), file(b"")
        socket.send_fds(scene.sending, [WITH, request()], [out])
        scene.sending.send(WITH + request())
        scene.sending.send(b"?")
        strange = [
            await scene.send(WITH),
            await scene.send(b"?", request()),
            await scene.send(WITH, request(), beside=(out,)),
            await scene.send(BESIDE),
            *[await scene.send(BESIDE, beside=(fd,)) for fd in (out, into, directory, large, empty)],
        ]
        for fd in (out, into, directory, large, empty):
            os.close(fd)
        for client, kept in strange:
            os.close(kept)
            async with client:
                assert await client.rest() == b""
        # Whole requests, and whatever their own worker would have made of them.
        body = b"x" * SHORT
        post = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(body)
        long = file(post + body)
        for sent, status in (
            (await scene.send(WITH, request()), 200),
            (await scene.send(BESIDE, beside=(long,)), 200),
            (await scene.send(WITH, b"garbage\r\n\r\n"), 400),
        ):
            client, kept = sent
            async with client:
                assert await client.answer(body=status == 200) == status
                if status == 200:
                    assert await client.ask(request("/", "GET", "Connection: close")) == 200
                await client.rest()  # although another holds the connection, too
            os.close(kept)
        os.close(long)
        incoming.close()


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_what_is_no_request_is_closed_and_the_next_is_served(http: str) -> None:
    gc.collect()  # mappings of the scene before, which have descriptors of their own
    with contextlib.closing(Scene(http)) as scene:
        before = len(list(Path("/proc/self/fd").iterdir()))
        asyncio.run(asyncio.wait_for(taking_up(scene), PATIENCE))
        # The end that the inbox was given is closed.
        assert len(list(Path("/proc/self/fd").iterdir())) == before - 1


async def known_already(scene: Scene) -> None:
    """Its mover has asked where it belongs: whatever would be answered now, it stays."""
    scene.scoreboard.desk(1, 0)[Desk.HEARTBEAT] = time.monotonic_ns()
    key = scene.sessions.keys.asked([(b"key", b"x")], b"/")
    assert key is not None
    scene.table.put(key.tag, 1)
    async with scene.served:
        incoming = scene.incoming(0)
        incoming.open(asyncio.get_running_loop())
        asking = request("/", "GET", "key: x")
        client, kept = await scene.send(WITH, asking)
        os.close(kept)
        async with client:
            assert await client.answer() == 200
            assert scene.desk[Desk.STICKY_MISSED] == 0
            # The next one is asked for, and there is no way to the other slot.
            assert await client.ask(asking) == 200
            assert scene.desk[Desk.STICKY_MISSED] == 1
        incoming.close()


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_what_was_moved_is_not_moved_again(http: str) -> None:
    with contextlib.closing(Scene(http)) as scene:
        asyncio.run(asyncio.wait_for(known_already(scene), PATIENCE))


async def flooding(scene: Scene, read: asyncio.Event) -> None:
    size = 50_000_000
    async with scene.served:
        incoming = scene.incoming(0)
        incoming.open(asyncio.get_running_loop())
        begun = file(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size + b"x" * 100_000)
        client, kept = await scene.send(BESIDE, beside=(begun,))
        os.close(kept)
        os.close(begun)
        async with client:
            client.writer.write(b"x" * (size - 100_000))
            await asyncio.sleep(0.5)  # in which more would come
            connection: Any
            [connection] = scene.served.state.connections
            assert len(connection.cycle.body) < 2_000_000
            read.set()
            assert await client.answer() == 200
        incoming.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_body_that_nobody_reads_waits(http: str, loop: Any) -> None:
    read = asyncio.Event()

    async def reluctant(scope: Any, receive: Any, send: Any) -> None:
        await read.wait()
        while (await receive()).get("more_body"):
            pass
        await app(scope, receive, send)

    with contextlib.closing(Scene(http, reluctant)) as scene, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(flooding(scene, read), PATIENCE))


async def fostering(scene: Scene) -> None:
    beat = scene.scoreboard.desk(2, 0)
    beat[Desk.HEARTBEAT] = time.monotonic_ns()
    async with scene.served:
        incoming = scene.incoming(2)
        incoming.open_as_foster(asyncio.get_running_loop())
        client, kept = await scene.send(WITH, request())
        os.close(kept)
        async with client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reader.read(1), 0.3)
            beat[Desk.HEARTBEAT] = time.monotonic_ns() - int((AWAY + 1) * 1e9)
            assert await client.answer() == 200
            assert scene.desk[Desk.STICKY_MISSED] == 1
            beat[Desk.HEARTBEAT] = time.monotonic_ns()
            await asyncio.sleep(0.2)  # it looks again, and reads no more
            other, kept = await scene.send(WITH, request())
            os.close(kept)
            async with other:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(other.reader.read(1), 0.3)
        incoming.close()


def test_a_foster_reads_only_while_nobody_else_does() -> None:
    with contextlib.closing(Scene("httptools")) as scene:
        asyncio.run(asyncio.wait_for(fostering(scene), PATIENCE))
