"""The life of a mold: learn what for, import what its workers share, then fork one at each order.

It ends with the launcher, and when the launcher closes the channel. Nothing depends on it: workers are the
launcher's children, and where there is no mold they are executed.

From `worker.begin` on, a worker that is forked does what one that is executed does. What it brings along from
here: modules, the collector's frozen heap, the current directory, the seed of the hashes of str, and where
everything lies in memory. What it does not: our channel, random state (random.py seeds itself anew after a
fork), the command line.
"""

from __future__ import annotations

import gc
import os
import select
import sys
from importlib import import_module

from reuseport.agreement import AGREEMENT, objection
from reuseport.channel import Channel, PeerGoneError
from reuseport.messages import TO_MOLD, Born, Cast, Failed, Prepare, Prepared, ToMold, Unborn
from reuseport.mold.casting import cast
from reuseport.mold.title import be_called
from reuseport.settings.table import Settings
from reuseport.worker.begin import NOT_BEGUN, tied
from reuseport.worker.stage import import_ours


def main() -> int:
    """Run one mold; in each process that it forks, one worker."""
    arguments, end = tied(sys.argv[1:])
    channel = Channel(end, TO_MOLD)
    if (why := objection(arguments.agreement)) is not None:
        channel.send(Failed("operator", why))
        return NOT_BEGUN
    # What it would find here is found by all workers, and finding it moves memory that they could share.
    gc.disable()
    while True:
        for message, fds in _received(channel):
            match message:
                case Prepare(settings):
                    _prepare(Settings.from_json(settings))
                    channel.send(Prepared())
                case Cast(worker) if not fds:
                    channel.send(Unborn(worker, "no descriptor is free: raise ulimit -n"))
                case Cast() if _is_worker(channel, message, fds[0]):
                    return _be_a_worker(channel, message, fds[0], arguments.launcher)


def _received(channel: Channel[ToMold]) -> list[tuple[ToMold, list[int]]]:
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    waiting.poll()
    try:
        return channel.receive()
    except PeerGoneError:
        sys.exit(0)


def _prepare(settings: Settings) -> None:
    import_module("reuseport.worker.__main__")
    import_ours(settings)
    gc.collect()
    gc.freeze()


def _is_worker(channel: Channel[ToMold], order: Cast, end: int) -> bool:
    """Fork. In the mold, tell how it went: False."""
    try:
        pid = cast()
    except OSError as error:
        channel.send(Unborn(order.worker, str(error)))
    else:
        if pid is None:
            return True
        channel.send(Born(order.worker, pid))
    os.close(end)
    return False


def _be_a_worker(channel: Channel[ToMold], order: Cast, end: int, launcher: int) -> int:
    channel.close()
    gc.enable()
    os.environ["REUSEPORT_SLOT"] = str(order.slot)
    os.environ["REUSEPORT_GENERATION"] = str(order.generation)
    ends = ["--agreement", AGREEMENT, "--channel", str(end), "--launcher", str(launcher)]
    place = ["--slot", str(order.slot), "--generation", str(order.generation)]
    sys.argv[1:] = [*ends, *place]
    be_called([sys.executable, "-m", "reuseport.worker", *sys.argv[1:]])
    # Until the launcher says Start, or closes its end: by then it is our parent, or it is gone.
    waiting = select.poll()
    waiting.register(end, select.POLLIN)
    waiting.poll()
    from reuseport.worker.__main__ import main as live

    return live()
