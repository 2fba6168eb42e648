"""`reuseport check`: does the application import? Asked in a throw-away process, never touching the port."""

from __future__ import annotations

import os
import select

from reuseport import logs
from reuseport.channel import Channel, PeerGoneError
from reuseport.errors import ApplicationError, ConfigurationError
from reuseport.kernel.addresses import parse_all
from reuseport.launcher.execution import execute, refuse_what_does_not_fit, worker_environment
from reuseport.launcher.host.identity import identity_of
from reuseport.launcher.telling.exits import explain
from reuseport.messages import Failed, Ready, Start, ToLauncher
from reuseport.packets import ViolationError
from reuseport.printable import paragraph
from reuseport.settings.table import Settings

TIDYING = 10.0
"""Seconds for what the application does at exit: its temporary directories, its helper processes."""


def check(settings: Settings) -> str:
    """One line that says what was checked.

    Raises ConfigurationError when the settings or the name of the application are wrong, ApplicationError
    with the traceback when the application does not import within --startup-timeout.
    """
    parse_all(settings.binds())
    refuse_what_does_not_fit(settings)
    # Here first, as when serving: the log files are opened by us and handed to the workers' user.
    logs.configure_launcher(settings, logs.Place("check"))
    identity = identity_of(settings)
    channel, theirs = Channel.pair()
    with theirs:
        # An application may ask for its slot as soon as it is imported: it gets those of a first worker.
        environment = {
            **worker_environment(os.environ),
            "REUSEPORT_SLOT": "0",
            "REUSEPORT_GENERATION": "1",
        }
        process = execute("reuseport.worker.check", [], theirs, environment, identity)
    channel.send(Start(settings.to_json(), 0, 0, 0, 0, 0))
    try:
        answer = _answer(channel, settings)
    finally:
        status = process.end(TIDYING)
        channel.close()
    match answer:
        case Ready():
            return f"{settings.app} imports, the configuration is valid"
        case Failed("operator", text):
            raise ConfigurationError(paragraph(text))
        case Failed(_, text):
            raise ApplicationError(paragraph(text, indent=""))
        case None:
            raise ApplicationError(f"{settings.app} does not import: the {explain(0, process.pid, status)}")


def _answer(channel: Channel[ToLauncher], settings: Settings) -> Ready | Failed | None:
    """What the process says; None when it is gone without a word."""
    timeout = settings.startup_timeout or None
    readable, _, _ = select.select([channel], [], [], timeout)
    if not readable:
        text = f"{settings.app} did not import within {timeout:g} s; mend it or raise --startup-timeout"
        return Failed("application", text)
    try:
        received = channel.receive()
    except PeerGoneError:
        return None
    except ViolationError as error:
        return Failed("application", f"{settings.app} writes to a descriptor that is not its own: {error}")
    for message, _ in received:
        if isinstance(message, Ready | Failed):
            return message
    return None
