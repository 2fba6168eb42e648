"""Sockets that all workers share: Unix sockets, which have no reuseport groups, and inherited descriptors."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from reuseport.errors import ConfigurationError, HostError
from reuseport.kernel import strangers
from reuseport.kernel.addresses import DescriptorAddress, UnixAddress
from reuseport.kernel.listener import EXHAUSTED, FORBIDDEN
from reuseport.records import record


@record(frozen=True)
class FileIdentity:
    """Which file a path meant at a moment: st_dev and st_ino (inode(7))."""

    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "FileIdentity":
        """Raises FileNotFoundError and its siblings as lstat(2) does."""
        status = Path(path).lstat()
        return cls(status.st_dev, status.st_ino)


def open_unix(address: UnixAddress, mode: int | None = None) -> socket.socket:
    """Bind a Unix socket, such as the one all workers share. Non-blocking, not inheritable, not listening.

    The file gets `mode`; None: that of the socket file it replaces, else 0666. Raises ConfigurationError when
    somebody serves there, when the path is something else, or when its directory is missing or not writable.
    """
    try:
        before = strangers.clear_path(address)
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            _bind_with_mode(listener, address.path, before if mode is None else mode)
            listener.setblocking(False)
            undo.pop_all()
    except OSError as error:
        _explain_unix(address, error)
        raise
    return listener


def _bind_with_mode(listener: socket.socket, path: str, mode: int) -> None:
    """The file has its mode from the first moment on: what is 0777 less the umask (unix(7), unix_bind_bsd).

    A chmod(2) afterwards would follow a link that whoever may write to the directory has put there meanwhile.
    The umask is the whole process's: call it before a thread makes files.
    """
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(path)
    finally:
        os.umask(before)


def remove_unix(path: str, identity: FileIdentity) -> None:
    """Unlink the socket file unless it is gone or somebody else has bound there since.

    In the one directory that the path leads to now: it may lead elsewhere in the next moment. Call it before
    the listener's last copy is closed: the open socket keeps the inode (net/unix/af_unix.c, unix_bind_bsd),
    and a freed number is given to the next file.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), contextlib.ExitStack() as stack:
        directory, name = os.path.split(path)
        place = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, place)
        status = os.stat(name, dir_fd=place, follow_symlinks=False)
        if FileIdentity(status.st_dev, status.st_ino) == identity:
            os.unlink(name, dir_fd=place)


def adopt_descriptor(address: DescriptorAddress) -> socket.socket:
    """Duplicate an inherited stream socket; the duplicate is ours, not inheritable, and of any family.

    Raises ConfigurationError naming the descriptor and what it is instead.
    """
    try:
        copy = os.dup(address.fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        raise ConfigurationError(
            f"{address} is not open; the program that starts reuseport must pass descriptor {address.fd}"
        ) from error
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, copy)
        if (complaint := _complaint(copy)) is not None:
            raise ConfigurationError(f"{address} is {complaint}; pass a bound or listening stream socket")
        undo.pop_all()
    return socket.socket(fileno=copy)


def _explain_unix(address: UnixAddress, error: OSError) -> None:
    directory = Path(address.path).parent
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        raise ConfigurationError(f"{address}: {directory} is not a directory; create it") from error
    if error.errno in FORBIDDEN | {errno.EROFS}:
        raise ConfigurationError(f"{address}: we may not write in {directory}; change its owner") from error
    if error.errno == errno.EADDRINUSE:
        raise ConfigurationError(f"{address} was just bound by another program; stop it") from error
    if error.errno in EXHAUSTED:
        raise HostError(f"no socket for {address}: {error.strerror}; raise ulimit -n") from error


def _complaint(fd: int) -> str | None:
    """What an inherited descriptor is, if it cannot be served from."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return f"{Path(f'/proc/self/fd/{fd}').readlink()}, not a socket"
    with socket.socket(fileno=os.dup(fd)) as candidate:
        if candidate.type != socket.SOCK_STREAM:
            return f"a socket of type {int(candidate.type)}, not a stream ({int(socket.SOCK_STREAM)})"
        try:
            candidate.getpeername()
        except OSError:  # ENOTCONN: what a listener says
            return None
    return "one client's connection, not a listener"
