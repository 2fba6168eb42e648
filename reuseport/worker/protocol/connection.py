"""uvicorn's HTTP protocols, each able to say whether its connection can be passed to another worker.

A connection is idle when no response is running, nothing is pipelined, the parser holds no byte of a next
request and no output waits. Its descriptor then *is* the connection: what the client sends meanwhile stays in
the kernel's socket buffer. TLS keeps its keys in the process and HTTP/2 its streams, so neither can go.

Subclasses, passed to uvicorn as its `http` class; uvicorn itself stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import uvicorn

from reuseport.worker.protocol.fitting import misfit
from reuseport.worker.protocol.limits import Limits

try:
    from reuseport.worker.protocol.bounded import Bounded
    from reuseport.worker.protocol.by_h11 import TransferableH11
    from reuseport.worker.protocol.by_httptools import TransferableHttpTools
    from reuseport.worker.protocol.state import State
except ImportError as error:
    if (why := misfit(uvicorn.__version__)) is None:
        raise
    raise ImportError(why) from error

__all__ = [
    "PROTOCOLS",
    "Bounded",
    "State",
    "Transferable",
    "TransferableH11",
    "TransferableHttpTools",
    "chosen",
    "transferable",
]

Transferable: TypeAlias = TransferableHttpTools | TransferableH11


PROTOCOLS: dict[str, type[asyncio.Protocol]] = {
    "auto": TransferableHttpTools,
    "httptools": TransferableHttpTools,
    "h11": TransferableH11,
}
"""By uvicorn's names. Any other protocol serves as it is, and lingers where these are passed on."""


def chosen(http: str, limits: Limits) -> type[asyncio.Protocol] | str:
    """What serves, by the name in the settings: who limits nothing that costs, pays for nothing."""
    protocol = PROTOCOLS.get(http, http)
    return Bounded if protocol is TransferableHttpTools and (limits.wait or limits.body_size) else protocol


def transferable(protocol: object) -> bool:
    """Whether connections of this class can be passed on."""
    return isinstance(protocol, type) and issubclass(protocol, (TransferableHttpTools, TransferableH11))
