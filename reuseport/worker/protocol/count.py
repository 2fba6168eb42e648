"""Counts responses by status and duration, in the worker's desk.

Our request cycles behind httptools say themselves what has become of them (cycle.py). For what answers
through uvicorn's, which is h11, WebSockets and protocols that are not ours, `around` is the outermost layer
around the application.

A response counts at the moment the application sends its last part, just before uvicorn gets that: a client
that has the whole of it has been counted, even if the worker is killed the next instant. Its duration is the
time from the request's start to then, so a stream's is all of its stream, and a background task's is none.

    answered in full                      its status class and duration
    failed before its response began      5xx and duration: uvicorn answers 500
    ended half-way, or the client left    abandoned, whoever is to blame; no class, no duration
    with a status below 100 or above 599  5xx, as its client is to take it (RFC 9110, section 15)
    WebSocket                             1xx when accepted, else the status it was refused with; no duration
    answered by uvicorn alone             503 beyond --limit-concurrency, 400 for what is no HTTP: the status
                                          class; no duration, for the application had no part in it

So the buckets add up to the answers of the application. What nobody tells us is not counted: 400s that a
WebSocket library gives to a handshake by itself, and of protocols that are not ours (--http zttp, or a class
of the operator's own) the answers of uvicorn alone.

Runs with every request, so it costs what it must: a frame, two looks at the clock and three stores. What was
stored is kept here as well: to read it back from shared memory would take longer. No system call.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from reuseport.scoreboard import DURATION_BOUNDS, DURATION_BUCKETS, RESPONSES, Desk

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[Any]]

# An IntEnum as an index takes longer than the store.
_RESPONSES = int(RESPONSES[0]) - 1
"""Plus the first digit of a status: its word."""
_RESPONSES_5XX = int(RESPONSES[4])
"""Also for a status that has no class (RFC 9110, section 15)."""
_BUCKETS, _SUM, _WEBSOCKETS, _ABANDONED = (
    int(word) for word in (DURATION_BUCKETS[0], Desk.DURATION_SUM, Desk.WEBSOCKETS, Desk.ABANDONED)
)
_BOUNDS = tuple(round(bound * 1e9) for bound in DURATION_BOUNDS)
"""Nanoseconds."""
_SHORT = _BOUNDS[0]

_COUNTED = -1
"""In the place of a status: nothing more is to be counted of this request."""


class Requests:
    """Writes RESPONSES, DURATION, WEBSOCKETS and ABANDONED of one desk. In the event loop only."""

    def __init__(self, desk: memoryview[int]) -> None:
        self._desk = desk
        self._counts = [0] * len(desk)
        """What we have written there."""

    def complete(self, status: int, took: int) -> None:
        """A response of the application's, `took` nanoseconds after its request."""
        desk, counts = self._desk, self._counts
        desk[_SUM] = counts[_SUM] = counts[_SUM] + took
        word = _BUCKETS if took <= _SHORT else _BUCKETS + bisect_left(_BOUNDS, took)
        desk[word] = counts[word] = counts[word] + 1
        word = _RESPONSES + status // 100
        desk[word] = counts[word] = counts[word] + 1

    def abandon(self) -> None:
        """A request that has ended before its response was complete."""
        self._add(_ABANDONED)

    def turn_away(self, word: Desk) -> None:
        """A client that we no longer bear, by the word for why. What it was answered counts by itself."""
        self._add(int(word))

    def around(  # noqa: C901 - a call less for every request
        self, app: Application, extensions: Mapping[str, Any] | None = None
    ) -> Counted:
        """The application with its requests counted, and `extensions` in their scope.

        What it is called with and returns stays as it is otherwise.
        """
        offered = dict(extensions or {})
        desk, counts, now = self._desk, self._counts, time.monotonic_ns

        async def counted(scope: Message, receive: Receive, send: Send) -> Any:  # noqa: C901
            if "extensions" in scope:  # a WebSocket, or HTTP/2
                scope["extensions"].update(offered)
            elif scope["type"] == "http":
                scope["extensions"] = offered.copy()
            if scope["type"] != "http":
                return await self._other(app, scope, receive, send)
            begun = now()
            status = 0

            # No coroutine: it hands out uvicorn's own, so no frame is added.
            def watched(message: Message) -> Awaitable[None]:
                nonlocal status
                if status > 0:
                    if "more_body" not in message or not message["more_body"]:
                        try:
                            has_left = send.__self__.disconnected  # type: ignore[attr-defined] # see _has_left
                        except AttributeError:
                            has_left = False
                        if has_left:
                            self._add(_ABANDONED)
                        else:
                            took = now() - begun
                            desk[_SUM] = counts[_SUM] = counts[_SUM] + took
                            word = _BUCKETS if took <= _SHORT else _BUCKETS + bisect_left(_BOUNDS, took)
                            desk[word] = counts[word] = counts[word] + 1
                            word = _RESPONSES + status // 100 if 100 <= status < 600 else _RESPONSES_5XX
                            desk[word] = counts[word] = counts[word] + 1
                        status = _COUNTED
                elif status == 0 and message["type"] == "http.response.start":
                    status = message["status"]
                return send(message)

            try:
                result = await app(scope, receive, watched)
            except BaseException:
                # Also of a task that is cancelled: uvicorn catches it, and answers all the same.
                if status != _COUNTED:
                    self._incomplete(status, now() - begun, send)
                raise
            if status != _COUNTED:
                # uvicorn closes without a word on an application that returns something.
                self._incomplete(status if result is None else _COUNTED, now() - begun, send)
            return result

        return Counted(app, counted)

    def answer(self, status: int) -> None:
        """A response without a duration."""
        self._add(_RESPONSES + status // 100 if 100 <= status < 600 else _RESPONSES_5XX)

    def _incomplete(self, status: int, took: int, send: Send) -> None:
        """The call has ended before its response did. uvicorn answers 500 where none had begun."""
        if status != 0 or _has_left(send):
            self._add(_ABANDONED)
            return
        self._add(_SUM, took)
        self._add(_BUCKETS + bisect_left(_BOUNDS, took))
        self.answer(500)

    def _add(self, word: int, more: int = 1) -> None:
        self._desk[word] = self._counts[word] = self._counts[word] + more

    # ── WebSockets ────────────────────────────────────────────────────────────────────────────────────

    async def _other(self, app: Application, scope: Message, receive: Receive, send: Send) -> Any:
        if scope["type"] != "websocket":
            return await app(scope, receive, send)
        status = 0

        def watched(message: Message) -> Awaitable[None]:
            nonlocal status
            if status == 0:
                status = self._handshake(message)
            return send(message)

        try:
            return await app(scope, receive, watched)
        finally:
            if status == SWITCHING:
                self._add(_WEBSOCKETS, -1)
            elif status == 0 and _is_closing(send):
                self._add(_ABANDONED)
            elif status == 0:
                self.answer(500)  # uvicorn's, also for who returns without an answer

    def _handshake(self, message: Message) -> int:
        """The status that this message answers the handshake with; 0 for one that does not."""
        match message["type"]:
            case "websocket.accept":
                status = SWITCHING
                self._add(_WEBSOCKETS)
            case "websocket.close":
                status = 403
            case "websocket.http.response.start":
                status = message["status"]
            case _:
                return 0
        self.answer(status)
        return status


class Counted:
    """The application with its requests counted; `app` is the application itself."""

    def __init__(self, app: Application, counted: Application) -> None:
        self.app = app
        self._counted = counted

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[Any]:
        """As ASGI has it."""
        return self._counted(scope, receive, send)


SWITCHING = 101
"""The status of a handshake that was accepted."""


def _has_left(send: Any) -> bool:
    """Whether there is nobody to send to: uvicorn's request cycle, whose method `send` is, knows."""
    try:
        return bool(send.__self__.disconnected)
    except AttributeError:
        return False  # a protocol of the operator's own


def _is_closing(send: Any) -> bool:
    """The same of a WebSocket: `send` is a method of uvicorn's protocol."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    return transport is not None and transport.is_closing()
