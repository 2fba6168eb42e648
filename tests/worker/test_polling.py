"""A worker's own listener wakes one of those who wait for it, in either loop: and nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from reuseport.kernel.waking import wait_alone
from reuseport.worker.polling import Exclusive, epoll_of

PATIENCE = 30.0
FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class Hello(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()


class Listening:
    """A server of the running loop, whose listener is exclusively waited for."""

    def __init__(self, listener: socket.socket, exclusive: Exclusive) -> None:
        self.address = listener.getsockname()
        self.listener = listener
        self.exclusive = exclusive

    async def greets(self) -> bool:
        reader, writer = await asyncio.open_connection(*self.address)
        with contextlib.closing(writer):
            return await asyncio.wait_for(reader.read(), PATIENCE) == b"hello"


@contextlib.asynccontextmanager
async def listening(backlog: int = 100) -> AsyncIterator[Listening]:
    loop = asyncio.get_running_loop()
    epoll = epoll_of(loop)
    assert epoll is not None
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    server = await loop.create_server(Hello, sock=listener, backlog=backlog)
    made = Listening(listener, Exclusive(loop, epoll, listener))
    for _ in range(3):
        await asyncio.sleep(0)
    yield made
    made.exclusive.end()
    server.close()


class Sleeper:
    """A thread that waits for the listener behind the loop, and how often it was woken."""

    def __init__(self, listener: socket.socket) -> None:
        self._epoll = select.epoll()
        self._end = os.eventfd(0)
        wait_alone(self._epoll.fileno(), listener.fileno(), 1, once=True)
        self._epoll.register(self._end, select.EPOLLIN)
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._sleep)
        self._thread.start()
        self._begun.wait(PATIENCE)

    def _sleep(self) -> None:
        self._task = threading.get_native_id()
        self._begun.set()
        while all(fd != self._end for fd, _ in self._epoll.poll()):
            pass

    def wakes(self) -> int:
        status = Path(f"/proc/self/task/{self._task}/status").read_text(encoding="ascii")
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def end(self) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join(PATIENCE)
        os.close(self._end)
        self._epoll.close()


def greeted_later(address: Any) -> bytes:
    """By when the loop sleeps again."""
    time.sleep(0.005)
    with socket.create_connection(address, PATIENCE) as client:
        return client.recv(10)


@pytest.mark.parametrize("factory", FACTORIES)
def test_who_waits_behind_is_not_woken_while_the_loop_sleeps(factory: str) -> None:
    async def scenario() -> None:
        async with listening() as it:
            sleeper = Sleeper(it.listener)
            await asyncio.to_thread(greeted_later, it.address)
            before = sleeper.wakes()
            for _ in range(20):
                assert await asyncio.to_thread(greeted_later, it.address) == b"hello"
            woken = sleeper.wakes() - before
            sleeper.end()
            assert woken < 15  # a few, when the loop was not scheduled in time; otherwise all

    run(factory, scenario())


@pytest.mark.parametrize("factory", FACTORIES)
def test_more_than_one_turn_takes_are_all_accepted(factory: str) -> None:
    async def scenario() -> None:
        async with listening(backlog=2) as it:
            clients = [socket.create_connection(it.address, PATIENCE) for _ in range(3)]
            loop = asyncio.get_running_loop()
            for client in clients:
                client.setblocking(False)
                assert await asyncio.wait_for(loop.sock_recv(client, 10), PATIENCE) == b"hello"
                client.close()

    run(factory, scenario())


@pytest.mark.parametrize("factory", FACTORIES)
def test_after_the_end_nobody_is_accepted_and_no_descriptor_is_left(factory: str) -> None:
    async def scenario() -> None:
        async with listening() as it:
            assert await it.greets()
            held = descriptors()
            it.exclusive.end()
            it.exclusive.end()
            assert descriptors() == held - (factory == "uvloop")
            with socket.create_connection(it.address, PATIENCE) as client:
                client.settimeout(0.01)
                asyncio.get_running_loop().remove_reader(it.listener.fileno())
                await asyncio.sleep(0.01)
                with pytest.raises(TimeoutError):
                    client.recv(10)

    run(factory, scenario())


def test_asyncio_can_look_away() -> None:
    """As it does for a second when no descriptor is free."""

    async def scenario() -> None:
        async with listening() as it:
            loop = asyncio.get_running_loop()
            loop.remove_reader(it.listener.fileno())
            epoll = select.epoll.fromfd(os.dup(epoll_of(loop) or -1))
            with epoll, socket.create_connection(it.address, PATIENCE):
                assert epoll.poll(0.01) == []

    run("asyncio", scenario())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def run(factory: str, made: object) -> None:
    with asyncio.Runner(loop_factory=FACTORIES[factory]) as runner:
        runner.run(made)  # type: ignore[arg-type]
