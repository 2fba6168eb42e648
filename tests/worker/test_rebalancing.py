"""Orders to pass connections on: real sockets and parsers, one event loop, an inbox that the test reads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest

from reuseport.channel import receive_packet
from reuseport.scoreboard import ROW_WORDS, Desk
from reuseport.worker.departure import Departure
from reuseport.worker.rebalancing import HEEDED, Rebalancing
from tests.worker.protocol.test_connection import GET, PATIENCE, Both, parsers


class Worker:
    """A few served connections that share one state, and the orders given to their worker."""

    def __init__(self, connections: list[Both]) -> None:
        self.connections = connections
        self.state = connections[0].state
        self.desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
        self.rebalancing = Rebalancing(self.state, self.desk)

    def order(self, count: int) -> socket.socket:
        """Order to pass so many on; the inbox that they go to."""
        receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        receiving.setblocking(False)
        self.rebalancing.take(count, sending.detach(), asyncio.get_running_loop())
        return receiving

    async def ask(self, *numbers: int) -> None:
        """A request on each of these connections, and its answer."""
        for number in numbers:
            answered = self.state.total_requests
            await self.connections[number].send(GET)
            await self.connections[number].answers(answered + 1)
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(http: str, number: int) -> AsyncIterator[Worker]:
    async with contextlib.AsyncExitStack() as stack:
        connections = [Both(http) for _ in range(number)]
        for each in connections:
            each.state = connections[0].state
            await stack.enter_async_context(each)
        worker = Worker(connections)
        worker.state.on_idle = None
        yield worker
        worker.rebalancing.end()
        for each in connections:  # all before any is waited for: they share the state
            each.client.close()


def passed(inbox: socket.socket) -> int:
    """How many connections are in the inbox; they are closed."""
    found = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            packet, fds, _ = receive_packet(inbox, 16, 1)
            if not packet:
                break
            for fd in fds:
                os.close(fd)
                found += 1
    return found


@parsers
def test_as_many_go_as_ordered_and_only_after_an_answer(http: str) -> None:
    async def go() -> None:
        async with serving(http, 4) as worker:
            with worker.order(2) as inbox:
                assert passed(inbox) == 0
                await worker.ask(0, 1, 2)
                assert passed(inbox) == 2
            assert worker.desk[Desk.REBALANCED] == worker.desk[Desk.HANDOFFS_SENT] == 2
            assert worker.state.on_idle is None
            assert len(worker.state.connections) == 2
            await worker.ask(2, 3)

    asyncio.run(go())


@parsers
def test_a_connection_that_went_lives_on_in_its_duplicate(http: str) -> None:
    async def go() -> None:
        async with serving(http, 1) as worker:
            with worker.order(1) as inbox:
                await worker.ask(0)
                client = worker.connections[0].client
                assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
                client.sendall(GET)
                _, [fd], _ = receive_packet(inbox, 16, 1)
                with socket.socket(fileno=fd) as duplicate:
                    assert duplicate.recv(1000) == GET

    asyncio.run(go())


def test_orders_take_turns_and_each_ends_by_itself() -> None:
    async def go() -> None:
        async with serving("httptools", 5) as worker:
            with worker.order(1) as first, worker.order(3) as second:
                await worker.ask(0, 1, 2, 3, 4)
                assert (passed(first), passed(second)) == (1, 3)

    asyncio.run(go())


def test_an_order_is_forgotten_after_a_second_and_its_descriptor_closed() -> None:
    async def go() -> None:
        async with serving("httptools", 1) as worker:
            with worker.order(1) as inbox:
                loop = asyncio.get_running_loop()
                at, ended = loop.time(), asyncio.Event()
                loop.add_reader(inbox, ended.set)
                await asyncio.wait_for(ended.wait(), PATIENCE)
                loop.remove_reader(inbox)
                assert loop.time() - at >= HEEDED
                assert inbox.recv(1) == b"", "nobody has the other end any more"
                await worker.ask(0)
            assert worker.desk[Desk.REBALANCED] == 0
            assert worker.state.on_idle is None

    asyncio.run(go())


def test_active_is_told_and_follows_at_once() -> None:
    async def go() -> None:
        async with serving("httptools", 3) as worker:
            await worker.ask(0, 1)
            worker.rebalancing.publish()
            assert worker.desk[Desk.ACTIVE] == 2
            with worker.order(1):
                await worker.ask(0)
            assert worker.desk[Desk.ACTIVE] == 1

    asyncio.run(go())


def test_an_inbox_without_room_is_no_error() -> None:
    async def go() -> None:
        async with serving("httptools", 2) as worker:
            with worker.order(2) as inbox:
                [order] = worker.rebalancing._orders
                with contextlib.suppress(BlockingIOError):
                    while True:
                        order.inbox.send(b"x")
                await worker.ask(0)
                assert worker.desk[Desk.HANDOFFS_REFUSED] >= 1
                assert worker.desk[Desk.REBALANCED] == 0
                assert passed(inbox) == 0
                await worker.ask(0, 1)
                assert passed(inbox) == 2

    asyncio.run(go())


def test_nobody_reads_and_the_connection_stays() -> None:
    async def go() -> None:
        async with serving("httptools", 1) as worker:
            worker.order(1).close()
            await worker.ask(0)
            assert worker.state.on_idle is None
            await worker.ask(0)

    asyncio.run(go())


@pytest.mark.parametrize("spent", [False, True])
def test_a_departure_has_whatever_becomes_idle_from_then_on(spent: bool) -> None:
    async def go() -> None:
        async with serving("httptools", 2) as worker:
            config = worker.connections[0].protocol.config
            mine, heir = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            mine.setblocking(False)
            with mine, worker.order(1) as inbox:
                if spent:
                    await worker.ask(0)
                worker.rebalancing.end()
                departure = Departure(worker.state, [heir.detach()], worker.desk, final=False)
                departure.begin(asyncio.get_running_loop(), config)
                worker.rebalancing.end()
                assert worker.state.on_idle is not None
                assert passed(inbox) == spent
                went = 0
                async with asyncio.timeout(PATIENCE):
                    while went < 2 - spent:  # a look at them all ends after a millisecond, and goes on later
                        went += passed(mine)
                        await asyncio.sleep(0)
                departure.end()

    asyncio.run(go())
