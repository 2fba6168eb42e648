"""What ps(1) shows of a forked worker: which slot it serves, as of one that was executed.

A process that is forked is called as who forked it. The kernel shows the memory in which the command line was
once put (proc_pid_cmdline(5)); there is no other way to change it without privilege than to write there.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

ROOM = 64
"""Bytes that a mold's command line is to have beyond its own words: for those of its workers."""


@functools.cache
def where() -> tuple[int, int]:
    """The memory of our command line, first address and end: the same in who is forked from us. Without /proc
    nobody can look: (0, 0).
    """
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    # Fields 48 and 49 of proc_pid_stat(5); the third follows the parenthesis.
    return int(fields[45]), int(fields[46])


def be_called(words: Sequence[str]) -> None:
    """As far as there is room."""
    start, end = where()
    text = b"".join(word.encode(errors="surrogateescape") + b"\0" for word in words)
    if start and len(text) <= end - start:
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
