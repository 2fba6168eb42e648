"""Judges of what the kernel does for us: steering, what stands in its way, port, accept queue, time."""

from __future__ import annotations

from reuseport.doctor.facts import Facts, Unknown
from reuseport.doctor.judging import Grade, Line, untold
from reuseport.kernel.probe import Level, Verdict

_SLOW_CLOCKS = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies"})
"""Read by a system call, and not in user space (vdso(7))."""


def steering(facts: Facts) -> Line:
    """Which level of the ladder we stand on, and why on no higher one."""
    topic, asked = "steering", facts.settings.balance
    if not facts.endpoints:
        return Line(topic, Grade.GOOD, "no TCP address: all workers accept from one listener")
    if isinstance(facts.ladder, Unknown):
        return untold(topic, facts.ladder)
    ladder = facts.ladder
    if ladder.level is Level.STEERED:
        return Line(topic, Grade.GOOD, f"level 2, {ladder.reason}")
    if asked in ("least-loaded", "round-robin"):
        return Line(topic, Grade.BAD, f"--balance {asked} cannot be had: {ladder.steers.reason}", _GRANT)
    if ladder.steers.verdict is Verdict.UNKNOWN:
        return Line(topic, Grade.UNKNOWN, ladder.steers.reason)
    if ladder.level is Level.MIGRATING:
        return Line(topic, Grade.NOTE, f"level 1, {ladder.reason}", _GRANT)
    migrate = "; or at least: sysctl -w net.ipv4.tcp_migrate_req=1" if _can_migrate(facts) else ""
    return Line(topic, Grade.NOTE, f"level 0, {ladder.reason}", _GRANT + migrate)


_GRANT = "systemd: AmbientCapabilities=CAP_BPF; docker run --cap-add BPF"


def _can_migrate(facts: Facts) -> bool:
    return not isinstance(facts.ladder, Unknown) and "does not exist" not in facts.ladder.migrates.reason


def capability(facts: Facts) -> Line:
    """Whether we may load a steering program."""
    topic = "capability"
    if isinstance(facts.bpf, Unknown):
        return untold(topic, facts.bpf)
    if facts.bpf:
        return Line(topic, Grade.GOOD, "CAP_BPF is in effect")
    return Line(topic, Grade.NOTE, "no CAP_BPF: the kernel is not asked to steer", _GRANT)


def namespace(facts: Facts) -> Line:
    """Capabilities of a user namespace are none to bpf(2)."""
    topic = "user namespace"
    if isinstance(facts.nested, Unknown):
        return untold(topic, facts.nested)
    if not facts.nested:
        return Line(topic, Grade.GOOD, "the host's own")
    return Line(
        topic,
        Grade.NOTE,
        "one of somebody's own, whose capabilities bpf(2) does not heed: no steering",
        "run it in the host's user namespace (no rootless container, docker run --userns=host)",
    )


def seccomp(facts: Facts) -> Line:
    """A filter of system calls matters where it may be what refuses bpf(2)."""
    topic = "seccomp"
    if isinstance(facts.seccomp, Unknown):
        return untold(topic, facts.seccomp)
    if not facts.seccomp:
        return Line(topic, Grade.GOOD, "no filter of system calls")
    steered = not isinstance(facts.ladder, Unknown) and facts.ladder.level is Level.STEERED
    if steered or facts.bpf is not True or not facts.endpoints:
        return Line(topic, Grade.GOOD, "a filter of system calls is in force, and not what stands in our way")
    return Line(
        topic,
        Grade.NOTE,
        "a filter of system calls is in force, and may be what refuses bpf(2)",
        "docker run --security-opt seccomp=PROFILE with bpf allowed; systemd: SystemCallFilter=bpf",
    )


def backlog(facts: Facts) -> Line:
    """The kernel cuts what listen(2) is told."""
    topic, wanted = "accept queue", facts.settings.backlog
    if isinstance(facts.somaxconn, Unknown):
        return untold(topic, facts.somaxconn)
    if facts.somaxconn >= wanted:
        return Line(topic, Grade.GOOD, f"each holds {wanted:,} connections (--backlog)")
    return Line(
        topic,
        Grade.WARN,
        f"--backlog {wanted} is cut to {facts.somaxconn} by net.core.somaxconn",
        f"sysctl -w net.core.somaxconn={wanted}",
    )


def port(facts: Facts) -> Line:
    """Who else listens where we would, as whom."""
    topic, settings = "port", facts.settings
    if isinstance(facts.occupants, Unknown):
        return untold(topic, facts.occupants)
    ours = [each for each in facts.occupants if each.launcher is not None]
    others = [each for each in facts.occupants if each.launcher is None]
    where = ", ".join(settings.binds())
    if others and settings.join:
        return Line(topic, Grade.NOTE, f"--join shares it with {others[0].who}")
    if others:
        return Line(
            topic, Grade.BAD, f"it is served by {others[0].who}", "stop it, or: reuseport --port 8001"
        )
    if ours:
        pid = ours[0].launcher
        return Line(
            topic, Grade.NOTE, f"a reuseport launcher serves it (pid {pid})", f"reuseport reload --pid {pid}"
        )
    return Line(topic, Grade.GOOD, f"nobody else listens at {where}")


def clock(facts: Facts) -> Line:
    """Time is read with every request."""
    topic = "clock"
    if isinstance(facts.clock, Unknown):
        return untold(topic, facts.clock)
    if facts.clock not in _SLOW_CLOCKS:
        return Line(topic, Grade.GOOD, f"{facts.clock}, read without a system call")
    return Line(
        topic,
        Grade.WARN,
        f"{facts.clock}: to read the time is a system call, with every request",
        "boot with clocksource=tsc, if /sys/devices/system/clocksource/*/available_clocksource has it",
    )
