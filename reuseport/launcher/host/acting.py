"""Doing to files only what another user could, as root: setfsuid(2), which holds for one thread.

In a directory that the workers' user controls a name may lead anywhere by the time we use it. Who acts as
that user can be led to nothing that he could not have done himself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

from reuseport.launcher.host.identity import Identity

_libc = ctypes.CDLL(None)
_NOBODY = -1
"""No user: what is asked for, when only the answer is wanted."""


@contextlib.contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """This thread's accesses to files are that user's and his group's until the end; None: ours.

    Our own supplementary groups stay. Raises OSError: the kernel does not let us be that user.
    """
    if identity is None or identity.uid == os.geteuid():
        yield
        return
    # The group first: who is no longer root may not change it.
    group, user = _libc.setfsgid(identity.gid), _libc.setfsuid(identity.uid)
    try:
        # Neither call says whether it has failed, but who it is before.
        if (_libc.setfsgid(_NOBODY), _libc.setfsuid(_NOBODY)) != (identity.gid, identity.uid):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        yield
    finally:
        _libc.setfsuid(user)
        _libc.setfsgid(group)
