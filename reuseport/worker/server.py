"""uvicorn's server, with our listeners: bound only after lifespan startup, left without losing a client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, TypeAlias

import uvicorn
from uvicorn.config import Config

from reuseport.kernel.accepting import EXHAUSTED
from reuseport.messages import Failed
from reuseport.worker.admission import Admission, tls
from reuseport.worker.application import StartupError, withheld_errors
from reuseport.worker.departure import Departure
from reuseport.worker.gate import Gate
from reuseport.worker.polling import Exclusive, epoll_of
from reuseport.worker.protocol.connection import State
from reuseport.worker.unanswered import Unanswered
from reuseport.worker.unfinished import Unfinished, unfinished

LOOK = 0.02
"""Seconds between looks at whether a leaving worker is done."""
LINGER = 1.0
"""Seconds that idle connections are kept when the whole server stops: for a request already on its way."""
LONG = 1.0
"""Seconds that a drain may take before it is told what it waits for."""
MOST_QUEUED = 65536
"""Connections taken from one accept queue at a stop: no queue is longer (net.core.somaxconn), so the end of
the loop does not depend on the clients."""

log = logging.getLogger("uvicorn.error")

Accepting: TypeAlias = asyncio.base_events.Server | Gate
"""Accepts from one listener: the event loop, or one by one."""


class Server(uvicorn.Server):
    """Accepts from the slot's `own` listeners and from those all workers share.

    `on_listen` is called once the application is up, `on_ready` once they accept.
    """

    server_state: State

    def __init__(
        self,
        config: Config,
        state: State,
        own: Sequence[socket.socket],
        shared: Sequence[socket.socket],
        on_listen: Callable[[], None],
        on_ready: Callable[[], None],
        admission: Admission | None = None,
    ) -> None:
        super().__init__(config)
        self.server_state = state
        self._own = own
        self._shared = shared
        self._on_listen = on_listen
        self._on_ready = on_ready
        self._admission = admission
        self._accepting: dict[Accepting, socket.socket] = {}
        self._exclusive: dict[Accepting, Exclusive] = {}
        self._arriving: set[asyncio.Future[None]] = set()
        self._greeted: weakref.WeakSet[asyncio.Protocol] = weakref.WeakSet()
        """Under TLS, protocols of all connections: one has a transport only when its handshake is over."""
        self.stolen_from = False
        """Siblings may accept from the slot's listeners (stealing.py)."""
        self._departure: Departure | None = None
        self._last_of: Sequence[socket.socket] = ()
        """Siblings' listeners. Each of them may be closed by everybody else by now, and we be the last."""
        self._patience = 0.0
        self._turn = asyncio.Event()
        """For `main_loop`: a second has passed, or we are to drain."""
        self.on_terminate: Callable[[], None] = lambda: None
        """Called in the event loop when somebody wants this worker to go: by SIGTERM, or by `should_exit`."""
        self.on_waiting: Callable[[Unfinished], None] = lambda _: None
        """Called once a second in a drain that takes long."""
        self.on_drained: Callable[[int], None] = lambda _: None
        """Called when requests are over, with the number of those cut off: lifespan shutdown begins."""
        self._process = os.getpid()
        self._terminated = False
        """By somebody's SIGTERM, which the application's handlers have seen."""
        self._told_to_exit = False

    def drain(self, timeout: float, departure: Departure, last_of: Sequence[socket.socket] = ()) -> None:
        """Accept no more, let the connections depart, finish within `timeout` seconds; then `serve` ends.

        In a final departure who waits at the listeners `last_of` is accepted, too. They are ours from now on.
        """
        if self._departure is not None:
            return  # asked twice: the launcher's order and its end of file may cross
        self._departure = departure
        self._last_of = last_of
        self._patience = timeout
        self._turn.set()
        self._tell_the_application()

    def tick(self) -> None:
        """Call it once a second: what uvicorn does so often is due. Not by a timer of our own: who rests is
        woken once for everything.
        """
        self._turn.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Lifespan startup, then bind, listen, and tell. Raises StartupError."""
        with withheld_errors() as errors:
            await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartupError(Failed("application", "\n".join(errors) or "lifespan startup failed"))
        self._on_listen()
        if self._admission is not None:
            self._admission.start(asyncio.get_running_loop())
        self.servers: list[Any] = [await self.accept_from(listener, assigned=True) for listener in self._own]
        for server in self.servers:
            self.share(server)
        self.servers += [await self.accept_from(listener) for listener in self._shared]
        self.started = True
        self._on_ready()

    async def accept_from(self, listener: socket.socket, *, assigned: bool = False) -> Accepting:
        """Listen on a bound socket, which is the returned server's from now on.

        `assigned`: it is the slot's own, so what it accepts is what the kernel may have assigned to the slot.
        """
        make = self._newcomers(assigned=assigned)
        server: Accepting
        if self._admission is not None:
            server = self._admission.open(listener, make)
        else:
            server = await asyncio.get_running_loop().create_server(
                make, sock=listener, backlog=self.config.backlog, **tls(self.config, self.server_state)
            )
        self._accepting[server] = listener
        return server

    def share(self, server: Accepting) -> None:
        """If siblings may accept there: who connects wakes this worker, or if it is busy one of them."""
        loop = asyncio.get_running_loop()
        epoll = epoll_of(loop)
        if not self.stolen_from or epoll is None:
            return
        try:
            self._exclusive[server] = Exclusive(loop, epoll, self._accepting[server])
        except OSError as error:
            log.debug("siblings are woken beside us: %s", error.strerror)

    def _newcomers(self, *, assigned: bool) -> Callable[[], asyncio.Protocol]:
        make, arrive = self.protocol, self.server_state.arrive

        def newcomer() -> asyncio.Protocol:
            made = make()
            arrive(made, assigned=assigned)
            return made

        return newcomer

    def looks(self) -> Iterator[Callable[[], None]]:
        """To be called every tenth of a second: who has been waited for long enough is let go."""
        yield self.server_state.look
        if self._admission is not None:
            yield self._admission.look

    def descriptors(self) -> Iterator[int]:
        """Of listeners and connections, now."""
        for listener in (*self._own, *self._shared, *self._accepting.values(), *self._last_of):
            yield listener.fileno()
        if self._admission is not None:
            yield from self._admission.descriptors()
        yield from (exclusive.fileno() for exclusive in self._exclusive.values())
        for connection in self.server_state.connections:
            found: socket.socket | None = connection.transport.get_extra_info("socket")
            if found is not None:  # uvloop has none any more when it is about to close
                yield found.fileno()

    def accept_no_more(self, server: Accepting) -> None:
        """Let go of its listener. What was accepted is ours; what is queued is for who holds a duplicate."""
        self._pause(server)
        asyncio.get_running_loop().call_soon(self._close, server)

    def _pause(self, server: Accepting) -> None:
        """The first of two steps with a turn of the loop between them.

        asyncio accepts in one turn and makes the transport in the next, where it asserts that its server is
        still open (base_events.Server._attach): closed in between, the connection would be dropped.
        """
        if (exclusive := self._exclusive.pop(server, None)) is not None:
            exclusive.end()
        if isinstance(server, Gate):
            server.pause()
            return
        # None, although no type says so: uvloop has closed it, because somebody's shutdown(2) had before.
        for listener in filter(None, server.sockets):
            asyncio.get_running_loop().remove_reader(listener.fileno())

    def _close(self, server: Accepting) -> None:
        self._accepting.pop(server, None)
        server.close()

    @functools.cached_property
    def protocol(self) -> Callable[[], asyncio.Protocol]:
        """What makes a new connection's protocol, in the running loop."""
        chosen: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        make = functools.partial(
            chosen,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        if not self.config.is_ssl:
            return make

        def greeted() -> asyncio.Protocol:
            made = make()
            self._greeted.add(made)
            return made

        return greeted

    async def main_loop(self) -> None:
        """uvicorn's, but woken at once to drain instead of looking ten times a second."""
        asked = False
        while self._departure is None:
            self._turn.clear()
            # The Date header has a resolution of one second.
            if await self.on_tick(0) and not asked:
                # The application has set `should_exit`, as it may: it is replaced before it goes.
                asked = True
                self.on_terminate()
            if self._departure is None:
                await self._turn.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Leave: uvicorn's would close idle connections at once, and reset a client that just sends."""
        departure = self._departure
        if departure is None:
            raise RuntimeError("uvicorn ended its main loop without being drained")
        loop = asyncio.get_running_loop()
        began = loop.time()
        departure.begin(loop, self.config)
        for server in self._accepting:
            self._pause(server)
        await asyncio.sleep(0)
        if departure.final:
            self._accept_the_queued()
        for listener in self._last_of:
            listener.close()
        for server in list(self._accepting):
            self._close(server)
        log.info("Shutting down")
        await self._finish(departure, began)
        departure.end()
        self.on_drained(await self._cut_off())
        await self.lifespan.shutdown()

    async def _finish(self, departure: Departure, began: float) -> None:
        """Wait for requests and connections, for as long as our patience lasts."""
        loop = asyncio.get_running_loop()
        deadline = began + self._patience
        linger_until = loop.time() + LINGER if departure.final else deadline
        say_at = tell_at = began + LONG
        greet_until = loop.time() + (LINGER if departure.final else self.config.timeout_keep_alive)
        unanswered = Unanswered(self.server_state.connections)
        while True:
            # First: who was accepted last becomes a connection only when the loop turns.
            await asyncio.sleep(LOOK)
            unanswered.look(loop.time())
            greeting = loop.time() < greet_until and self._greeting()
            if not (self.server_state.connections or self.server_state.tasks or greeting):
                break
            if loop.time() >= deadline:
                break
            if loop.time() >= say_at and (left := unfinished(self.server_state)) is not None:
                say_at = loop.time() + LONG
                self.on_waiting(left)
                if loop.time() >= tell_at:
                    # Ever more rarely: after 1, 2, 4, 8 seconds.
                    tell_at += tell_at - began
                    log.info("waiting for %s", left)
            if loop.time() >= linger_until:
                linger_until = deadline
                self._close_connections()

    def _greeting(self) -> bool:
        """Somebody is accepted and not yet a connection: its TLS handshake runs."""
        if self._admission is not None and len(self._admission):
            return True
        unmade = (getattr(protocol, "transport", protocol) is None for protocol in self._greeted)
        return bool(self._arriving) or any(unmade)

    def _accept_the_queued(self) -> None:
        """Who connected before we stop listening gets an answer: closing would reset the whole queue.

        Without a turn of the loop until then: who comes in between would be reset after all.
        """
        for listener in (*self._accepting.values(), *self._last_of):
            for _ in range(MOST_QUEUED):
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in EXHAUSTED:
                        log.error("connections are left unanswered: %s", error.strerror)  # noqa: TRY400 - no traceback
                        break
                    continue  # this client has already left
                connection.setblocking(False)
                if self._admission is not None:
                    self._admission.let_in(connection, self.protocol)
                    continue
                self._greet(connection, self.protocol)

    def welcome(self, connection: socket.socket) -> None:
        """Somebody else's, whom we have accepted: from now on ours."""
        self._greet(connection, self._newcomers(assigned=False))

    def _greet(self, connection: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        connection.setblocking(False)
        arrival = asyncio.ensure_future(self._arrive(connection, make))
        self._arriving.add(arrival)
        arrival.add_done_callback(self._arriving.discard)

    async def _arrive(self, connection: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        # It left, or its TLS handshake failed: no more an error here than anywhere else.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                make, connection, **tls(self.config, self.server_state)
            )

    async def _cut_off(self) -> int:
        """The patience is over: close what is open, cancel what runs; how many tasks."""
        tasks = list(self.server_state.tasks)
        if self._admission is not None:
            self._admission.close()
        self._close_connections()
        if tasks:
            log.error("Cancel %d running task(s): the graceful timeout is over", len(tasks))
            for task in tasks:
                task.cancel(msg="Task cancelled, graceful timeout exceeded")
            await asyncio.wait(tasks, timeout=1.0)
        return len(tasks)

    def _close_connections(self) -> None:
        """uvicorn's word for each protocol: idle HTTP closes, a response says close, WebSocket sends 1012."""
        for connection in list(self.server_state.connections):
            connection.shutdown()

    # ── signals ───────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM's handler is `handle_exit`, as uvicorn's is, from before the import on: applications put
        theirs in its place or in front of it, and libraries look for the server behind it.

        The others are the launcher's business. Nothing is raised again after a graceful end.
        """
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Somebody's SIGTERM, or our own to the application: see `_tell_the_application`."""
        if self._departure is not None:
            self._told_to_exit = True
            # uvicorn's, or what a library has put in its place: sse-starlette does.
            super().handle_exit(sig, frame)
        elif self.started and os.getpid() == self._process:
            self._terminated = True
            asyncio.get_running_loop().call_soon_threadsafe(self.on_terminate)
        else:
            # Nobody depends on who just starts; and who was forked by the application is not us.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)

    def _tell_the_application(self) -> None:
        """The worker drains, whoever wanted it: what runs for ever should end now.

        By a real signal, so that every handler hears of it, also those of add_signal_handler(); once.
        One that raises SystemExit would end the worker there and then, under uvicorn, with all its requests.
        """
        self.server_state.draining.set()
        if not self._terminated and callable(signal.getsignal(signal.SIGTERM)):
            try:
                signal.raise_signal(signal.SIGTERM)
            except (Exception, SystemExit, KeyboardInterrupt):
                log.warning("the application's SIGTERM handler failed; the drain goes on", exc_info=True)
        if not self._told_to_exit:
            self.handle_exit(signal.SIGTERM, None)
        self.should_exit = True
