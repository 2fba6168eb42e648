"""The application imported in a process that is thrown away, for who asks something of it: check, doctor."""

from __future__ import annotations

import os
import select

from reuseport.channel import PeerGoneError, paired
from reuseport.launcher.becoming import worker_environment
from reuseport.launcher.execution import execute
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.telling.exits import explain
from reuseport.messages import Alphabet, Said, Start
from reuseport.settings.table import Settings

TIDYING = 10.0
"""Seconds for what the application does at exit: its temporary directories, its helper processes."""


def ask_apart(
    module: str, settings: Settings, alphabet: Alphabet[Said], identity: Identity | None
) -> tuple[list[Said], str]:
    """What a module of ours said first, in such a process; nothing, if it was gone without a word. And how it
    ended, in words.

    Waits, so not for who serves. Raises TimeoutError after --startup-timeout, ViolationError for what is not
    of this alphabet, OSError (fork(2), socketpair(2)). Nothing is left of the process then either.
    """
    channel, theirs = paired(alphabet)
    with theirs:
        # An application may ask for its slot as soon as it is imported: it gets those of a first worker.
        place = {"REUSEPORT_SLOT": "0", "REUSEPORT_GENERATION": "1"}
        process = execute(module, [], theirs, {**worker_environment(os.environ), **place}, identity)
    try:
        channel.send(Start(settings.to_json(), 0, 0, 0, 0, 0))
        readable, _, _ = select.select([channel], [], [], settings.startup_timeout or None)
        if not readable:
            raise TimeoutError(f"longer than {settings.startup_timeout:g} s")
        said = [message for message, _ in channel.receive()]
    except PeerGoneError:
        said = []
    finally:
        status = process.end(TIDYING)
        channel.close()
    return said, explain(0, process.pid, status)
