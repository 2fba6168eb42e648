"""Obeys the launcher, and tells it what it must know: the worker's side of the channel, in its event loop."""

from __future__ import annotations

import asyncio
import logging
import random
import signal

from reuseport import logs
from reuseport.channel import Channel, Drain, Leaving, LimitReached, Message, PeerGoneError, Ready, ReopenLogs
from reuseport.settings import Settings
from reuseport.worker.meter import BEAT, Meter
from reuseport.worker.server import Server

LAST_GRACE = 10.0
"""Seconds beyond the graceful timeout after which a worker without a launcher ends itself, hang or not."""

log = logging.getLogger("uvicorn.error")


class Control:
    """Reads the channel and the signals of a ready worker. Owns nothing."""

    def __init__(self, channel: Channel, server: Server, meter: Meter, settings: Settings) -> None:
        self._channel = channel
        self._server = server
        self._meter = meter
        self._graceful_timeout = settings.graceful_timeout
        self._most_requests = settings.limit_max_requests
        if self._most_requests is not None:
            self._most_requests += random.randint(0, settings.limit_max_requests_jitter)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen to the launcher from now on."""
        self._loop = loop
        loop.add_reader(self._channel.fileno(), self._on_readable)
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        loop.add_signal_handler(signal.SIGUSR1, logs.reopen)
        if self._most_requests is not None:
            self._count(self._most_requests)

    def ready(self, fds: list[int]) -> None:
        """The listeners accept; the launcher gets a duplicate of each."""
        self._send(Ready(), fds)

    def _on_readable(self) -> None:
        try:
            received = self._channel.receive()
        except PeerGoneError:
            self._loop.remove_reader(self._channel.fileno())
            log.error("the launcher is gone: draining")  # noqa: TRY400 - there is no traceback worth showing
            self._meter.end_within(self._graceful_timeout + LAST_GRACE)
            self._server.drain(self._graceful_timeout)
            return
        for message, _ in received:
            match message:
                case Drain(timeout):
                    self._server.drain(timeout)
                case ReopenLogs():
                    logs.reopen()
                case _:
                    raise TypeError(f"the launcher does not send {message!r}")

    def _on_terminate(self) -> None:
        """Somebody sent this one worker SIGTERM: drain, and let the launcher replace us meanwhile."""
        if not self._server.should_exit:
            self._send(Leaving())
            self._server.drain(self._graceful_timeout)

    def _count(self, most: int) -> None:
        """Tell the launcher once when `most` requests are answered."""
        answered = self._server.server_state.total_requests
        if answered >= most:
            self._send(LimitReached(answered))
        else:
            self._loop.call_later(BEAT, self._count, most)

    def _send(self, message: Message, fds: list[int] | None = None) -> None:
        self._channel.send(message, fds or [])
        if self._channel.waiting:
            self._loop.add_writer(self._channel.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        self._channel.flush()
        if not self._channel.waiting:
            self._loop.remove_writer(self._channel.fileno())
