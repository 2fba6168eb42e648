"""The file that tells init scripts and `kill` which process is the launcher."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from reuseport.errors import ConfigurationError
from reuseport.printable import printable
from reuseport.records import record

UNSURE = 2.0
"""Seconds by which the times of a process and of a file may differ: when the machine was started, from which
psutil reckons, is known in whole seconds (proc_stat(5), btime)."""


class _Found(NamedTuple):
    content: bytes
    written_at: float


@record(frozen=True, slots=True)
class PidFile:
    """`path` holds `pid` and a newline, mode 0644, from `write` to `remove`.

    Write it when the port is reserved: from then on a rival has been refused already, and this file need not
    be a lock.
    """

    path: Path
    pid: int = field(default_factory=os.getpid)

    def write(self) -> None:
        """Appears whole or not at all, and replaces a file whose process has gone.

        Raises ConfigurationError when another live process stands in it, when it is no pid file, and when it
        cannot be written.
        """
        try:
            with self._directory() as place:
                self._refuse_rival(place)
                self._replace(place)
        except OSError as error:
            raise ConfigurationError(
                f"pid file {self.path} cannot be written: {error.strerror}; "
                "give --pid-file a path in a directory that exists and that this user may write to"
            ) from error

    def remove(self) -> None:
        """Leaves alone a file that has come to name another process."""
        # Denied: privileges were dropped since. The next start takes the file for what it is, stale.
        with (
            contextlib.suppress(
                FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, ConfigurationError
            ),
            self._directory() as place,
        ):
            if self._read(place).content == str(self.pid).encode():
                os.unlink(self.path.name, dir_fd=place)

    @contextlib.contextmanager
    def _directory(self) -> Iterator[int]:
        """Where everything happens: the path may lead elsewhere in the next moment. Raises OSError."""
        place = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield place
        finally:
            os.close(place)

    def _read(self, place: int) -> _Found:
        """What is there: no link is followed, and no FIFO waited for. Raises OSError, ConfigurationError."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            fd = os.open(self.path.name, flags, dir_fd=place)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
                raise self._unfit() from error
            raise
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(status.st_mode):
                raise self._unfit()
            # No pid is longer, and the path may name anything at all.
            return _Found(os.read(fd, 64).strip(), status.st_mtime)
        finally:
            os.close(fd)

    def _unfit(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path} exists and is no pid file; give --pid-file another path, or remove it"
        )

    def _refuse_rival(self, place: int) -> None:
        try:
            content, written_at = self._read(place)
        except FileNotFoundError:
            return
        # Empty is what a full disk leaves behind; anything else that is no pid is not ours to overwrite.
        # Seven digits hold the largest pid, 4,194,304 (PID_MAX_LIMIT, include/linux/threads.h).
        if content and not (content.isdigit() and len(content) <= 7):
            raise self._unfit()
        named = int(content or b"0")
        if named != self.pid and (name := _live_name(named, written_at)) is not None:
            raise ConfigurationError(
                f"pid file {self.path} names a live process: {name} (pid {named}); "
                "stop that one, give --pid-file another path, or remove the file if it is out of date"
            )

    def _replace(self, place: int) -> None:
        temporary = f".{self.path.name}.{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=place)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(f"{self.pid}\n")
                os.fchmod(fd, 0o644)  # whatever the umask: monitoring runs as somebody else
            os.replace(temporary, self.path.name, src_dir_fd=place, dst_dir_fd=place)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=place)
            raise


def _live_name(pid: int, written_at: float) -> str | None:
    """The command name of a process that runs, and ran already when the file was written.

    A younger one has only been given the number anew: the port is the lock, and this file need not be one.
    A zombie does not run: it only waits to be reaped.
    """
    import psutil  # only who has a pid file pays for it

    if pid == 0 or not psutil.pid_exists(pid):
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or process.create_time() > written_at + UNSURE:
            return None
        return printable(process.name())
    except psutil.NoSuchProcess:
        return None
