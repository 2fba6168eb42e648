"""Obeys the launcher, and tells it what it must know: the worker's side of the channel, in its event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import signal
from collections.abc import Callable, Sequence

from reuseport import logs
from reuseport.channel import Channel, PeerGoneError, close_all
from reuseport.exclusion import Seat
from reuseport.messages import (
    MOST_NAMES,
    CannotFoster,
    Drain,
    Foster,
    Holds,
    Leaving,
    LimitReached,
    Message,
    Pass,
    Reach,
    Ready,
    ReopenLogs,
    ShuttingDown,
    Sibling,
    Tickets,
    ToWorker,
    Unfoster,
    Waits,
)
from reuseport.settings.table import Settings
from reuseport.worker.departure import Departure
from reuseport.worker.fostering import Fostering, Incoming
from reuseport.worker.inbox import Inbox
from reuseport.worker.meter import Meter
from reuseport.worker.rebalancing import Rebalancing
from reuseport.worker.rescue import Rescue
from reuseport.worker.server import Server
from reuseport.worker.stealing import Stealing
from reuseport.worker.unfinished import Unfinished

log = logging.getLogger("uvicorn.error")


class Control:
    """Reads the channel and the signals of a ready worker."""

    def __init__(
        self,
        channel: Channel[ToWorker],
        server: Server,
        inboxes: Sequence[Inbox],
        meter: Meter,
        rescue: Rescue,
        stealing: Stealing,
        seat: Seat | None,
        settings: Settings,
        incoming: Incoming | None = None,
    ) -> None:
        """`inboxes` are the own slot's; `incoming` opens another's session inbox, where there are such."""
        self._channel = channel
        self._server = server
        self._inboxes = inboxes
        self._meter = meter
        self._rescue = rescue
        self._stealing = stealing
        self._fostering = Fostering(server, meter.desk, incoming)
        self.rebalancing = Rebalancing(server.server_state, meter.desk)
        self._seat = seat
        self.on_tickets: Callable[[Sequence[str]], None] = lambda _: None
        """Called with the keys of TLS session tickets, when there is a new one."""
        self._told: tuple[str, ...] = ()
        """The names that we have said we hold."""
        self._graceful_timeout = settings.graceful_timeout
        self._leaving = False
        self._departure: Departure | None = None
        self._most_requests = settings.limit_max_requests
        if self._most_requests is not None:
            self._most_requests += random.randint(0, settings.limit_max_requests_jitter)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen to the launcher and the other workers from now on."""
        self._loop = loop
        for inbox in self._inboxes:
            inbox.open(loop)
        loop.add_reader(self._channel.fileno(), self._on_readable)
        loop.add_signal_handler(signal.SIGUSR1, logs.reopen)
        if self._most_requests is not None:
            self._meter.on_beat = functools.partial(self._count, self._most_requests)

    def ready(self) -> None:
        """The listeners accept."""
        self._send(Ready())

    def tell_held(self) -> None:
        """Say what the application holds, if that has changed. Called ten times a second at most."""
        held = () if self._seat is None else self._seat.held()[:MOST_NAMES]
        if held != self._told:
            self._told = held
            self._send(Holds(held))

    def _on_readable(self) -> None:  # noqa: C901 - one branch an order is the point
        try:
            received = self._channel.receive()
        except PeerGoneError:
            self._loop.remove_reader(self._channel.fileno())
            log.error("the launcher is gone: draining")  # noqa: TRY400 - there is no traceback worth showing
            self._drain(self._graceful_timeout, [], final=True)
            return
        for message, fds in received:
            match message:
                case Drain(timeout, heirs):
                    self._drain(timeout, fds, final=not heirs)
                case Foster() | Sibling() | Pass() if self._departure is not None:
                    close_all(fds)  # our exit tells the launcher to choose another
                case Foster(slot) if not fds:
                    self._send(CannotFoster(slot))  # they are lost: none was free
                case Foster(slot):
                    self._fostering.begin(slot, fds)
                case Reach(slots):
                    self._reach(slots, fds)
                case Unfoster(slot):
                    self._fostering.end(slot)
                case Sibling(slot):
                    self._stealing.watch(slot, fds)
                case Pass(count, _) if fds:
                    self.rebalancing.take(count, fds[0], self._loop)
                case Pass():
                    pass  # the way there is lost, and the order not heeded
                case ReopenLogs():
                    logs.reopen()
                case Tickets(keys):
                    self.on_tickets(keys)
                case _:
                    raise TypeError(f"the launcher does not send {message!r}")

    def _reach(self, slots: Sequence[int], fds: list[int]) -> None:
        if len(fds) == len(slots):
            self._server.server_state.sessions.reach(slots, fds)
        elif slots:
            # Until this worker is replaced: what belongs there is served here, and counted.
            log.error("no descriptor is free for the ways to %d slots: raise ulimit -n", len(slots))

    def _drain(self, timeout: float, heirs: list[int], *, final: bool, alone: bool = False) -> None:
        """`final`: nobody is left for what we have; `alone`: but others serve on."""
        if not heirs:
            self._rescue.end()  # nobody will be there to read what is sent
        if self._departure is not None:
            # The launcher's orders, its end of file and a SIGTERM may follow each other.
            close_all(heirs)
            if final:
                self._departure.disinherit()
            return
        last_of = self._stealing.end()
        if alone or not final:
            for listener in last_of:
                listener.close()
            last_of = []
        # First: from now on the departure has whatever becomes idle.
        self.rebalancing.end()
        self._departure = Departure(self._server.server_state, heirs, self._meter.desk, final=final)
        if final and self._server.server_state.sessions is not None:
            self._server.server_state.sessions.close()  # nobody else serves for longer than we do
        if not final:
            # First: what others pass on from now on is for our heirs, and waits for them. Without any, what
            # comes is for us to the end, and the queues of those we foster are: the server takes them.
            for inbox in self._inboxes:
                inbox.close()
            self._fostering.end_all()
        self._server.drain(timeout, self._departure, last_of)

    def on_terminate(self) -> None:
        """Somebody sent this one worker SIGTERM: ask to be replaced; the second time, do not wait for it."""
        again, self._leaving = self._leaving, True
        self._send(Leaving())
        if again:
            self._drain(self._graceful_timeout, [], final=True, alone=True)

    def on_waiting(self, left: Unfinished) -> None:
        """The drain takes long."""
        self._send(Waits(left.requests, left.oldest, left.seconds))

    def on_drained(self, cut_off: int) -> None:
        """Requests are over, and lifespan shutdown has a time of its own."""
        for inbox in self._inboxes:
            inbox.close()
        self._send(ShuttingDown(cut_off))

    def _count(self, most: int) -> None:
        """Tell the launcher once when `most` requests are answered."""
        answered = self._server.server_state.total_requests
        if answered >= most:
            self._meter.on_beat = None
            self._send(LimitReached(answered))

    def _send(self, message: Message, fds: list[int] | None = None) -> None:
        self._channel.send(message, fds or [])
        if self._channel.waiting:
            self._loop.add_writer(self._channel.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        self._channel.flush()
        if not self._channel.waiting:
            self._loop.remove_writer(self._channel.fileno())
