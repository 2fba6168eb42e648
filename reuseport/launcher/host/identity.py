"""`--user` and `--group`: whom workers run as, and what is left of the launcher's own powers meanwhile.

The launcher stays who it is. It binds every listener itself, so workers need no privilege for any port, and
the sockets stay its own: no other program of the workers' user can join their group and take connections.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import logging
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import reuseport
from reuseport import logs, surroundings
from reuseport.errors import ConfigurationError, HostError
from reuseport.kernel.capabilities import Capability, held, keep_only
from reuseport.records import record
from reuseport.settings.table import Settings, spellings

_HIGHEST = 2**32 - 2
"""The largest user or group number; the one above means "leave it" (setreuid(2))."""

_READ_BY_WORKERS = ("env_file", "log_config", "ssl_certfile", "ssl_keyfile", "ssl_ca_certs")

# As the user in question, since access(2) answers for nobody else. Prints the positions of what is refused.
_TRIAL = """
import os, sys
print(*(n for n, asked in enumerate(sys.argv[1:]) if not os.access(asked[1:], int(asked[0]))))
"""

_HINTS = {
    errno.EACCES: "open it, its target and the directories above to that user (namei -l shows them all)",
    errno.EPERM: "this user namespace lets nobody change groups (user_namespaces(7)), or a seccomp filter",
    errno.EINVAL: "this user namespace does not know the user or the group: map it (user_namespaces(7))",
}

# KILL to end them. Also for the kernel to do it when we are gone: it asks for our right to send the signal
# of PR_SET_PDEATHSIG (kernel/signal.c, check_kill_permission, for SEND_SIG_NOINFO).
_TO_CHANGE_USER = frozenset({Capability.SETUID, Capability.SETGID, Capability.KILL})
_TO_CHANGE_GROUP = frozenset({Capability.SETGID})

log = logging.getLogger("reuseport")


@record(frozen=True, slots=True)
class Identity:
    """Whom workers run as. `groups` are all of them, the primary one too; without a `home` it is `/`."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str = "/"

    def __str__(self) -> str:
        return f"user {self.name} (uid {self.uid}, gid {self.gid})"

    def environment(self) -> dict[str, str]:
        """Variables that tell a program whose it is (environ(7)); none where the user stays the same."""
        if self.uid == os.geteuid():
            return {}
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def take(self) -> None:
        """Become it, for good, in a process that was forked for that. Raises OSError (setresuid(2))."""
        # In this order: who is somebody else already may change no groups.
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)

    def explain(self, error: OSError) -> str | None:
        """Why our interpreter was not executed, and what the operator can do; None for other reasons."""
        if hint := _HINTS.get(error.errno or 0):
            return f"{sys.executable} does not run as {self}: {error.strerror}; {hint}"
        return None


class Need(NamedTuple):
    """A path that workers use, and how: as access(2) has it."""

    what: str
    path: str
    mode: int


def identity_of(settings: Settings) -> Identity | None:
    """Whom workers are to run as, once that user has our log files and could read all it needs; None: as we.

    Call it when logging is set up. Raises ConfigurationError.
    """
    identity = resolve(settings)
    if identity is not None:
        logs.give_files_to(identity.uid)
        require_access(identity, list(_needs(settings)))
    return identity


def resolve(settings: Settings) -> Identity | None:
    """Look up --user and --group, names or numbers; None where nothing is to change.

    Without --group it is the user's own group, without --user the user stays. As initgroups(3) has it, all
    other groups are those that list the user. Raises ConfigurationError.
    """
    if settings.user is None and settings.group is None:
        return None
    uid, entry = _user(settings.user)
    if settings.group is not None:
        gid = _gid(settings.group)
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise ConfigurationError(
            f"--user {uid}: the user database has no such number, so no group either; give --group too"
        )
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return None  # whoever started us chose the other groups
    _require_privilege(settings, _TO_CHANGE_GROUP if uid == os.geteuid() else _TO_CHANGE_USER)
    if entry is None:
        return Identity(uid, gid, (gid,), str(uid))
    return Identity(uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)), entry.pw_name, entry.pw_dir)


def give_up(steering: bool, identity: Identity | None) -> None:
    """Keep of our capabilities only what is still needed; workers get none. Raises HostError.

    Call it when everything is bound and loaded, in the only thread. Except that workers of uid 0 get root's,
    whatever we do (execve(2)): who starts us as root and gives no --user has asked for just that.

    The price: /proc tells nothing of the sockets of processes that have more powers than we (ptrace(2)), so a
    stranger who joins our port later is known by its user alone.
    """
    if identity is not None:
        log.info("workers run as %s", identity)
    elif os.geteuid() == 0:
        log.info("workers run as root; --user gives them another identity")
    try:
        keep_only(_still_needed(steering, identity))
    except OSError as error:
        raise HostError(
            f"the launcher cannot lay down its capabilities: {error.strerror}; let the seccomp filter pass"
            " capget and capset"
        ) from error


def _still_needed(steering: bool, identity: Identity | None) -> set[Capability]:
    # Listeners of slots to come; workers whose application has changed its user; log files, pid file and
    # unix sockets in directories of somebody else.
    needed = {Capability.NET_BIND_SERVICE, Capability.KILL, Capability.DAC_OVERRIDE}
    if identity is not None:
        needed |= {Capability.SETUID, Capability.SETGID, Capability.CHOWN}
    if steering:
        # SYS_ADMIN implies it (include/linux/capability.h, bpf_capable): what older containers give.
        needed.add(Capability.BPF if Capability.BPF in held() else Capability.SYS_ADMIN)
    return needed


def _require_privilege(settings: Settings, needed: frozenset[Capability]) -> None:
    missing = ", ".join(f"CAP_{capability.name}" for capability in sorted(needed - held()))
    if missing:
        asked = f"--group {settings.group}" if settings.user is None else f"--user {settings.user}"
        raise ConfigurationError(
            f"{asked} needs {missing}, which we lack: start as root, or leave it out and let the service"
            " manager change it (systemd: User=, Group=)"
        )


def require_access(identity: Identity, needs: Sequence[Need]) -> None:
    """Raise ConfigurationError for the first thing that workers could not use."""
    if surroundings.is_frozen():
        return  # no interpreter that we could ask: a worker finds out
    try:
        tried = subprocess.run(
            [sys.executable, "-SP", "-c", _TRIAL, *(f"{need.mode}{need.path}" for need in needs)],
            user=identity.uid,
            group=identity.gid,
            extra_groups=identity.groups,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        if explained := identity.explain(error):
            raise ConfigurationError(explained) from error
        raise
    if tried.returncode != 0:
        last = (tried.stderr.splitlines() or ["no word from it"])[-1]
        raise ConfigurationError(
            f"{sys.executable} does not run as {identity}: {last}; open its library to that user"
        )
    for position in map(int, tried.stdout.split()):
        what, path, mode = needs[position]
        verb = "write" if mode & os.W_OK else "read"
        raise ConfigurationError(
            f"{identity} may not {verb} {what} {path}: let that user {verb} it, and enter all directories"
            " above (namei -l shows them)"
        )


def _needs(settings: Settings) -> Iterator[Need]:
    directory = os.R_OK | os.X_OK
    package = Path(reuseport.__file__).parent
    archive = next((path for path in package.parents if path.is_file()), None)
    if archive is None:
        yield Need("the package", str(package), directory)
    else:
        yield Need("the package", str(archive), os.R_OK)
    # Most often the application lies here; it may as well be installed, and then this place is no concern.
    place = Path(settings.app_dir).absolute()
    name = settings.app.partition(":")[0].partition(".")[0]
    for path, mode in ((place / f"{name}.py", os.R_OK), (place / name, directory)):
        if path.exists():
            yield Need("--app-dir", str(place), directory)
            yield Need("APP", str(path), mode)
    for setting in _READ_BY_WORKERS:
        if (value := getattr(settings, setting)) is not None:
            yield Need(spellings(setting)[-1], value, os.R_OK)
    for log_file in logs.files():
        yield Need("log file", log_file, os.W_OK)


def _user(text: str | None) -> tuple[int, pwd.struct_passwd | None]:
    """The number, and what is known of the user; ourselves for None."""
    if text is not None:
        # Not by number afterwards: several names may share one.
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(text)
            return entry.pw_uid, entry
    uid = os.geteuid() if text is None else _number("--user", text, "useradd --system")
    try:
        return uid, pwd.getpwuid(uid)
    except KeyError:
        return uid, None


def _gid(text: str) -> int:
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        return _number("--group", text, "groupadd --system")


def _number(flag: str, text: str, command: str) -> int:
    # A name may consist of digits, so this is asked second, as by chown(1).
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"{flag} {text}: there is no such name; create it ({command}), or mend it")
    if int(text) > _HIGHEST:
        raise ConfigurationError(f"{flag} {text}: numbers end at {_HIGHEST}; give a name or a smaller one")
    return int(text)
