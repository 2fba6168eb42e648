"""What each judge says of made-up facts: the grade, and what is to be typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reuseport.doctor import kernel, program, room
from reuseport.doctor.facts import Facts, Occupant, Pool, Systemd, Unit, Unknown
from reuseport.doctor.judging import Grade, Judge, Line
from reuseport.doctor.telling import JUDGES, document, judged, page, status
from reuseport.kernel.probe import Answer, Ladder, Verdict
from reuseport.launcher.host.limits import Limits
from reuseport.settings.table import Settings

YES, NO = Answer(Verdict.YES, "tried"), Answer(Verdict.NO, "bpf(2): Operation not permitted")
DUNNO = Answer(Verdict.UNKNOWN, "no descriptor was free")
OFF = Answer(Verdict.NO, "net.ipv4.tcp_migrate_req is 0")
OLD = Answer(Verdict.NO, "net.ipv4.tcp_migrate_req does not exist; it needs Linux 5.14 or later")
GIB = 1 << 30

WELL = Facts(
    settings=Settings(workers=4),
    workers=4,
    reasoning="4 (4 CPUs by affinity)",
    limits=Limits(cpus_affinity=4, ram=16 * GIB),
    endpoints=1,
    ladder=Ladder(YES, OFF),
    bpf=True,
    nested=False,
    seccomp=False,
    somaxconn=4096,
    open_files=(65536, 65536),
    occupants=(),
    systemd=Systemd(0),
    modules={"uvloop": True, "httptools": True},
    pools=(),
    threads=4,
    arenas=None,
    allocator="glibc",
    clock="tsc",
    certificate=None,
)
HASHED = Ladder(NO, OFF)
CANNOT = Unknown("/proc is not there")


def unit(kind: str, stop: float | None = 90.0, files: int = 65536) -> Unit:
    return Unit("shop.service", kind, stop, files)


def given(**settings: Any) -> dict[str, Any]:
    return {"settings": replace(WELL.settings, **settings)}


CASES: Sequence[tuple[Judge, dict[str, Any], Grade, str, str]] = [
    (kernel.steering, {}, Grade.GOOD, "level 2", ""),
    (kernel.steering, {"endpoints": 0}, Grade.GOOD, "one listener", ""),
    (kernel.steering, {"ladder": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (kernel.steering, {"ladder": Ladder(DUNNO, OFF)}, Grade.UNKNOWN, "no descriptor", ""),
    (kernel.steering, {"ladder": HASHED}, Grade.NOTE, "not permitted", "CAP_BPF; docker"),
    (kernel.steering, {"ladder": HASHED}, Grade.NOTE, "level 0", "sysctl -w net.ipv4.tcp_migrate_req=1"),
    (kernel.steering, {"ladder": Ladder(NO, OLD)}, Grade.NOTE, "level 0", "--cap-add BPF"),
    (kernel.steering, {"ladder": Ladder(NO, YES)}, Grade.NOTE, "level 1", "--cap-add BPF"),
    (
        kernel.steering,
        {"ladder": HASHED, **given(balance="least-loaded")},
        *(Grade.BAD, "--balance least-loaded cannot be had", "CAP_BPF"),
    ),
    (kernel.capability, {}, Grade.GOOD, "CAP_BPF", ""),
    (kernel.capability, {"bpf": False}, Grade.NOTE, "no CAP_BPF", "AmbientCapabilities=CAP_BPF"),
    (kernel.capability, {"bpf": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (kernel.namespace, {}, Grade.GOOD, "host's own", ""),
    (kernel.namespace, {"nested": True}, Grade.NOTE, "bpf(2) does not heed", "--userns=host"),
    (kernel.namespace, {"nested": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (kernel.seccomp, {}, Grade.GOOD, "no filter", ""),
    (kernel.seccomp, {"seccomp": True}, Grade.GOOD, "not what stands in our way", ""),
    (
        kernel.seccomp,
        {"seccomp": True, "ladder": HASHED},
        Grade.NOTE,
        "may be what refuses",
        "SystemCallFilter",
    ),
    (kernel.seccomp, {"seccomp": True, "ladder": HASHED, "bpf": False}, Grade.GOOD, "not what stands", ""),
    (kernel.seccomp, {"seccomp": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (kernel.backlog, {}, Grade.GOOD, "2,048", ""),
    (kernel.backlog, {"somaxconn": 128}, Grade.WARN, "cut to 128", "sysctl -w net.core.somaxconn=2048"),
    (kernel.backlog, {"somaxconn": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (kernel.port, {}, Grade.GOOD, "nobody else listens at 127.0.0.1:8000", ""),
    (kernel.port, {"occupants": (Occupant("pid 8 (nginx, user www)"),)}, Grade.BAD, "pid 8 (nginx", "--port"),
    (
        kernel.port,
        {"occupants": (Occupant("pid 8 (nginx, user www)"),), **given(join=True)},
        *(Grade.NOTE, "shares it with pid 8", ""),
    ),
    (kernel.port, {"occupants": (Occupant("pid 9", 9),)}, Grade.NOTE, "(pid 9)", "reuseport reload --pid 9"),
    (kernel.port, {"occupants": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (kernel.clock, {}, Grade.GOOD, "tsc", ""),
    (kernel.clock, {"clock": "hpet"}, Grade.WARN, "system call, with every request", "clocksource=tsc"),
    (kernel.clock, {"clock": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (room.open_files, {}, Grade.GOOD, "65,472 connections", ""),
    (room.open_files, {"open_files": (-1, -1)}, Grade.GOOD, "no limit", ""),
    (room.open_files, {"open_files": (256, 1024)}, Grade.WARN, "some 960 connections", "ulimit -n 65536"),
    (room.open_files, {"open_files": (80, 80)}, Grade.BAD, "too few for 4 workers: 92", "LimitNOFILE=65536"),
    (
        room.open_files,
        {"open_files": (1024, 1024), **given(limit_concurrency=1000)},
        *(Grade.WARN, "960 connections, and --limit-concurrency is 1000", "ulimit"),
    ),
    (room.open_files, {"open_files": (1024, 1024), **given(limit_concurrency=900)}, Grade.GOOD, "960", ""),
    (room.open_files, {"open_files": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (
        room.open_files,
        {"systemd": Systemd(255, (unit("notify", files=1024),))},
        *(Grade.WARN, "shop.service has 1024", "LimitNOFILE=65536"),
    ),
    (room.cpus, {}, Grade.GOOD, "4, a worker each", ""),
    (room.cpus, {"workers": 8}, Grade.NOTE, "8 workers share 4", "--workers auto"),
    (room.cpus, {"workers": 2}, Grade.NOTE, "2 of 4 are used", "--workers auto"),
    (room.cpus, {"limits": Limits(4, cpu_quota=1.5)}, Grade.NOTE, "4 workers share 2", "--workers auto"),
    (room.cpus, given(workers="auto"), Grade.GOOD, "by affinity", ""),
    (room.memory, {}, Grade.GOOD, "512M of 16.0G; 1024M at most", ""),
    (room.memory, {"workers": 1}, Grade.GOOD, "1 worker of 128M (assumed) is 128M", ""),
    (room.memory, {"limits": Limits(4, memory_limit=GIB // 4)}, Grade.WARN, "512M of 256M", "--workers 1"),
    (
        room.memory,
        {"limits": Limits(4, memory_limit=GIB // 2)},
        Grade.WARN,
        "a reload needs 640M",
        "--workers 3",
    ),
    (room.memory, {"limits": Limits(4, ram=GIB * 3 // 4)}, Grade.NOTE, "up to 1024M", "--graceful-timeout"),
    (room.memory, given(worker_max_rss=5 * GIB), Grade.WARN, "--worker-max-rss", "--workers 2"),
    (room.memory, {"limits": Limits(4, unknown=("no meminfo",))}, Grade.UNKNOWN, "no meminfo", ""),
    (program.unit, {}, Grade.GOOD, "not the service manager", ""),
    (program.unit, {"systemd": Systemd(255)}, Grade.GOOD, "no unit", ""),
    (program.unit, {"systemd": Systemd(255, (unit("notify-reload"),))}, Grade.GOOD, "Type=notify-reload", ""),
    (program.unit, {"systemd": Systemd(252, (unit("notify-reload"),))}, Grade.BAD, "252", "Type=notify"),
    (program.unit, {"systemd": Systemd(252, (unit("simple"),))}, Grade.WARN, "when it serves", "Type=notify"),
    (program.unit, {"systemd": Systemd(253, (unit("exec"),))}, Grade.WARN, "exec", "Type=notify-reload"),
    (program.unit, {"systemd": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (program.stopping, {}, Grade.GOOD, "up to 30s, and lifespan shutdown", "docker stop --time 70"),
    (program.stopping, given(shutdown_delay=5.0, shutdown_timeout=5.0), Grade.GOOD, "up to 40s;", "Sec=50"),
    (program.stopping, {"systemd": CANNOT}, Grade.GOOD, "up to 30s", "TimeoutStopSec=70"),
    (program.stopping, {"systemd": Systemd(255, (unit("notify", 20.0),))}, Grade.WARN, "after 20s", "Sec=70"),
    (program.stopping, {"systemd": Systemd(255, (unit("notify", None),))}, Grade.GOOD, "up to 30s", ""),
    (program.extensions, {}, Grade.GOOD, "installed", ""),
    (program.extensions, {"modules": {"uvloop": False}}, Grade.WARN, "slower", "uvicorn[standard]"),
    (program.extensions, {"modules": {"httptools": False}, **given(http="h11")}, Grade.GOOD, "not asked", ""),
    (
        program.extensions,
        {"modules": {"uvloop": False}, **given(loop="uvloop")},
        Grade.BAD,
        "asked for",
        "pip",
    ),
    (program.pools, {}, Grade.GOOD, "none that", ""),
    (program.pools, {"pools": None}, Grade.GOOD, "no application", "reuseport doctor APP"),
    (program.pools, {"pools": Unknown("it does not import")}, Grade.UNKNOWN, "does not import", ""),
    (
        program.pools,
        {"pools": (Pool("sqlalchemy QueuePool", 15), Pool("redis ConnectionPool", 5))},
        *(Grade.NOTE, "4 workers open up to 80 connections, up to 160 while", "SHOW max_connections"),
    ),
    (program.certificate, {}, Grade.GOOD, "no TLS", ""),
    (program.certificate, {"certificate": CANNOT}, Grade.UNKNOWN, "/proc", ""),
    (program.certificate, {"certificate": 60.0}, Grade.GOOD, "good for 60 days", "certbot renew"),
    (program.certificate, {"certificate": 13.0}, Grade.WARN, "good for 13 days", "certbot renew"),
    (program.certificate, {"certificate": -2.0}, Grade.BAD, "ended 2 days ago", "reuseport reload --wait"),
    (program.allocator, {}, Grade.GOOD, "32 arenas at most", ""),
    (program.allocator, {"threads": 64}, Grade.NOTE, "512 arenas", "export MALLOC_ARENA_MAX=4"),
    (program.allocator, {"threads": 64, "arenas": 2}, Grade.GOOD, "2 arenas", ""),
    (program.allocator, {"threads": 64, "allocator": "libjemalloc.so.2"}, Grade.GOOD, "jemalloc", ""),
]


@pytest.mark.parametrize(("judge", "different", "grade", "text", "type"), CASES)
def test_a_judge(judge: Judge, different: dict[str, Any], grade: Grade, text: str, type: str) -> None:  # noqa: A002
    line = judge(replace(WELL, **different))
    assert (line.grade, text in line.text, type in line.type) == (grade, True, True), line
    if grade in (Grade.WARN, Grade.BAD):
        assert line.type, "whoever is told that something is wrong is told what to type"


def test_every_judge_is_asked_and_tried() -> None:
    tried = {judge for judge, *_ in CASES}
    assert tried == set(JUDGES)
    assert {grade for _, _, grade, *_ in CASES} == set(Grade)
    assert [line.topic for line in judged(WELL)] == list(dict.fromkeys(line.topic for line in judged(WELL)))


@pytest.mark.parametrize(
    ("grades", "code"),
    [
        ([Grade.GOOD, Grade.NOTE, Grade.UNKNOWN], 0),
        ([Grade.GOOD, Grade.WARN], 1),
        ([Grade.BAD, Grade.WARN, Grade.GOOD], 2),
    ],
)
def test_the_status_is_that_of_the_worst_line(grades: list[Grade], code: int) -> None:
    lines = [Line("a", grade, "text") for grade in grades]
    assert status(lines) == code
    assert document(lines)["status"] == code


def test_what_others_call_themselves_does_not_move_the_cursor() -> None:
    facts = replace(WELL, occupants=(Occupant("pid 8 (\x1b[2J, user x)"),), clock="\x1b]0;t\x07")
    lines = page(judged(facts))
    assert all(line.isprintable() for line in lines)
    assert any(line.lstrip().startswith("→ ") for line in lines)
