"""What a trusted proxy says of its client, put into the scope before the application sees it.

uvicorn wraps the application in a middleware that looks through the headers of every request. Here the
connection notes whether one of these headers has come; only then uvicorn's own middleware is asked, so what
it trusts and how it reads is uvicorn's to say.
"""

from __future__ import annotations

from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

NAMES = frozenset({b"x-forwarded-proto", b"x-forwarded-for"})
"""Headers that the middleware reads."""


class Forwarded:
    """Applies the middleware to a scope."""

    def __init__(self, middleware: ProxyHeadersMiddleware) -> None:
        self._middleware = ProxyHeadersMiddleware(_nothing)
        self._middleware.trusted_hosts = middleware.trusted_hosts

    def apply(self, scope: Any) -> None:
        """Change the scope's client and scheme, if its client may say so."""
        # It awaits nothing but the application, and ours returns at once.
        call = self._middleware(scope, _unused, _unused)
        try:
            call.send(None)
        except StopIteration:
            return
        call.close()
        raise RuntimeError("uvicorn's ProxyHeadersMiddleware waits for something")


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """Where the application would be."""


async def _unused(*_: Any) -> Any:
    """Where receive and send would be."""
