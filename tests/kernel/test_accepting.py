"""What an event loop is told when no descriptor is free: that nothing can be accepted, once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from asyncio import constants
from collections.abc import Iterator
from typing import Any

import pytest

from reuseport.kernel import accepting
from reuseport.kernel.accepting import Listener

CLIENTS = 5


@contextlib.contextmanager
def none_free() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers
    holes = [os.open(os.devnull, os.O_RDONLY)]
    while holes[-1] <= highest:
        holes.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (holes[-1] + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for hole in holes:
            os.close(hole)


def test_asyncio_is_told_once_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ACCEPT_RETRY_DELAY", 0.2)
    monkeypatch.setattr(accepting, "TOLD", 0.1)
    told: list[dict[str, Any]] = []
    came: list[Any] = []

    async def go() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        with socket.socket() as bound, contextlib.ExitStack() as stack:
            bound.bind(("127.0.0.1", 0))
            address = bound.getsockname()
            clients = [stack.enter_context(socket.socket()) for _ in range(CLIENTS)]
            server = await asyncio.start_server(
                lambda _, writer: came.append(writer), sock=Listener(fileno=bound.detach()), backlog=1000
            )
            with none_free():
                for client in clients:
                    client.connect(address)
                while not told:  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert [context["exception"].errno for context in told] == [errno.EMFILE]
                assert not came
            while len(came) < CLIENTS:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
            for writer in came:
                writer.close()
                await writer.wait_closed()
            server.close()
            await server.wait_closed()

    asyncio.run(asyncio.wait_for(go(), 30))
