"""Clients that meet every worker, and what a test asks the kernel about a port."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from tests.conftest import MOLD, PATIENCE


@contextmanager
def client(
    *, verify: ssl.SSLContext | bool = False, uds: str | None = None, patience: float = PATIENCE
) -> Iterator[httpx.Client]:
    """A connection of its own for each request, so that each request may meet another worker.

    `patience`: seconds within which each answer must come.
    """
    one_each = httpx.Limits(max_keepalive_connections=0)
    transport = httpx.HTTPTransport(verify=verify, limits=one_each, uds=uds)
    with httpx.Client(transport=transport, timeout=patience) as asking:
        yield asking


def meet_all(asking: httpx.Client, url: str, workers: int) -> Mapping[int, Any]:
    """What each slot answers, by slot; fails with those that were met when some never answer.

    Until PATIENCE is over, and not so many times: who has less to do rightly gets all of a few hundred
    requests, which take less time than connections that say nothing count as something to do.
    """
    met: dict[int, Any] = {}
    deadline = time.monotonic() + PATIENCE
    while len(met) < workers:
        assert time.monotonic() < deadline, f"only slots {sorted(met)} answered"
        answer = asking.get(url)
        assert answer.status_code == 200, answer.text
        seen = answer.json()
        met[int(seen["slot"])] = seen
    return met


def environment() -> dict[str, str]:
    """Ours, without anything that is a setting, unless it is one that holds for all tests."""
    last_names = ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
    prefixes = ("REUSEPORT_", "UVICORN_")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(prefixes) and k not in last_names}
    return {**ours, **MOLD}


@contextmanager
def kept_port() -> Iterator[int]:
    """A port that nobody else is given meanwhile, where reuseport of the same user may listen with --join."""
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


def listening(port: int) -> bool:
    """Does anybody accept there? Connecting tells: who only holds the port refuses."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
