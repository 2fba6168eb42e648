"""The built-in demo behind the bench's ledger: Starlette with the article's two routes, as Express."""

from __future__ import annotations

from bench.served import application
from bench.served.application import Receive, Scope, Send
from reuseport import demo


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/` and `/api/{n}`."""
    if scope["type"] == "lifespan":
        await application.lifespan(receive, send)
        return
    await demo.app(scope, receive, send)
