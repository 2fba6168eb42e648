"""A terminal of the test's own, with a command on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading

from tests.conftest import PATIENCE
from tests.whole.lines import wait_until

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9])")


class Terminal:
    """A pseudo-terminal with a command on it, and all it has written."""

    def __init__(self, command: list[str], env: dict[str, str], columns: int = 120, lines: int = 40) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        self._slave = slave
        self.before = termios.tcgetattr(slave)
        self.written = ""
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            # COLUMNS would count for more than the terminal.
            env={**os.environ, **env, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: nobody has the other end open
                return
            self.written += data.decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def screen(self) -> str:
        """The newest picture: each begins by moving the cursor home."""
        return ESCAPES.sub("", self.written.rpartition("\x1b[H")[2])

    def shows(self, text: str) -> None:
        """Wait until it has been on the screen since the last key."""
        wait_until(lambda: text in self.screen, lambda: repr(self.written[-3000:]))

    @property
    def now(self) -> list[object]:
        return termios.tcgetattr(self._slave)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._slave)
        self._reader.join(PATIENCE)
        os.close(self._master)
