"""Has the application imported in a process of its own, which looks for pools (worker/pools.py)."""

from __future__ import annotations

import os
import select

from reuseport.channel import Channel, PeerGoneError, paired
from reuseport.doctor.facts import Known, Pool, Unknown
from reuseport.errors import ReuseportError
from reuseport.launcher.check import TIDYING
from reuseport.launcher.execution import execute, refuse_what_does_not_fit, worker_environment
from reuseport.launcher.host.identity import identity_of
from reuseport.launcher.telling.exits import explain
from reuseport.messages import TO_DOCTOR, Failed, Found, Start, ToDoctor
from reuseport.packets import ViolationError
from reuseport.printable import printable
from reuseport.settings.table import Settings

MOST_POOLS = 16
MOST_NAME = 60


def pools_of(settings: Settings) -> Known[tuple[Pool, ...]]:
    """What one worker may open, as far as it is made at import."""
    try:
        refuse_what_does_not_fit(settings)
        identity = identity_of(settings)
    except ReuseportError as error:
        return Unknown(str(error))
    channel, theirs = paired(TO_DOCTOR)
    with theirs:
        environment = {
            **worker_environment(os.environ),
            "REUSEPORT_SLOT": "0",
            "REUSEPORT_GENERATION": "1",
        }
        process = execute("reuseport.worker.pools", [], theirs, environment, identity)
    channel.send(Start(settings.to_json(), 0, 0, 0, 0, 0))
    try:
        answer = _answer(channel, settings)
    finally:
        status = process.end(TIDYING)
        channel.close()
    match answer:
        case Found(names, most):
            pairs = zip(names[:MOST_POOLS], most, strict=False)
            return tuple(Pool(printable(name[:MOST_NAME]), number) for name, number in pairs)
        case Failed(_, text):
            last = text.strip().rpartition("\n")[2]
            return Unknown(
                f"{settings.app} does not import: {last}; reuseport check {settings.app} has it all"
            )
        case None:
            return Unknown(f"{settings.app} does not import: the {explain(0, process.pid, status)}")


def _answer(channel: Channel[ToDoctor], settings: Settings) -> ToDoctor | None:
    """What the process says; None when it is gone without a word."""
    timeout = settings.startup_timeout or None
    readable, _, _ = select.select([channel], [], [], timeout)
    if not readable:
        return Failed("application", f"it takes longer than {timeout:g} s (--startup-timeout)")
    try:
        received = channel.receive()
    except PeerGoneError:
        return None
    except ViolationError as error:
        return Failed("application", str(error))
    return received[0][0] if received else None
