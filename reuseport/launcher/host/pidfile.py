"""The file that tells init scripts and `kill` which process is the launcher."""

import contextlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from reuseport.errors import ConfigurationError
from reuseport.printable import printable


@dataclass(frozen=True, slots=True)
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
            self._refuse_rival()
            self._replace()
        except OSError as error:
            raise ConfigurationError(
                f"pid file {self.path} cannot be written: {error.strerror}; "
                "give --pid-file a path in a directory that exists and that this user may write to"
            ) from error

    def remove(self) -> None:
        """Leaves alone a file that has come to name another process."""
        # Denied: privileges were dropped since. The next start takes the file for what it is, stale.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if self._content() == str(self.pid).encode():
                self.path.unlink()

    def _content(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(64).strip()  # no pid is longer, and the path may name anything at all

    def _refuse_rival(self) -> None:
        try:
            content = self._content()
        except FileNotFoundError:
            return
        # Empty is what a full disk leaves behind; anything else that is no pid is not ours to overwrite.
        # Seven digits hold the largest pid, 4,194,304 (PID_MAX_LIMIT, include/linux/threads.h).
        if content and not (content.isdigit() and len(content) <= 7):
            raise ConfigurationError(
                f"{self.path} exists and is no pid file; give --pid-file another path, or remove it"
            )
        named = int(content or b"0")
        if named != self.pid and (name := _live_name(named)) is not None:
            raise ConfigurationError(
                f"pid file {self.path} names a live process: {name} (pid {named}); "
                "stop that one, give --pid-file another path, or remove the file if it is out of date"
            )

    def _replace(self) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{self.pid}\n")
                os.fchmod(file.fileno(), 0o644)  # mkstemp gives 0600; monitoring runs as somebody else
            Path(temporary).replace(self.path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise


def _live_name(pid: int) -> str | None:
    """The command name of a process that is still running. A zombie is not: it only waits to be reaped."""
    if pid == 0 or not psutil.pid_exists(pid):
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else printable(process.name())
    except psutil.NoSuchProcess:
        return None
