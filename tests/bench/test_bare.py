"""What is compared with the product leaves out what it is to leave out, and serves all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bench.bare import Bare, Metered
from tests.worker.served import Served, request


async def app(scope: dict[str, Any], receive: object, send: Callable[[Any], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize(("http", "counted"), [(Bare, {}), (Metered, {"2XX": 2, "timed": 2})])
def test_the_meter_is_the_difference(http: type[asyncio.Protocol], counted: dict[str, int]) -> None:
    async def go() -> None:
        async with Served(app, http) as served:
            assert await served.ask(request(), request()) == [200, 200]
            assert served.counts == counted

    asyncio.run(go())
