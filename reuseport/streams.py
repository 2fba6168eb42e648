"""Descriptors 0, 1 and 2: there, whoever started us.

A daemon's parent may have closed them. What is opened next would get the number: a traceback that is
written to stderr would go to a client.
"""

import fcntl
import os
import sys


def ensure() -> None:
    """Open to the null device what is closed, in order: each gets the lowest number that is free."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:  # EBADF
            # What we execute is to have them, too.
            os.set_inheritable(_open_nothing(), True)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, mode, closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _open_nothing() -> int:
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:
        # A root directory without devices: an empty file, into which nobody can write (memfd_create(2)).
        nothing = os.memfd_create("nothing", os.MFD_ALLOW_SEALING)
        fcntl.fcntl(nothing, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        return nothing
