"""Where this process stands in the cgroup hierarchies, as directories to read.

Sources: cgroups(7), proc_pid_mountinfo(5), the kernel's Documentation/admin-guide/cgroup-v2.rst and
cgroup-v1/. Version 1, version 2 and the hybrid of both are found, with and without a cgroup namespace.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from reuseport.records import record


class CannotTell(Exception):  # noqa: N818 - it is an answer, the third one, and never leaves the launcher
    """The third answer of a kernel question: neither a value nor its absence. The text says why."""


@record(frozen=True, slots=True)
class Cgroup:
    """Our cgroup in the hierarchy of one controller.

    `directories` leads from our own cgroup up to the root of the mount: a limit set on any of them binds us.
    """

    version: Literal[1, 2]
    directories: tuple[Path, ...]

    def nearest(self) -> Path:
        """Our own directory, or where the mount hides it, the innermost one that is visible."""
        return next((directory for directory in self.directories if directory.is_dir()), self.directories[-1])


@record(frozen=True, slots=True)
class _Mount:
    top: PurePosixPath  # the cgroup that the mount point shows
    point: Path
    controllers: frozenset[str] | None  # None: version 2, where one mount has all controllers


def find_cgroup(controller: str, root: Path = Path("/")) -> Cgroup | None:
    """Our cgroup for `controller` ("cpu", "memory"); None where no hierarchy can limit us.

    `root` is where `proc` and the mount points are looked up. Raises CannotTell when we are in a hierarchy
    that is not mounted, or when the kernel's answer cannot be read.
    """
    path, version = _membership(controller, root)
    if path is None:
        return None
    mounts = [
        mount
        for mount in _mounts(root)
        if (mount.controllers is None if version == 2 else controller in (mount.controllers or ()))
    ]
    if not mounts:
        raise CannotTell(f"the {controller} cgroup {path} is not mounted here")
    # The widest view shows the most ancestors, each of which may hold a limit.
    visible = [mount for mount in mounts if _shows(mount, path)]
    if visible:
        mount = min(visible, key=lambda mount: len(mount.top.parts))
        below = path.relative_to(mount.top)
        steps = (below, *below.parents) if below.parts else (below,)
        return Cgroup(version, tuple(mount.point / step for step in steps))
    # Without a cgroup namespace a container may read its path as the host sees it, and with one, a process
    # from outside reads "/../…". The runtime mounted the cgroup that matters: take the mount point itself.
    return Cgroup(version, (mounts[-1].point,))


def read_file(path: Path) -> str | None:
    """The text of a kernel file; None when there is none, as for a controller switched off at this level."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotTell(f"{path} cannot be read ({error})") from error


def _membership(controller: str, root: Path) -> tuple[PurePosixPath | None, Literal[1, 2]]:
    """Our path in the hierarchy of the controller: in version 1 if one has it there, else in version 2."""
    source = root / "proc/self/cgroup"
    unified = None
    for line in (read_file(source) or "").splitlines():
        try:
            number, controllers, path = line.split(":", 2)
        except ValueError as error:
            raise CannotTell(f"{source} has the line {line!r}") from error
        if controller in controllers.split(","):
            return PurePosixPath(path), 1
        if number == "0" and not controllers:
            unified = PurePosixPath(path)
    return unified, 2


def _mounts(root: Path) -> list[_Mount]:
    """The cgroup mounts, in the order of mounting."""
    source = root / "proc/self/mountinfo"
    mounts = []
    for line in (read_file(source) or "").splitlines():
        try:
            # id parent major:minor TOP POINT options [optional fields …] - TYPE source SUPER
            before, after = line.split(" - ", 1)
            top, point = (_unescape(field) for field in before.split(" ")[3:5])
            kind, _source, options = after.split(" ", 2)
        except ValueError as error:
            raise CannotTell(f"{source} has the line {line!r}") from error
        if kind in ("cgroup", "cgroup2"):
            controllers = frozenset(options.split(",")) if kind == "cgroup" else None
            mounts.append(_Mount(PurePosixPath(top), root / point.lstrip("/"), controllers))
    return mounts


def _shows(mount: _Mount, path: PurePosixPath) -> bool:
    return path.is_relative_to(mount.top) and ".." not in path.parts


def _unescape(field: str) -> str:
    """Space, tab, newline and backslash stand in mountinfo as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
