"""The end of a worker, in words an operator understands."""

import signal
from pathlib import Path
from typing import Literal

from reuseport.launcher.host.cgroup import CannotTell, find_cgroup, read_file

OutOfMemory = Literal["yes", "no", "unknown"]

# signal(7). Read as "worker in slot 3 (pid 17) …".
_SIGNALS = {
    signal.SIGABRT: "was aborted by SIGABRT: a stall past --worker-timeout, or a fatal error in native code",
    signal.SIGBUS: "crashed with SIGBUS: a mapped file was cut short, or its file system or /dev/shm is full",
    signal.SIGFPE: "crashed with SIGFPE: an arithmetic error in native code",
    signal.SIGHUP: "was ended by SIGHUP, which something other than reuseport sent",
    signal.SIGILL: "crashed with SIGILL: native code built for another CPU, or a deliberate trap",
    signal.SIGINT: "was interrupted by SIGINT, from the terminal or another program",
    signal.SIGQUIT: "was ended by SIGQUIT, from the terminal or another program",
    signal.SIGSEGV: "crashed with SIGSEGV: an invalid memory access, nearly always in native code",
    signal.SIGSYS: "was killed by SIGSYS: a seccomp filter refused a system call",
    signal.SIGTERM: "was ended by SIGTERM, which something other than reuseport sent",
    signal.SIGTRAP: "crashed with SIGTRAP: a breakpoint or a failed check in native code",
    signal.SIGXCPU: "was killed by SIGXCPU: it used up its CPU time (RLIMIT_CPU)",
    signal.SIGXFSZ: "was killed by SIGXFSZ: a file grew too large (RLIMIT_FSIZE)",
}

_SIGKILL: dict[OutOfMemory, str] = {
    "yes": "was killed by SIGKILL, out of memory: the cgroup's oom_kill counter rose",
    "no": "was killed by SIGKILL, which somebody sent: the cgroup's oom_kill counter did not rise",
    "unknown": "was killed by SIGKILL, perhaps out of memory",
}


def explain(slot: int, pid: int, status: int, oom_killed: OutOfMemory = "unknown") -> str:
    """One clause, without a full stop, about a worker that ended.

    `status` is as in `subprocess.Popen.returncode`: an exit status, or a signal number negated. `oom_killed`
    is whether `oom_kills` rose since the worker started; it matters to SIGKILL alone.
    """
    return f"worker in slot {slot} (pid {pid}) {_ending(status, oom_killed)}"


def oom_kills(root: Path = Path("/")) -> int | None:
    """How many processes of our cgroup any OOM killer has killed so far; None when the kernel does not say.

    `memory.events` (cgroup-v2.rst, absent in the root cgroup), `memory.oom_control` (cgroup-v1/memory.rst).
    """
    try:
        cgroup = find_cgroup("memory", root)
        if cgroup is None:
            return None
        name = "memory.events" if cgroup.version == 2 else "memory.oom_control"
        text = read_file(cgroup.nearest() / name) or ""
    except CannotTell:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.isascii() and value.isdigit():
            return int(value)
    return None


def _ending(status: int, oom_killed: OutOfMemory) -> str:
    if status == 0:
        return "exited cleanly"
    if status > 0:
        return f"exited with status {status}"
    if -status == signal.SIGKILL:
        return _SIGKILL[oom_killed]
    return next(
        (words for number, words in _SIGNALS.items() if number == -status),
        f"was killed by {_signal_name(-status)}",
    )


def _signal_name(number: int) -> str:
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
