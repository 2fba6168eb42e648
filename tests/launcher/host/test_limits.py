"""`--workers auto` over trees of real files, laid out as kernels and container runtimes lay them out."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.launcher.host.limits import Limits, Room, auto_workers, host_limits, reload_room

GIB = 1024**3
V1_UNLIMITED = "9223372036854771712\n"

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_CPU_MOUNT = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY_MOUNT = "35 31 0:32 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
HYBRID_MOUNT = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
OTHER_MOUNTS = (
    "27 1 254:0 / / rw - ext4 /dev/vda rw\n22 27 0:21 / /proc rw shared:1 master:2 - proc proc rw\n"
)


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def host(cgroup: str, mounts: str, files: dict[str, str]) -> dict[str, str]:
    return {
        "proc/self/cgroup": cgroup,
        "proc/self/mountinfo": OTHER_MOUNTS + mounts,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }


def v1_cpu(directory: str, quota: str, period: str) -> dict[str, str]:
    return {f"{directory}/cpu.cfs_quota_us": f"{quota}\n", f"{directory}/cpu.cfs_period_us": f"{period}\n"}


V1_CGROUP = "5:memory:/a/b\n4:cpuset:/\n3:cpu,cpuacct:/a/b\n1:name=systemd:/a\n"
V1_MOUNTS = V1_CPU_MOUNT + V1_MEMORY_MOUNT

LAYOUTS: dict[str, tuple[dict[str, str], float | None, int | None]] = {
    "v2, own limit": (
        host("0::/app\n", V2_MOUNT, {"app/cpu.max": "75000 50000\n", "app/memory.max": f"{GIB}\n"}),
        1.5,
        GIB,
    ),
    "v2, no limit": (
        host("0::/app\n", V2_MOUNT, {"app/cpu.max": "max 100000\n", "app/memory.max": "max\n"}),
        None,
        None,
    ),
    "v2, the strictest is an ancestor": (
        host(
            "0::/slice/pod/app\n",
            V2_MOUNT,
            {
                "slice/pod/app/cpu.max": "400000 100000\n",
                "slice/pod/app/memory.max": "max\n",
                "slice/pod/cpu.max": "max 100000\n",
                "slice/pod/memory.max": f"{3 * GIB}\n",
                "slice/cpu.max": "250000 100000\n",
                "slice/memory.max": f"{5 * GIB}\n",
            },
        ),
        2.5,
        3 * GIB,
    ),
    "v2, controllers switched off below": (
        host(
            "0::/slice/app\n", V2_MOUNT, {"slice/app/cgroup.procs": "1\n", "slice/cpu.max": "100000 100000\n"}
        ),
        1.0,
        None,
    ),
    "v2, memory.high below memory.max": (
        host("0::/app\n", V2_MOUNT, {"app/memory.max": f"{2 * GIB}\n", "app/memory.high": f"{GIB}\n"}),
        None,
        GIB,
    ),
    "v2, cgroup namespace: we are its root": (
        host("0::/\n", V2_MOUNT, {"cpu.max": "200000 100000\n", "memory.max": f"{GIB}\n"}),
        2.0,
        GIB,
    ),
    "v2, no namespace: mountinfo has the container's path as its root": (
        host(
            "0::/docker/c0ffee/init\n",
            V2_MOUNT.replace(" / /sys", " /docker/c0ffee /sys"),
            {"init/cpu.max": "200000 100000\n", "cpu.max": "300000 100000\n"},
        ),
        2.0,
        None,
    ),
    "v2, a path that the mount does not show": (
        host(
            "0::/kubepods/pod1/abc\n",
            V2_MOUNT.replace(" / /sys", " /kubepods/pod2 /sys"),
            {"cpu.max": "300000 100000\n"},
        ),
        3.0,
        None,
    ),
    "v2, a path outside of our namespace": (
        host("0::/../other\n", V2_MOUNT, {"cpu.max": "100000 100000\n", "../cpu.max": "1 100000\n"}),
        1.0,
        None,
    ),
    "v2, the widest of two mounts": (
        host(
            "0::/slice/app\n",
            "28 23 0:26 /slice/app /sys/fs/cgroup/narrow rw - cgroup2 cgroup2 rw\n"
            "30 23 0:26 / /sys/fs/cgroup/wide rw - cgroup2 cgroup2 rw\n",
            {"narrow/cpu.max": "max 100000\n", "wide/slice/cpu.max": "100000 100000\n"},
        ),
        1.0,
        None,
    ),
    "v2, mounted at a place with a space": (
        {
            "proc/self/cgroup": "0::/app\n",
            "proc/self/mountinfo": V2_MOUNT.replace("/sys/fs/cgroup", "/my\\040groups"),
            "my groups/app/cpu.max": "100000 100000\n",
        },
        1.0,
        None,
    ),
    "v1, own and ancestors": (
        host(
            V1_CGROUP,
            V1_MOUNTS,
            {
                **v1_cpu("cpu,cpuacct/a/b", "-1", "100000"),
                **v1_cpu("cpu,cpuacct/a", "75000", "50000"),
                "memory/a/b/memory.limit_in_bytes": V1_UNLIMITED,
                "memory/a/memory.limit_in_bytes": f"{GIB}\n",
                "memory/memory.limit_in_bytes": V1_UNLIMITED,
            },
        ),
        1.5,
        GIB,
    ),
    "v1, no limit": (
        host(
            V1_CGROUP,
            V1_MOUNTS,
            {**v1_cpu("cpu,cpuacct", "-1", "100000"), "memory/memory.limit_in_bytes": V1_UNLIMITED},
        ),
        None,
        None,
    ),
    "hybrid: the limits are in v1, the unified mount has none": (
        host(
            V1_CGROUP + "0::/app\n",
            V1_MOUNTS + HYBRID_MOUNT,
            {
                **v1_cpu("cpu,cpuacct/a/b", "200000", "100000"),
                "memory/a/b/memory.limit_in_bytes": f"{GIB}\n",
                "unified/app/cgroup.procs": "1\n",
            },
        ),
        2.0,
        GIB,
    ),
    "hybrid: memory was moved to the unified mount": (
        host(
            "3:cpu,cpuacct:/\n0::/app\n",
            V1_CPU_MOUNT + HYBRID_MOUNT,
            {**v1_cpu("cpu,cpuacct", "200000", "100000"), "unified/app/memory.max": f"{GIB}\n"},
        ),
        2.0,
        GIB,
    ),
    "no cgroups in this kernel": ({"proc/self/mountinfo": OTHER_MOUNTS}, None, None),
}


@pytest.mark.parametrize(("files", "quota", "memory"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(tmp_path: Path, files: dict[str, str], quota: float | None, memory: int | None) -> None:
    limits = host_limits(plant(tmp_path, files))
    assert (limits.cpu_quota, limits.memory_limit, limits.unknown) == (quota, memory, ())


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "named"),
    [
        ("0::/app\n", V2_MOUNT, {"app/cpu.max": "garbage\n"}, "app/cpu.max has 'garbage'"),
        ("0::/app\n", V2_MOUNT, {"app/cpu.max": "100000\n"}, "app/cpu.max has ''"),
        ("0::/app\n", V2_MOUNT, {"app/cpu.max": "100000 0\n"}, "app/cpu.max has '0'"),
        ("0::/app\n", V2_MOUNT, {"app/memory.max": "1²\n"}, "app/memory.max has '1²'"),
        ("0::/app\n", V2_MOUNT, {"app/memory.max/file": ""}, "app/memory.max cannot be read"),
        ("0::/app\n", "", {}, "the cpu cgroup /app is not mounted here"),
        ("0:/app\n", V2_MOUNT, {}, "proc/self/cgroup has the line '0:/app'"),
        ("0::/app\n", "30 23 0:26 /\n", {}, "proc/self/mountinfo has the line '30 23 0:26 /'"),
        ("3:cpu:/\n", V1_CPU_MOUNT, {"cpu,cpuacct/cpu.cfs_quota_us": "-2\n"}, "cpu.cfs_quota_us has '-2'"),
        ("3:cpu:/\n", V1_CPU_MOUNT, {"cpu,cpuacct/cpu.cfs_quota_us": "100\n"}, "cpu.cfs_period_us has ''"),
    ],
)
def test_what_cannot_be_told_is_said(
    tmp_path: Path, cgroup: str, mounts: str, files: dict[str, str], named: str
) -> None:
    limits = host_limits(plant(tmp_path, host(cgroup, mounts, files)))
    assert (limits.cpu_quota, limits.memory_limit) == (None, None)
    assert any(named in why for why in limits.unknown)
    assert f"could not tell: {limits.unknown[0]}" in auto_workers(limits).reasoning


def test_one_bad_level_does_not_hide_the_others(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "\n", "a/cpu.max": "200000 100000\n"}
    limits = host_limits(plant(tmp_path, host("0::/a/b\n", V2_MOUNT, files)))
    assert limits.cpu_quota == 2.0
    assert len(limits.unknown) == 1


def test_affinity_is_that_of_this_process() -> None:
    cpus = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cpus)})
        assert host_limits().cpus_affinity == 1
    finally:
        os.sched_setaffinity(0, cpus)


def test_physical_memory(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/meminfo": "MemTotal:        2097152 kB\nMemFree:          1 kB\n"})
    assert host_limits(tmp_path).ram == 2 * GIB
    plant(tmp_path, {"proc/meminfo": "MemTotal:        many kB\n"})
    assert host_limits(tmp_path).ram is None
    assert "proc/meminfo has 'many'" in host_limits(tmp_path).unknown[0]


def test_the_machine_we_run_on_is_understood() -> None:
    limits = host_limits()
    assert limits.ram is not None
    assert 1 <= auto_workers(limits).workers <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        (
            Limits(2, cpu_quota=1.5, memory_limit=4 * GIB, ram=64 * GIB),
            "2 (2 CPUs by affinity, cgroup quota 1.5 CPUs, memory limit 4.0 GiB allows 32)",
        ),
        (Limits(8, cpu_quota=1.0), "1 (8 CPUs by affinity, cgroup quota 1 CPU)"),
        (Limits(8, cpu_quota=0.25), "1 (8 CPUs by affinity, cgroup quota 0.25 CPUs)"),
        (Limits(1), "1 (1 CPU by affinity)"),
        (Limits(8, memory_limit=300 * 1024**2), "2 (8 CPUs by affinity, memory limit 300 MiB allows 2)"),
        (Limits(8, memory_limit=64 * GIB, ram=GIB // 2), "4 (8 CPUs by affinity, RAM 512 MiB allows 4)"),
        (Limits(8, memory_limit=64 * 1024**2), "1 (8 CPUs by affinity, memory limit 64 MiB allows 1)"),
        (Limits(2, unknown=("cpu.max: 'x'",)), "2 (2 CPUs by affinity, could not tell: cpu.max: 'x')"),
    ],
)
def test_decision_and_reasoning(limits: Limits, line: str) -> None:
    decision = auto_workers(limits)
    assert decision.reasoning == f"--workers auto: {line}"
    assert decision.workers == int(line.split()[0])


LIMITS = st.builds(
    Limits,
    cpus_affinity=st.integers(1, 1024),
    cpu_quota=st.none() | st.floats(0.001, 2048),
    memory_limit=st.none() | st.integers(1, 2**62),
    ram=st.none() | st.integers(1, 2**48),
    unknown=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


@given(LIMITS)
def test_never_none_and_never_more_than_the_cpus(limits: Limits) -> None:
    workers = auto_workers(limits).workers
    assert 1 <= workers <= limits.cpus_affinity
    assert limits.cpu_quota is None or workers <= math.ceil(limits.cpu_quota)


@given(LIMITS, st.integers(1, 2**62))
def test_a_lower_memory_limit_never_means_more_workers(limits: Limits, memory: int) -> None:
    lower = replace(limits, memory_limit=min(memory, limits.memory_limit or memory))
    assert auto_workers(lower).workers <= auto_workers(limits).workers


@given(st.binary(max_size=30))
def test_nothing_in_a_kernel_file_is_a_crash(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    files = host("0::/app\n", V2_MOUNT, {"app/cpu.max": "", "app/memory.max": ""}) | {"proc/meminfo": ""}
    for garbled in files:
        root = plant(tmp_path_factory.getbasetemp() / "garbled", files)
        (root / garbled).write_bytes(files[garbled].encode() + content)
        assert auto_workers(host_limits(root)).workers >= 1


# ── what a reload may add ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "at_once", "strictly"),
    [
        (Limits(2), 4, False),
        (Limits(2, ram=2 * GIB), 4, False),
        (Limits(2, ram=64 * GIB, memory_limit=GIB), 4, True),
        (Limits(2, ram=GIB, memory_limit=64 * GIB), 4, True),
        (Limits(2, memory_limit=GIB), 2, False),
        (Limits(2, memory_limit=GIB), 3, True),
    ],
)
def test_where_memory_is_short_a_reload_adds_one_worker_whatever_it_may(
    limits: Limits, at_once: int, strictly: bool
) -> None:
    room = reload_room(limits, 6, at_once)
    if not strictly:
        assert room == Room(at_once, strictly=False)
    else:
        assert (room.at_once, room.strictly) == (1, True)
        assert f"1.0 GiB has no room for {6 + at_once} workers of 128 MiB" in room.reasoning


def test_one_at_a_time_is_strict_where_not_even_one_more_fits() -> None:
    auto = auto_workers(Limits(64, memory_limit=GIB))
    assert auto.workers == 8
    assert reload_room(Limits(64, memory_limit=GIB), 8, 1).strictly
    assert not reload_room(Limits(64, memory_limit=GIB), 7, 1).strictly
