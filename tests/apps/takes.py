"""`ample:app`, but a request's body is read before it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.apps import ample, plain  # a worker finds it on --app-dir, mypy from the root
else:
    import ample
    import plain


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    """Answers who sends all of it."""
    more = scope["type"] == "http"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    await ample.app(scope, receive, send)
