"""Judges of what runs: the unit, its time to stop, the interpreter's extensions, pools, the allocator."""

from __future__ import annotations

from reuseport.certificate import SOON
from reuseport.doctor.facts import Facts, Unit, Unknown
from reuseport.doctor.judging import Grade, Line, untold
from reuseport.settings.table import UNLIMITED_SHUTDOWN
from reuseport.settings.units import format_duration

NOTIFY_RELOAD = 253
"""The first release of systemd with Type=notify-reload (systemd.service(5))."""
MANY_THREADS = 8
"""CPUs from which on glibc's arenas, eight for each, add up."""


def unit(facts: Facts) -> Line:
    """The unit's Type against systemd's version."""
    topic = "systemd"
    if isinstance(facts.systemd, Unknown):
        return untold(topic, facts.systemd)
    version, units = facts.systemd.version, facts.systemd.units
    if not version:
        return Line(topic, Grade.GOOD, "not the service manager here")
    if not units:
        return Line(topic, Grade.GOOD, f"systemd {version}, and no unit of its starts reuseport")
    for each in units:
        if each.type == "notify-reload" and version < NOTIFY_RELOAD:
            text = f"{each.name} has Type=notify-reload, which systemd {version} does not know"
            return Line(topic, Grade.BAD, text, f"systemctl edit {each.name}: [Service] Type=notify")
        if not each.type.startswith("notify"):
            wanted = "notify-reload" if version >= NOTIFY_RELOAD else "notify"
            text = f"{each.name} has Type={each.type}: systemd does not learn when it serves"
            return Line(topic, Grade.WARN, text, f"systemctl edit {each.name}: [Service] Type={wanted}")
    return Line(topic, Grade.GOOD, f"systemd {version}; {', '.join(map(_described, units))}")


def _described(one: Unit) -> str:
    return f"{one.name} has Type={one.type}"


def stopping(facts: Facts) -> Line:
    """How long a stop may take, against what whoever stops us grants."""
    topic, settings = "stop", facts.settings
    seconds = settings.shutdown_delay + settings.graceful_timeout + (settings.shutdown_timeout or 0.0)
    long = format_duration(seconds)
    endless = settings.shutdown_timeout in (None, 0.0)
    said = f"up to {long}" + (", and lifespan shutdown as long as it likes" if endless else "")
    # As `reuseport generate` has it.
    grant = int(seconds + (UNLIMITED_SHUTDOWN if endless else 0)) + 10
    units = () if isinstance(facts.systemd, Unknown) else facts.systemd.units
    for each in units:
        if each.stop_timeout is not None and each.stop_timeout < seconds:
            text = f"{said}; {each.name} is killed after {format_duration(each.stop_timeout)}"
            return Line(
                topic, Grade.WARN, text, f"systemctl edit {each.name}: [Service] TimeoutStopSec={grant}"
            )
    return Line(
        topic,
        Grade.GOOD,
        f"{said}; whoever stops it grants more",
        f"TimeoutStopSec={grant}; terminationGracePeriodSeconds: {grant}; docker stop --time {grant}",
    )


def extensions(facts: Facts) -> Line:
    """uvloop and httptools: twice as fast as what Python has."""
    topic = "uvloop, httptools"
    chosen = {"uvloop": facts.settings.loop, "httptools": facts.settings.http}
    missing = [name for name, there in facts.modules.items() if not there]
    asked = [name for name in missing if chosen[name] == name]
    install = "python -m pip install 'uvicorn[standard]'"
    if asked:
        return Line(topic, Grade.BAD, f"{' and '.join(asked)} asked for, and not installed", install)
    if missing and any(chosen[name] == "auto" for name in missing):
        return Line(topic, Grade.WARN, f"{' and '.join(missing)} not installed: slower ones serve", install)
    return Line(topic, Grade.GOOD, "installed" if not missing else "not asked for")


def certificate(facts: Facts) -> Line:
    """Until when the first certificate lasts."""
    topic = "certificate"
    if facts.certificate is None:
        return Line(topic, Grade.GOOD, "no TLS here")
    if isinstance(facts.certificate, Unknown):
        return untold(topic, facts.certificate)
    renew = "certbot renew --deploy-hook 'reuseport reload --wait'"
    if facts.certificate < 0:
        return Line(topic, Grade.BAD, f"ended {-facts.certificate:.0f} days ago", renew)
    text = f"good for {facts.certificate:.0f} days"
    return Line(topic, Grade.WARN if facts.certificate < SOON else Grade.GOOD, text, renew)


def pools(facts: Facts) -> Line:
    """Connections to a database: every worker has a pool of its own, and a reload has more workers."""
    topic = "database pools"
    if facts.pools is None:
        return Line(topic, Grade.GOOD, "not looked for: no application was named", "reuseport doctor APP")
    if isinstance(facts.pools, Unknown):
        return untold(topic, facts.pools)
    if not facts.pools:
        return Line(topic, Grade.GOOD, "none that the application has made at import")
    each = sum(pool.most for pool in facts.pools)
    names = ", ".join(f"{pool.what} {pool.most}" for pool in facts.pools)
    all_of_them, reloading = facts.workers * each, 2 * facts.workers * each
    return Line(
        topic,
        Grade.NOTE,
        f"{names}: {facts.workers} workers open up to {all_of_them} connections, up to {reloading} while a"
        " reload's predecessors still drain",
        f"psql -c 'SHOW max_connections': more than {reloading}; or smaller pools (pool_size, max_overflow)",
    )


def allocator(facts: Facts) -> Line:
    """glibc's malloc keeps an arena for each thread that was ever busy, eight times the CPUs at most."""
    topic = "allocator"
    if facts.allocator != "glibc":
        return Line(topic, Grade.GOOD, facts.allocator)
    if facts.arenas is not None:
        return Line(topic, Grade.GOOD, f"glibc with {facts.arenas} arenas at most (MALLOC_ARENA_MAX)")
    most = 8 * facts.threads
    if facts.threads < MANY_THREADS:
        return Line(topic, Grade.GOOD, f"glibc with {most} arenas at most")
    return Line(
        topic,
        Grade.NOTE,
        f"glibc with up to {most} arenas a worker: applications with many threads grow",
        "export MALLOC_ARENA_MAX=4",
    )
