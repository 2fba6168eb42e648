"""The life of a mold: learn what for, import what its workers share, then fork one at each order.

It ends with the launcher, and when the launcher closes the channel. Nothing depends on it: workers are the
launcher's children, and where there is no mold they are executed.

A worker that is forked does what one that is executed does. What it brings along from here: modules, the
collector's frozen heap, the current directory, the seed of the hashes of str, and where everything lies in
memory; with --preload the application, and all that this has done at import. What it does not: our channel,
random state (random.py seeds itself anew after a fork), the command line.
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reuseport import surroundings
from reuseport.agreement import AGREEMENT, objection
from reuseport.channel import Channel, PeerGoneError, give_room
from reuseport.errors import ConfigurationError
from reuseport.kernel.capabilities import keep_only
from reuseport.messages import PACKET, TO_MOLD, Born, Cast, Failed, Preload, Prepare, Prepared, ToMold, Unborn
from reuseport.mold.casting import cast
from reuseport.mold.title import be_called
from reuseport.settings.table import Settings
from reuseport.signals import GROUP_SIGNALS
from reuseport.worker.begin import NOT_BEGUN, begin_forked, tied

if TYPE_CHECKING:
    from reuseport.worker.readied import Readied


def main() -> int:
    """Run one mold; in each process that it forks, one worker."""
    # What it would find here is found by all workers, and finding it moves memory that they could share.
    gc.disable()
    arguments, end = tied(sys.argv[1:])
    _lay_down_capabilities()
    with end:
        return _cast_workers(arguments, end)


def _cast_workers(arguments: argparse.Namespace, end: socket.socket) -> int:
    """At each order, until the launcher closes its end; what a worker returns in that."""
    agreement = _import_and_be_told(end) if arguments.agreement == surroundings.LATER else arguments.agreement
    channel = Channel(end, TO_MOLD)
    if (why := objection(agreement)) is not None:
        channel.send(Failed("operator", why))
        return NOT_BEGUN
    shared = Shared()
    while True:
        for message, fds in _received(channel):
            match message:
                case Prepare(settings):
                    shared.settings = Settings.from_json(settings)
                    _import(shared.settings)
                    if shared.settings.preload == "off":
                        _prepared(channel)
                case Preload():
                    _preload(shared, channel)
                    _prepared(channel)
                case Cast(worker) if not fds:
                    channel.send(Unborn(worker, "no descriptor is free: raise ulimit -n"))
                case Cast() if _is_worker(channel, message, fds[0]):
                    channel.close()
                    return _be_a_worker(message, fds[0], arguments.launcher, shared)


@dataclass(slots=True)
class Shared:
    """What a worker finds beside modules."""

    settings: Settings = field(default_factory=Settings)
    readied: Readied | None = None
    collects: bool = True
    """The garbage collector runs, as far as the application has not switched it off."""
    mask: set[int] | None = None
    """Signals that are blocked in workers, if others are here."""


def _received(channel: Channel[ToMold]) -> list[tuple[ToMold, list[int]]]:
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    waiting.poll()
    try:
        return channel.receive()
    except PeerGoneError:
        sys.exit(0)


def _lay_down_capabilities() -> None:
    """Executed before the launcher has laid down its own (launcher/ahead.py); workers are to have none."""
    if os.geteuid() != 0:
        keep_only(())


def _import_and_be_told(end: socket.socket) -> str:
    """The agreement of a launcher that has begun when we have, and knew less (launcher/headstart.py)."""
    give_room(end)
    _import_ours()
    # As long as that takes: who is gone meanwhile takes us along (worker/bond.py).
    agreement = end.recv(PACKET)
    if not agreement:
        sys.exit(0)
    return agreement.decode()


def _import_ours() -> None:
    """What all workers need, whatever their settings."""
    # Here: it takes a tenth of a second, and is for our workers.
    import reuseport.worker.__main__
    import reuseport.worker.readied  # noqa: F401
    from reuseport.worker.stage import import_what_all_need

    import_what_all_need()


def _import(settings: Settings) -> None:
    """What is ours, and what applications have in common with us."""
    _import_ours()
    from reuseport.mold.foreseen import import_foreseen
    from reuseport.worker.stage import import_ours, path_for

    import_ours(settings)
    if settings.preload == "off":
        import_foreseen(path_for(settings))


def _preload(shared: Shared, channel: Channel[ToMold]) -> None:
    """The application. Exits where that fails."""
    from reuseport.mold.preloading import preload
    from reuseport.worker.application import StartupError

    gc.enable()
    try:
        shared.readied = preload(shared.settings)
    except (ConfigurationError, StartupError) as error:
        failed = error.failed if isinstance(error, StartupError) else Failed("operator", str(error))
        channel.send(failed)
        os._exit(NOT_BEGUN)  # sys.exit would wait for the application's threads
    shared.collects = gc.isenabled()
    gc.disable()
    # The application may have handlers of its own for what the terminal sends to all of us, for its workers.
    shared.mask = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)


def _prepared(channel: Channel[ToMold]) -> None:
    """What is here is for all workers, and stays where it is."""
    from reuseport.mold.learning import learn

    learn()
    gc.collect()
    gc.freeze()
    channel.send(Prepared())


def _is_worker(channel: Channel[ToMold], order: Cast, end: int) -> bool:
    """Fork. In the mold, tell how it went: False."""
    try:
        pid = cast(end)
    except OSError as error:
        channel.send(Unborn(order.worker, str(error)))
    else:
        if pid is None:
            return True
        channel.send(Born(order.worker, pid))
    os.close(end)
    return False


def _be_a_worker(order: Cast, fd: int, launcher: int, shared: Shared) -> int:
    if shared.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, shared.mask)
    if shared.collects:
        gc.enable()
    os.environ["REUSEPORT_SLOT"] = str(order.slot)
    os.environ["REUSEPORT_GENERATION"] = str(order.generation)
    ends = ["--agreement", AGREEMENT, "--channel", str(fd), "--launcher", str(launcher)]
    place = ["--slot", str(order.slot), "--generation", str(order.generation)]
    be_called([sys.executable, "-m", "reuseport.worker", *ends, *place])
    # Until the launcher says Start, or closes its end: by then it is our parent, or it is gone.
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    waiting.poll()
    from reuseport.worker.__main__ import live

    return live(*begin_forked(socket.socket(fileno=fd), launcher), shared.readied)
