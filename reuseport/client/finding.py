"""Which launcher is meant: the only one that runs, or the one with this pid, pid file, port or socket.

Sockets lie in the runtime directory, named by the launcher's pid. One that a dead launcher left behind is
passed over, and left to whoever may clean up. systemd gives each service a directory of its own, which only
that service is told of: for a launcher that is named by pid or port, the kernel's list of sockets is read.

Anybody can listen at a path of his own choice, and call his program as he likes. So nobody is asked but who
is meant: in a directory where only root and we can put a socket; or the process itself, of root or of ours,
or one that holds the port. The operator alone may name a path (--control).
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
from reuseport.kernel import owners, strangers
from reuseport.kernel.named import named_sockets

HOW = "choose one with --pid, --pid-file, --port or --control"
MOST_ELSEWHERE = 20
"""Lines."""


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
    return _the_only(list(_asked(map(Control, _in(_directories())))))


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
    named = [Control(path) for path in _in(_directories()) if path.stem == str(pid)]
    paths = [control.path for control in named]
    others = [Control(path, of=pid) for path in _of_process(pid) if path not in paths]
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
    everybody = {path: Control(path) for path in _in(_directories())}
    for pid, path in _launchers():
        if path not in everybody and (_is_trusted(pid) or _holds(pid, port)):
            everybody[path] = Control(path, of=pid)
    found = list(_asked(everybody.values()))
    there = [each for each in found if each.status is not None and port in _ports(each.status)]
    if len(there) == 1:
        return there[0].control
    if there:
        raise ConfigurationError(f"several launchers serve port {port}; {HOW}:\n{_listed(there)}")
    known = f"; these were found:\n{_listed(found)}" if found else ""
    raise AbsentError(f"no launcher was found that serves port {port}: does it run, as this user?{known}")


def _read_pid(path: Path) -> int:
    try:
        # Never waited for: somebody may have put a FIFO there.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            text = file.read(64) or b""
    except OSError as error:
        raise AbsentError(f"cannot read pid file {path}: {error.strerror}; does reuseport run?") from error
    if not text.strip().isdigit():
        raise ConfigurationError(f"{path} is no pid file: it does not hold a number")
    return int(text)


# ── where sockets are ─────────────────────────────────────────────────────────────────────────────────


def _directories() -> list[Path]:
    """Who names one means that one."""
    named = os.environ.get("REUSEPORT_RUNTIME_DIR") or os.environ.get("RUNTIME_DIRECTORY")
    return runtime.directories()[: 1 if named else None]


def _in(directories: Iterable[Path]) -> Iterator[Path]:
    for directory in directories:
        # In /tmp anybody can be first to make it, or a link, and let us talk to whom he likes.
        if runtime.distrusted(directory, (0, os.geteuid())) is None:
            with contextlib.suppress(OSError):
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


def _asked(controls: Iterable[Control]) -> Iterator[Found]:
    """Those that somebody listens at, each with what it says."""
    for control in controls:
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


def _of_process(pid: int) -> list[Path]:
    """The paths at which a process listens, if we may see that."""
    try:
        here = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return []
    held = owners.sockets_of(pid)
    return [here / each.path for each in named_sockets() if each.listens and each.inode in held]


def _launchers() -> list[tuple[int, Path]]:
    """Sockets named like ours, of processes that run us, wherever they are; with their pids."""
    paths = [Path(each.path) for each in named_sockets() if each.listens]
    return [(int(path.stem), path) for path in paths if path.suffix == ".sock" and is_launcher(path.stem)]


def _is_trusted(pid: int) -> bool:
    """Whether a process is root's or ours, whatever it calls itself."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    # All of real, effective, saved and file system uid (proc_pid_status(5)); not of who owns the directory,
    # which is root where the process cannot be traced.
    uids = next((line.split()[1:] for line in lines if line.startswith("Uid:")), [])
    return bool(uids) and {int(uid) for uid in uids} <= {0, os.geteuid()}


def _holds(pid: int, port: int) -> bool:
    """Whether a process of another user holds a socket at the port, as far as we may see that."""
    return not owners.sockets_of(pid).isdisjoint(strangers.inodes_at(port))


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
    places = [f"  pid {pid} at {path}" for pid, path in _launchers()][:MOST_ELSEWHERE]
    return "\nThese run elsewhere:\n" + "\n".join(map(clean, places)) if places else ""
