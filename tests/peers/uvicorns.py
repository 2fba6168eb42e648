"""A plugin for uvicorn's own tests (scripts/peer-tests): they meet a worker's protocols instead of uvicorn's.

Wherever those tests, or uvicorn itself, take a protocol or the server's state by name, they get ours: the
real State, Load and Requests over a desk of ordinary memory, the application counted, the connection arrived
as if the server had accepted it. What then differs is in DIFFERENCES, each with its reason. A difference that
is gone fails as loudly as a new one, and so does a name that uvicorn's tests no longer have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import uvicorn.protocols.http.auto
import uvicorn.protocols.http.h11_impl
import uvicorn.protocols.http.httptools_impl
import uvicorn.server
from uvicorn.config import Config

from reuseport.scoreboard import ROW_WORDS
from reuseport.worker.protocol.connection import State, TransferableH11, TransferableHttpTools
from reuseport.worker.protocol.count import Requests
from reuseport.worker.protocol.load import Load

DIFFERENCES: dict[str, str] = {}
"""Why a test of uvicorn's must fail here, by its name in pytest."""


unknown: list[str] = []
"""Differences that no test stands for."""


class OurState(State):
    """A worker's, made the way uvicorn makes its own: without arguments."""

    def __init__(self) -> None:
        desk, row = (memoryview(bytearray(8 * ROW_WORDS)).cast("Q") for _ in range(2))
        super().__init__(Load(desk, row), Requests(desk))


class Arriving:
    """Does for a connection what a worker's server does, however the test makes it."""

    def __init__(self, config: Config, server_state: OurState, *args: Any, **kwargs: Any) -> None:
        if not config.loaded:
            config.load()
        if not hasattr(config, "counted"):
            config.counted = True  # type: ignore[attr-defined] # a mark of ours
            config.loaded_app = server_state.requests.around(config.loaded_app)
        protocol: Any = super()
        protocol.__init__(config, server_state, *args, **kwargs)
        assert isinstance(self, TransferableHttpTools | TransferableH11)
        # Their clock moves timers and looks at nothing (keeping.py): kept as if for a second at most.
        self.keeping.by_timers = True
        # Their loop does nothing by itself.
        self.loop.call_soon = asyncio.get_running_loop().call_soon  # type: ignore[method-assign]
        server_state.arrive(self, assigned=True)


class OurHttpTools(Arriving, TransferableHttpTools):
    """As a worker has it."""


class OurH11(Arriving, TransferableH11):
    """As a worker has it."""


# One test leaves out a parser by the name of its protocol.
OurHttpTools.__name__ = "HttpToolsProtocol"
OurH11.__name__ = "H11Protocol"


def pytest_configure() -> None:
    """Before any test module is imported: they take the classes by name."""
    uvicorn.server.ServerState = OurState  # type: ignore[misc]
    uvicorn.protocols.http.h11_impl.H11Protocol = OurH11  # type: ignore[misc, assignment]
    uvicorn.protocols.http.httptools_impl.HttpToolsProtocol = OurHttpTools  # type: ignore[misc, assignment]
    uvicorn.protocols.http.auto.AutoHTTPProtocol = OurHttpTools


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Expect what is known to differ."""
    found = {item.nodeid: item for item in items}
    files = {item.location[0] for item in items}
    for name, reason in DIFFERENCES.items():
        if name in found:
            found[name].add_marker(pytest.mark.xfail(reason=reason, strict=True))
        elif name.partition("::")[0] in files:
            unknown.append(name)


def pytest_runtest_call(item: pytest.Item) -> None:
    """What the test was given is ours, or all that follows would prove nothing; and so is what we expect."""
    assert not unknown, "uvicorn's tests have these no longer: strike them from DIFFERENCES"
    given = getattr(item, "funcargs", {}).get("http_protocol_cls")
    if given is not None and given.__module__ != "uvicorn.protocols.http.zttp_impl":
        assert given in (OurHttpTools, OurH11)
