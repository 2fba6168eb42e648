"""Which process has a socket, in words for an error message.

All of /proc is searched for that, so nothing but the writing of an error does it. /proc/<pid>/fd of another
user is closed to us (proc(5)): "unknown" is then an ordinary answer.
"""

import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from reuseport.printable import printable

_PROC = Path("/proc")
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def holders(inode: int) -> tuple[int, ...]:
    """The pids that hold the socket with this inode, as far as we may see them, ascending."""
    link = f"socket:[{inode}]"
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return tuple(sorted(pid for pid in pids if _holds(pid, link)))


def command(pid: int) -> str:
    """The process's short name, of at most 15 bytes (proc_pid_comm(5)), or "unknown" once it is gone.

    It names itself as it likes (prctl(2), PR_SET_NAME), so it is spelled out.
    """
    try:
        return printable((_PROC / str(pid) / "comm").read_text(errors="replace").removesuffix("\n"))
    except OSError:
        return "unknown"


def user(uid: int) -> str:
    """The user's name, or the number where the user database has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def sockets_of(pid: int) -> frozenset[int]:
    """The inodes of the sockets that a process holds; of none, where we may not see that."""
    return frozenset(int(found[1]) for link in _links(pid) if (found := _SOCKET.fullmatch(link)))


def _holds(pid: int, link: str) -> bool:
    return link in _links(pid)


def _links(pid: int) -> Iterator[str]:
    # OSError: the process or the descriptor vanished while we looked, or belongs to another user.
    try:
        for entry in (_PROC / str(pid) / "fd").iterdir():
            yield _target(entry)
    except OSError:
        return


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""
