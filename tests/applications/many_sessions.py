"""Applications whose sessions are of one process, on four workers: a hundred sessions at once.

`with_NAME.py` is an application and its client (scripts/applications):

    # requires: …           for pip
    app                     what is served
    FLAGS                   with which sessions find their worker
    use(url)                async: one session from beginning to end; raises what is wrong
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Launch
from tests.whole.proxies import PROXIES

HERE = Path(__file__).parent
NAMES = os.environ.get("SESSIONS", "").split()
SESSIONS = 100
LONGEST = 100.0
"""Seconds for all of them: whoever is asked for a session that it does not know may say nothing."""

NGINX = dataclasses.replace(
    PROXIES["nginx"],
    # Each session has a stream of its own; and MCP answers only to the names that it knows itself by.
    configuration=PROXIES["nginx"]
    .configuration.replace("events {{ }}", "events {{ worker_connections 4096; }}")
    .replace("proxy_http_version", "proxy_set_header Host $http_host;\n            proxy_http_version"),
)

through = pytest.mark.parametrize("proxy", [None, "nginx"])


@pytest.fixture(params=NAMES)
def application(request: pytest.FixtureRequest) -> Any:
    return import_module(f"with_{request.param}")


async def all_at_once(application: Any, url: str, sessions: int, longest: float) -> list[str]:
    """What was wrong."""

    async def use() -> None:
        async with asyncio.timeout(longest):
            await application.use(url)

    ended = await asyncio.gather(*(use() for _ in range(sessions)), return_exceptions=True)
    return [repr(first(error)) for error in ended if error is not None]


def first(error: BaseException) -> BaseException:
    """Of a group."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


@through
def test_a_hundred_sessions(application: Any, launch: Launch, tmp_path: Path, proxy: str | None) -> None:
    flags = ("--workers", "4", "--app-dir", str(HERE), "--no-access-log")
    server = launch(f"{application.__name__}:app", *flags, *application.FLAGS).ready(4)
    before = nullcontext(server.port) if proxy is None else NGINX.before(server.port, tmp_path)
    with before as port:
        # A name: clients take no cookies from an address.
        wrong = asyncio.run(all_at_once(application, f"http://localhost:{port}", SESSIONS, LONGEST))
    assert wrong == []
    assert "Traceback" not in server.output
    assert server.stop() == 0


def test_without_it_most_fail(application: Any, launch: Launch) -> None:
    flags = ("--workers", "4", "--app-dir", str(HERE), "--no-access-log")
    server = launch(f"{application.__name__}:app", *flags).ready(4)
    wrong = asyncio.run(all_at_once(application, f"http://localhost:{server.port}", 12, 5.0))
    assert len(wrong) > 6
