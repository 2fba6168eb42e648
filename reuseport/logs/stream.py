"""A stream for lines: written to the descriptor at once, without a buffer between."""

from __future__ import annotations

import io
import os
import select


class Stream(io.TextIOBase):
    """Text as UTF-8; owns the descriptor.

    A file of Python's has a buffer with a lock. A thread that hangs in a write would keep it, and the end of
    the interpreter, which flushes all of them, would wait for it or abort (Modules/_io/bufferedio.c,
    _enter_buffered_busy).
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, text: str, /) -> int:
        """Write all of it. Raises OSError."""
        left = memoryview(text.encode(self.encoding, self.errors))
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                # Somebody who has the descriptor, too, made it non-blocking: it is so for all.
                ready = select.poll()
                ready.register(self._fd, select.POLLOUT)
                ready.poll()
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            os.close(self._fd)
        super().close()
