"""Opening a log file by its name, in a directory that may not be ours alone.

The launcher may be root, and the directory may be the workers' user's: then a link in the file's place would
have us write what workers say into any file at all, or give it to them; a FIFO would stop us for good. So:

- Regular files only, and the null device. Opened without waiting (O_NONBLOCK), which says nothing to a file.
- Root goes the way step by step. A link counts only where nobody but root can put one; from the first
  directory on in which somebody else can, there must be none, nor may the file have another name.
- Nothing is changed by name: owner and mode are those of the open file.

Who controls a directory can still have us write into a file that lies there, or make one: so can he himself.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pwd
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from reuseport.logs.stream import Stream

_WRITING = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ENTERING = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NULL_DEVICE = os.makedev(1, 3)
"""Documentation/admin-guide/devices.txt."""
_MOST_LINKS = 40
"""As the kernel has it (path_resolution(7))."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


class UnfitError(OSError):
    """Such a file is no place for a log. The text says why, and what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


class Opened(NamedTuple):
    """An open log file: whose descriptor is the caller's, and whose owner may be changed if it is `ours`."""

    fd: int
    ours: bool
    """Nobody but root and we can have put it there."""


def open_log(path: str) -> Opened:
    """Open to append, made if need be with what the umask leaves of 0666. Raises UnfitError, OSError."""
    if os.geteuid() != 0:
        opened = Opened(_open_plainly(path), ours=False)
    else:
        try:
            opened = _open_step_by_step(path)
        except UnfitError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error  # each step knows its own name only
    try:
        _refuse_unfit(path, os.fstat(opened.fd))
    except UnfitError:
        os.close(opened.fd)
        raise
    return opened


class LogFile(logging.FileHandler):
    """A handler for one of our own log files."""

    ours = False
    """As of the file that is open."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename, encoding=Stream.encoding, errors=Stream.errors)

    def _open(self) -> Any:
        opened = open_log(self.baseFilename)
        self.ours = opened.ours
        return Stream(opened.fd)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Files of handlers that are made meanwhile are opened as `open_log` does, then and later.

    Of any handler: the operator's configuration names classes (RotatingFileHandler, one of his own), and all
    open their files by this one method.
    """
    original = logging.FileHandler.__init__

    def make(handler: logging.FileHandler, *arguments: Any, **named: Any) -> None:
        if type(handler)._open is logging.FileHandler._open:
            handler._open = partial(_open_as_configured, handler)  # type: ignore[method-assign, assignment]
        original(handler, *arguments, **named)

    logging.FileHandler.__init__ = make  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        logging.FileHandler.__init__ = original  # type: ignore[method-assign]


def _open_as_configured(handler: logging.FileHandler) -> IO[str]:
    opened = open_log(handler.baseFilename)
    handler.ours = opened.ours  # type: ignore[attr-defined]
    if "w" in handler.mode:
        os.ftruncate(opened.fd, 0)
    return os.fdopen(opened.fd, handler.mode, encoding=handler.encoding, errors=handler.errors)


def _open_plainly(path: str) -> int:
    """Whatever is there: we can do no more than who put it there."""
    try:
        return os.open(path, _WRITING | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a FIFO that nobody reads, or a socket (open(2))
            _refuse_unfit(path, Path(path).stat())
        raise


def _open_step_by_step(path: str) -> Opened:
    """From the root on, as path_resolution(7) has it."""
    ahead = _parts(os.path.abspath(path))  # noqa: PTH100 - what logging.FileHandler does with it
    links, alone = 0, True
    place = os.open("/", _ENTERING)
    try:
        while True:
            around, name = os.fstat(place), ahead.pop() if ahead else "."
            found = _look(name, place)
            alone = alone and _only_ours(around, found)
            if found is not None and stat.S_ISLNK(found.st_mode):
                links += 1
                _refuse_link(path, name, links, around, alone=alone)
                target = os.readlink(name, dir_fd=place)
                ahead += _parts(target)
                entered = "/" if target.startswith("/") else "."
            elif ahead:
                entered = name
            else:
                return _open_last(path, name, place, found, alone=alone)
            before, place = place, os.open(entered, _ENTERING, dir_fd=place)
            os.close(before)
    finally:
        os.close(place)


def _open_last(path: str, name: str, place: int, found: os.stat_result | None, *, alone: bool) -> Opened:
    if found is None:
        return Opened(os.open(name, _WRITING | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=place), ours=True)
    _refuse_unfit(path, found)
    # Without O_CREAT: in a directory such as /tmp it is refused for a file of somebody else's
    # (fs.protected_regular, proc_sys_fs(5)), such as the workers' user, to whom we have given it.
    fd = os.open(name, _WRITING | os.O_NOFOLLOW, dir_fd=place)
    if not alone and os.fstat(fd).st_nlink > 1:
        os.close(fd)
        raise UnfitError(
            errno.EMLINK, f"{path} has another name, too, which others may have given it: remove one of them"
        )
    return Opened(fd, ours=alone)


def _look(name: str, place: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _parts(path: str) -> list[str]:
    """The last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _only_ours(directory: os.stat_result, entry: os.stat_result | None) -> bool:
    """Whether nobody but root and us can put something else in the entry's place.

    Write access by an ACL shows in the group's bits (acl(5)). In a sticky directory an entry is its owner's.
    """
    ours = {0, os.geteuid()}
    if directory.st_uid not in ours:
        return False
    if not directory.st_mode & _OTHERS_WRITE:
        return True
    return bool(directory.st_mode & stat.S_ISVTX) and entry is not None and entry.st_uid in ours


def _refuse_link(path: str, name: str, links: int, around: os.stat_result, *, alone: bool) -> None:
    if links > _MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if not alone:
        raise UnfitError(
            errno.ELOOP,
            f"{path} leads over the link {name}, in a place where others than root may put one"
            f" ({_whose(around)}): name the file that is meant",
        )


def _refuse_unfit(path: str, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode) or found.st_rdev == _NULL_DEVICE:
        return
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
    raise UnfitError(
        errno.EINVAL,
        f"{path} is {kind}: give a regular file, or - and redirect our output",
    )


def _whose(directory: os.stat_result) -> str:
    try:
        owner = pwd.getpwuid(directory.st_uid).pw_name
    except KeyError:
        owner = str(directory.st_uid)
    return f"mode {stat.S_IMODE(directory.st_mode):o}, owner {owner}"
