"""Which launcher is meant: the only one that runs, or the one with this pid, pid file, port or socket.

Sockets lie in the runtime directory, named by the launcher's pid. One that a dead launcher left behind is
passed over, and left to whoever may clean up. systemd gives each service a directory of its own, which only
that service is told of: for a launcher that is named by pid or port, the kernel's list of sockets is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reuseport import runtime
from reuseport.client.control import Control, DeniedError, GoneError, SilentError, user_name
from reuseport.client.text import clean, columns
from reuseport.errors import AbsentError, ConfigurationError, UndoneError
from reuseport.instance import Status

HOW = "choose one with --pid, --pid-file, --port or --control"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was typed; at most one of them is not None."""

    control: Path | None = None
    pid: int | None = None
    pid_file: Path | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A socket that somebody listens at. `why`: it has no status, in words; `answers`: it says so itself."""

    control: Control
    status: Status | None
    why: str = ""
    answers: bool = False


def chosen(choice: Choice) -> Control:
    """The launcher that is meant. Raises AbsentError when there is none, ConfigurationError for several."""
    if choice.control is not None:
        return Control(choice.control)
    if choice.pid_file is not None:
        return _with_pid(_read_pid(choice.pid_file))
    if choice.pid is not None:
        return _with_pid(choice.pid)
    if choice.port is not None:
        return _on_port(choice.port)
    return _the_only(list(_asked(_in(_directories()))))


# ── the four ways ─────────────────────────────────────────────────────────────────────────────────────


def _the_only(found: list[Found]) -> Control:
    if len(found) > 1:
        raise ConfigurationError(f"several launchers run here; {HOW}:\n{_listed(found)}")
    if found and (found[0].status is not None or found[0].answers):
        return found[0].control
    places = " or ".join(str(directory) for directory in _directories())
    if found:
        raise AbsentError(found[0].why)
    _raise_denied()
    raise AbsentError(
        f"no launcher was found in {places}: does it run, as this user, and without --no-control? "
        f"One with a runtime directory or --control of its own must be named: {HOW}{_elsewhere()}"
    )


def _with_pid(pid: int) -> Control:
    named = [path for path in _in(_directories()) if path.stem == str(pid)]
    others = [path for path in _of_process(pid) if path not in named]
    reasons = []
    for found in _asked([*named, *others]):
        if found.status is None and not found.answers:
            reasons.append(found.why)
        elif found.control.may_act():
            return found.control
    if reasons:
        raise AbsentError("; ".join(reasons))
    if not Path(f"/proc/{pid}").exists():
        raise AbsentError(f"there is no process {pid}")
    raise AbsentError(
        f"process {pid} has no control socket that we may see: "
        "is it a launcher, of this user, and without --no-control?"
    )


def _on_port(port: int) -> Control:
    everybody = dict.fromkeys([*_in(_directories()), *_launchers()])
    found = list(_asked(everybody))
    there = [each for each in found if each.status is not None and port in _ports(each.status)]
    if len(there) == 1:
        return there[0].control
    if there:
        raise ConfigurationError(f"several launchers serve port {port}; {HOW}:\n{_listed(there)}")
    known = f"; these were found:\n{_listed(found)}" if found else ""
    raise AbsentError(f"no launcher was found that serves port {port}: does it run, as this user?{known}")


def _read_pid(path: Path) -> int:
    try:
        with path.open("rb") as file:
            text = file.read(64).strip()
    except OSError as error:
        raise AbsentError(f"cannot read pid file {path}: {error.strerror}; does reuseport run?") from error
    if not text.isdigit():
        raise ConfigurationError(f"{path} is no pid file: it does not hold a number")
    return int(text)


# ── where sockets are ─────────────────────────────────────────────────────────────────────────────────


def _directories() -> list[Path]:
    """Who names one means that one."""
    named = os.environ.get("REUSEPORT_RUNTIME_DIR") or os.environ.get("RUNTIME_DIRECTORY")
    return runtime.directories()[: 1 if named else None]


def _in(directories: Iterable[Path]) -> Iterator[Path]:
    for directory in directories:
        with contextlib.suppress(OSError):
            # In /tmp anybody can be first to make it, and let us talk to whom he likes.
            if directory.stat().st_uid in (0, os.geteuid()):
                yield from sorted(path for path in directory.glob("*.sock") if path.stem.isdecimal())


def _raise_denied() -> None:
    """Raise DeniedError for a directory that we may not look into."""
    for directory in _directories():
        try:
            next(directory.iterdir(), None)
        except PermissionError as error:
            owner = user_name(directory.stat().st_uid)
            raise DeniedError(f"{directory} is for {owner} only: act as that user") from error
        except OSError:
            continue  # it need not exist


def _asked(paths: Iterable[Path]) -> Iterator[Found]:
    """Those that somebody listens at, each with what it says."""
    for path in paths:
        control = Control(path)
        try:
            status = control.status()
            status["addresses"], status["pid"]
        except GoneError:
            continue
        except (SilentError, DeniedError) as error:
            yield Found(control, None, str(error))
        except UndoneError as error:
            # Not well, and perhaps not the one that is meant; if it is, it says so once more.
            yield Found(control, None, str(error), answers=True)
        except (KeyError, ConfigurationError):
            continue
        else:
            yield Found(control, status)


def _listening() -> dict[str, str]:
    """Path by inode of every listening Unix socket (proc_net_unix(5); __SO_ACCEPTCON is 1 << 16)."""
    found = {}
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and int(words[3], 16) & 1 << 16 and not words[7].startswith("@"):
            found[words[6]] = words[7]
    return found


def _of_process(pid: int) -> list[Path]:
    """The paths at which a process listens, if we may see that."""
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        here = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return []
    inodes = set()
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    return [here / path for inode, path in _listening().items() if inode in inodes]


def _launchers() -> list[Path]:
    """Sockets named like ours, of processes that run us, wherever they are."""
    paths = [Path(path) for path in _listening().values()]
    return [path for path in paths if path.suffix == ".sock" and is_launcher(path.stem)]


def is_launcher(pid: str) -> bool:
    """Whether this process is executed as a launcher of ours, or a command."""
    if not pid.isdecimal():
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word == b"reuseport" or word.endswith(b"/reuseport") for word in words)


# ── in words ──────────────────────────────────────────────────────────────────────────────────────────


def _ports(status: Status) -> set[int]:
    ends = (address.rpartition(":")[2] for address in status["addresses"])
    return {int(end) for end in ends if end.isdecimal()}


def _listed(found: Iterable[Found]) -> str:
    rows = [["pid", "serves", "application", "control socket"]]
    for each in found:
        if each.status is None:
            rows.append(["?", "?", "?", f"{each.control.path} ({each.why})"])
        else:
            status = each.status
            places = " ".join(status["addresses"])
            rows.append([str(status["pid"]), places, status["application"], str(each.control.path)])
    return "\n".join(f"  {clean(line)}" for line in columns(rows, right={0}))


def _elsewhere() -> str:
    places = [f"  pid {path.stem} at {path}" for path in _launchers()]
    return "\nThese run elsewhere:\n" + "\n".join(map(clean, places)) if places else ""
