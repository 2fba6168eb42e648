"""The life of a worker process: learn, load, start up, serve, drain, exit.

Exit status 0 after a drain, 3 when it never became ready (the launcher was told why).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reuseport import draining, exclusion, logs
from reuseport.channel import Channel
from reuseport.errors import ConfigurationError
from reuseport.kernel.accepting import Listener
from reuseport.kernel.descriptors import have_enough
from reuseport.messages import Failed, Listens, Start, ToWorker
from reuseport.scoreboard import Desk, Scoreboard
from reuseport.settings.table import Settings
from reuseport.worker import bond
from reuseport.worker.begin import begin
from reuseport.worker.ending import end_soon

if TYPE_CHECKING:
    from reuseport.worker.protocol.connection import State
    from reuseport.worker.protocol.count import Counted
    from reuseport.worker.readied import Readied
    from reuseport.worker.sticky.taking_part import Sticky

STARTUP_FAILURE = 3
"""uvicorn's exit status for the same."""
LAST_GRACE = 5.0
"""Seconds beyond all timeouts after which a worker without a launcher ends itself, hang or not."""
SHUTDOWN = 30.0
"""Seconds of lifespan shutdown when the launcher is gone, unless a limit is set: nobody else would end it."""

log = logging.getLogger("uvicorn.error")


def main() -> int:
    """Run one worker from its first instruction to its exit status."""
    return live(*begin(sys.argv[1:]))


def live(channel: Channel[ToWorker], order: Start, fds: list[int], readied: Readied | None = None) -> int:
    """Run one from its order on; `readied` where that was done before it was forked."""
    if not fds:
        channel.send(Failed("operator", "no descriptor was free for the worker's own: raise ulimit -n"))
        return STARTUP_FAILURE
    have_enough()
    seat = exclusion.sit(fds[4] if order.locks else None)
    if order.cpu is not None:
        # Before the application can start a thread: threads inherit it (sched_setaffinity(2)).
        os.sched_setaffinity(0, {order.cpu})
    # After the signals and the bond: importing uvicorn takes a tenth of a second.
    from reuseport.worker.application import StartupError
    from reuseport.worker.readied import ready

    process = os.getpid()
    with contextlib.ExitStack() as end:
        # The end of file means that we are gone, and threads of the application may go on for a while.
        end.callback(channel.leave_open)
        try:
            if readied is None:
                place = logs.worker(order.slot, order.generation)
                readied = ready(Settings.from_json(order.settings), order.slot, place, order.tickets)
            else:
                readied.take_place(order)
            if readied.access_log is not None:
                end.callback(readied.access_log.end)
            loop_factory = readied.application.get_loop_factory()
            runner = end.enter_context(asyncio.Runner(loop_factory=loop_factory))
            runner.run(serve(channel, order, fds, readied, seat))
            end_soon(0)
        except ConfigurationError as error:
            channel.send(Failed("operator", str(error)))
            return STARTUP_FAILURE
        except StartupError as error:
            channel.send(error.failed)
            end_soon(STARTUP_FAILURE)
            return STARTUP_FAILURE
        except RuntimeError:
            if os.getpid() == process:
                raise
            log.exception("a process that the application forked came back into the event loop: it is ended")
            os._exit(1)
        finally:
            if os.getpid() != process:
                end.pop_all()  # forked by the application, and on its way out through our frames
    return 0


def take_part(settings: Settings, order: Start, fds: Sequence[int], scoreboard: Scoreboard) -> Sticky | None:
    """In what --sticky takes, which the first of `fds` are for; without it there is none, and no import."""
    if not settings.sticky:
        return None
    from reuseport.worker.sticky.taking_part import Sticky

    return Sticky(settings, order, fds, scoreboard)


def surrounded(state: State, app: Any) -> Counted:
    """The application in all that we put around it."""
    if state.sessions is not None:
        app = state.sessions.around(app)
    return state.requests.around(app, state.extensions)


async def serve(
    channel: Channel[ToWorker],
    order: Start,
    fds: list[int],
    readied: Readied,
    seat: exclusion.Seat | None,
) -> None:
    """Load the application and serve it until drained. Raises StartupError."""
    from reuseport.worker.admission import admission
    from reuseport.worker.collector import Collector
    from reuseport.worker.control import Control
    from reuseport.worker.footprint import Memory
    from reuseport.worker.hooks import call
    from reuseport.worker.inbox import Inbox
    from reuseport.worker.meter import Meter
    from reuseport.worker.offspring import disown
    from reuseport.worker.protocol.connection import State, transferable
    from reuseport.worker.protocol.count import Requests
    from reuseport.worker.protocol.limits import Limits
    from reuseport.worker.protocol.load import Load
    from reuseport.worker.rescue import Rescue, turning
    from reuseport.worker.server import Server
    from reuseport.worker.stealing import Stealing

    settings, application, access_log = readied.settings, readied.application, readied.access_log
    scoreboard = Scoreboard(fds[0], order.slots)
    desk = scoreboard.desk(order.slot, order.desk)
    row = scoreboard.slot(order.slot)
    requests = Requests(desk)
    state = State(Load(desk, row), requests, draining, Limits.of(settings))
    if access_log is not None:
        access_log.start(asyncio.get_running_loop())
        state.access_log = access_log
    collector = Collector(desk)
    sockets = fds[4 + order.locks :]
    sticky = take_part(settings, order, sockets, scoreboard)
    if sticky is not None:
        state.sessions = sticky.sessions
        sockets = sockets[sticky.taken :]
    application.around = functools.partial(surrounded, state)
    shared = [Listener(fileno=fd) for fd in sockets[: order.shared]]
    own = [Listener(fileno=fd) for fd in sockets[order.shared :]]

    def on_listen() -> None:
        desk[Desk.CERTIFICATE] = application.first_expiry
        if settings.gc_freeze:
            # Nobody waits yet. Afterwards it would hold up the first clients.
            collector.freeze()
        else:
            collector.thaw()
        channel.send(Listens())

    def on_drained(watch: bond.Watch, cut_off: int) -> None:
        watch.grant((settings.shutdown_timeout or SHUTDOWN) + LAST_GRACE)
        control.on_drained(cut_off)

    def on_ready() -> None:
        loop = asyncio.get_running_loop()
        # In this order: as long as we are tied, our parent is the launcher.
        watch = bond.Watch(os.getppid(), settings.graceful_timeout + LAST_GRACE)
        server.on_drained = functools.partial(on_drained, watch)
        bond.loosen()
        movable = not server.config.is_ssl and transferable(server.config.http_protocol_class)
        if settings.rescue and movable:
            rescue.start(loop)
        on_publish = [*server.looks(), control.rebalancing.publish, memory.look, control.tell_held]
        meter.start(loop, own, on_publish, server.tick, rescue.expect)
        stealing.start(loop)
        control.start(loop)
        control.ready()
        if application.on_ready is not None:
            hooked.append(loop.create_task(call("--on-ready", application.on_ready)))

    hooked: list[asyncio.Task[None]] = []
    """The loop alone would let go of it."""
    admits = admission(settings, application, state)
    server = Server(application, state, own, shared, on_listen, on_ready, admits)
    server.stolen_from = settings.stealing and admits is None
    meter = Meter(desk, state)
    memory = Memory(desk, row)
    inboxes = [Inbox(fds[1], server, desk), *([] if sticky is None else [sticky.incoming(server)])]
    rescue = Rescue(fds[3], state, desk, lambda: turning(scoreboard, order.slot))
    stealing = Stealing(server, scoreboard, desk, settings.limit_concurrency)
    fosters = None if sticky is None else sticky.foster
    control = Control(channel, server, inboxes, meter, rescue, stealing, seat, settings, fosters)
    control.on_tickets = application.rotate
    server.on_terminate, server.on_waiting = control.on_terminate, control.on_waiting
    held = () if seat is None else seat.descriptors()
    disown(
        asyncio.get_running_loop(),
        lambda: itertools.chain(
            (channel.fileno(), *fds[:2], *held),
            server.descriptors(),
            rescue.descriptors(),
            stealing.descriptors(),
            () if sticky is None else sticky.descriptors(),
        ),
    )
    await server.serve()
    rescue.end()
    for inbox in inboxes:
        inbox.close()
    await call("--on-exit", application.on_exit)
