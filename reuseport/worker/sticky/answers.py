"""Around the application: the keys that it answers with are remembered, and our own cookie is set.

Both at the moment an answer begins, so a client that has it finds its session from its next request on.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from reuseport.worker.protocol.count import Application, Message, Receive, Send
from reuseport.worker.sticky.keys import cookie

if TYPE_CHECKING:
    from reuseport.worker.sticky.sessions import Sessions

BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
SECURE = frozenset({"https", "wss"})


class Remembering:
    """The application, whose answers are listened to; `app` is the application itself."""

    def __init__(self, app: Application, sessions: Sessions) -> None:
        self.app = app
        self._sessions = sessions

    # No coroutine: it hands out the application's own, so no frame is added.
    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[Any]:
        """As ASGI has it."""
        if scope["type"] not in ("http", "websocket"):
            return self.app(scope, receive, send)
        begun = False

        def watched(message: Message) -> Awaitable[None]:
            nonlocal begun
            if not begun and message["type"] in BEGINNINGS:
                begun = True
                message = self._begin(scope, message)
            return send(message)

        return self.app(scope, receive, watched)

    def _begin(self, scope: Message, message: Message) -> Message:
        keys, homes = self._sessions.keys, self._sessions.homes
        headers = message.get("headers") or ()
        if type(headers) is not list:
            # However they come, they may be read once only.
            message = {**message, "headers": (headers := list(headers))}
        for tag in keys.answered(headers):
            homes.learn(tag)
        if keys.inserted is not None:
            key = keys.asked(scope["headers"], b"?" + scope["query_string"])
            if key is None or (key.slot is not None and not homes.in_service(key.slot)):
                value = cookie(
                    keys.inserted, homes.own, random.getrandbits(64), secure=scope["scheme"] in SECURE
                )
                return {**message, "headers": [*headers, (b"set-cookie", value)]}
        return message
