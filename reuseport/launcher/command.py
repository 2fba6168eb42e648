"""Executing a command of the operator's, and waiting for nothing meanwhile: see `execution` for why so.

It gets no descriptor but one for what it prints, is the leader of a session of its own (so that it can be
ended with all it has started), and has the signals that every program has.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence, Set
from typing import NoReturn

from reuseport.launcher.becoming import go_back, let_go_of_descriptors, let_go_of_signals
from reuseport.launcher.execution import Execution, forked
from reuseport.launcher.host.identity import Identity

NOT_FOUND = 127
"""The exit status of what could not be executed, as of a shell."""


def run_command(
    words: Sequence[str], output: int, environment: Mapping[str, str], identity: Identity | None
) -> Execution:
    """Run it in the directory we were started in, as ourselves or `identity`; it prints to `output`.

    Raises OSError (fork(2), pidfd_open(2)); whoever cannot be executed says so there, and exits NOT_FOUND.
    """
    environment = {**environment, **({} if identity is None else identity.environment())}
    return forked(lambda held: _become(words, output, environment, identity, held))


def _become(
    words: Sequence[str],
    output: int,
    environment: Mapping[str, str],
    identity: Identity | None,
    blocked: Set[int],
) -> NoReturn:
    try:
        let_go_of_signals(blocked)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        let_go_of_descriptors()
        os.setsid()
        go_back()
        if identity is not None:
            identity.take()
        _execute(words, environment)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(NOT_FOUND)


def _execute(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Not os.execvpe, which imports. Raises OSError."""
    program = words[0]
    directories = [""] if "/" in program else environment.get("PATH", os.defpath).split(os.pathsep)
    for directory in directories:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.execve(f"{directory}/{program}" if directory else program, [*words], environment)  # noqa: S606
    raise FileNotFoundError(2, "not found")
