"""Where control sockets lie: the runtime directory, one socket a launcher, named by its pid."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from reuseport.errors import ConfigurationError

_LONGEST = 107
"""Bytes of the path of a socket that every client can name (kernel/addresses.py)."""
_HIGHEST_PID = 4_194_304
"""PID_MAX_LIMIT, include/linux/threads.h."""


def directories(environment: Mapping[str, str] | None = None) -> list[Path]:
    """Where a launcher of this user may have put its socket, the likeliest first. They need not exist."""
    given = os.environ if environment is None else environment
    uid = os.geteuid()
    found = _named(given)
    if uid == 0:
        found.append(Path("/run/reuseport"))
    elif given.get("XDG_RUNTIME_DIR"):
        found.append(Path(given["XDG_RUNTIME_DIR"]) / "reuseport")
    # Not gettempdir(): both sides must find the same one whatever TMPDIR each has.
    found.append(Path(f"/tmp/reuseport-{uid}"))  # noqa: S108 - `directory` makes sure that it is ours
    return found


def directory(environment: Mapping[str, str] | None = None) -> Path:
    """The first of them that can be had, made if need be, mode 0700.

    Raises ConfigurationError when one that was named for us cannot be used, or none can.
    """
    given = os.environ if environment is None else environment
    reasons = []
    for candidate in _named(given)[:1] or directories(given):
        why = _prepare(candidate)
        if why is None:
            return candidate
        reasons.append(f"{candidate}: {why}")
    raise ConfigurationError(
        f"no directory for the control socket ({'; '.join(reasons)}); give --control PATH, or --no-control"
    )


def _named(environment: Mapping[str, str]) -> list[Path]:
    """Those that are for nothing else. XDG_RUNTIME_DIR is not: after su(1) it is of who was here before."""
    named = [
        environment.get("REUSEPORT_RUNTIME_DIR", ""),
        environment.get("RUNTIME_DIRECTORY", "").partition(":")[0],  # systemd.exec(5)
    ]
    return [Path(name) for name in named if name]


def control_socket(directory: Path, pid: int) -> Path:
    """The socket of the launcher with this pid."""
    return directory / f"{pid}.sock"


def sweep(directory: Path) -> None:
    """Remove the sockets of launchers that were killed, and so could not do it themselves.

    Only where nobody of that pid lives, and nobody listens either. In a directory that containers share he
    may live unseen, and between bind(2) and listen(2) he does not listen.
    """
    for path in directory.glob("*.sock"):
        pid = path.stem
        if pid.isdecimal() and path.is_socket() and not _lives(int(pid)) and not _listens(path):
            with contextlib.suppress(OSError):
                path.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # its queue is full, or we cannot tell: it is nobody's to remove
    return True


def _prepare(path: Path) -> str | None:
    """Make the directory ours, or say why it cannot be."""
    if len(os.fsencode(control_socket(path, _HIGHEST_PID))) > _LONGEST:
        return "too long for the name of a socket"
    try:
        path.mkdir(mode=0o700, parents=False, exist_ok=True)
    except OSError as error:
        return error.strerror
    if (why := distrusted(path, (os.geteuid(),))) is not None:
        return why
    return None if os.access(path, os.W_OK | os.X_OK) else "we may not write there"


def distrusted(path: Path, owners: Collection[int]) -> str | None:
    """Why somebody else than these users could put a socket of his own there; None: nobody can."""
    try:
        # Not what a link leads to: it would be another user's word that this is the place.
        status = path.lstat()
    except OSError as error:
        return error.strerror
    if not stat.S_ISDIR(status.st_mode):
        return "not a directory"
    if status.st_uid not in owners:
        return "it belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write there (mode {stat.S_IMODE(status.st_mode):o})"
    return None
