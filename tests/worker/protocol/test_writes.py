"""A response is handed to its transport at once, head and body: each time is a system call on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from bench.served.small import HELLO, LARGE
from bench.share import Served, Transport


class Recording(Transport):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[bytes] = []

    def write(self, data: Any) -> None:
        """One piece."""
        self.given.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Several, in one system call."""
        self.given.append(b"".join(list_of_data))


@pytest.mark.parametrize(("path", "body"), [("/", HELLO), ("/large", LARGE)])
def test_head_and_body_are_one(path: str, body: bytes) -> None:
    async def main() -> list[bytes]:
        served = Served("reuseport", "raw")
        connection, _ = served.connect()
        connection.transport = transport = Recording()
        connection.data_received(b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())
        while not served.state.total_requests:  # noqa: ASYNC110 - a turn or two
            await asyncio.sleep(0)
        return transport.given

    (given,) = asyncio.run(main())
    head, _, rest = given.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert rest == body
