"""As in a container: PID 1 of a namespace, a user that nobody knows, and what else such a place has not.

No container engine runs here: the kernel's own means are the same. Each is started, used and stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from reuseport.kernel import probe
from reuseport.kernel.probe import Level
from tests.admin.asking import admin_port
from tests.conftest import PATIENCE, Launch, Launched, zombies
from tests.whole.lines import wait_until
from tests.whole.reachable import NEEDED, reachable

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces everywhere")

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", "--uts")
NOBODY = (
    *("setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--inh-caps=-all"),
    *("--bounding-set=-all", "--no-new-privs"),
    *("env", "-u", "HOME", "-u", "XDG_RUNTIME_DIR", "-u", "USER", "-u", "LOGNAME"),
)
"""As `user: "10001:10001"`, `cap_drop: ALL` and `no-new-privileges` have it."""


def read_only() -> str:
    """Nothing can be written but /dev/shm, and that is as small as engines make it. No /tmp to write to."""
    below = [path for path in NEEDED if path.is_relative_to("/tmp")]
    kept = [shlex.quote(str(path)) for path in below if not set(path.parents) & set(below)]
    before = [f"mkdir -p /dev/shm/kept{path}; mount --bind {path} /dev/shm/kept{path}" for path in kept]
    after = [
        f"mkdir -p {path}; mount --move /dev/shm/kept{path} {path}; mount -o remount,bind,ro {path}"
        for path in kept
    ]
    return "\n".join(
        [
            "mount -t tmpfs tmpfs /dev/shm",
            *before,
            "mount -t tmpfs -o mode=755 tmpfs /tmp",
            *after,
            "mount -o remount,ro /tmp",
            "mount -t tmpfs -o ro tmpfs /run",
            "mount -t tmpfs -o ro tmpfs /var/tmp",
            "mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm",
            "mount -o remount,bind,ro /",
        ]
    )


def contained(script: str, *run: str) -> list[str]:
    """A wrapper: the command as PID 1, after this, and as `run` runs it."""
    return [*NAMESPACES, *reachable(), "sh", "-ec", f'{script}\nexec "$@"', "sh", *run]


def first_process(server: Launched) -> psutil.Process:
    """The launcher: the only child of unshare."""
    (launcher,) = psutil.Process(server.pid).children()
    return launcher


def a_worker(server: Launched) -> psutil.Process:
    """Of those that live."""
    for child in first_process(server).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, too
            if "--slot" in child.cmdline():
                return child
    pytest.fail("it has no worker")


def generated(*arguments: str) -> list[str]:
    """The command of the generated compose file, at ports that are free."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "reuseport", "generate", "compose", "plain:app", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    (words,) = re.findall(r"^    command: (.*)$", done.stdout, re.MULTILINE)
    return [re.sub(r"^0\.0\.0\.0:\d+$", "0.0.0.0:0", word) for word in json.loads(words)]


def used_and_stopped(server: Launched, workers: int) -> None:
    """Probes, requests, a reload, a crash and a stop."""
    launcher = first_process(server)
    admin = f"http://127.0.0.1:{admin_port(server)}"
    for path in ("startupz", "readyz", "livez"):
        assert httpx.get(f"{admin}/{path}", timeout=PATIENCE).status_code == 200
    assert httpx.get(server.url, timeout=PATIENCE).status_code == 200
    launcher.send_signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    wait_until(lambda: server.count("exited cleanly") == workers, lambda: server.output)
    a_worker(server).kill()
    server.wait_for(r"slot \d is ready .*reason: crash")
    assert httpx.get(server.url, timeout=PATIENCE).status_code == 200
    wait_until(lambda: not zombies(launcher.pid))
    launcher.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "Traceback" not in server.output
    assert "defect" not in server.output


@pytest.mark.parametrize("tmp", [False, True], ids=["nothing to write to", "tmpfs at /tmp"])
def test_the_generated_command_as_nobody_where_nothing_can_be_written(tmp: bool, launch: Launch) -> None:
    script = read_only()
    if tmp and not any(path.is_relative_to("/tmp") for path in NEEDED):
        script += "\nmount -t tmpfs -o mode=1777 tmpfs /tmp"
    elif tmp:  # this tree lies there, and stays
        script += "\nmount -o remount,rw /tmp; chmod 1777 /tmp"
    server = launch(*generated("--workers", "2"), cwd=Path("/"), wrapper=contained(script, *NOBODY))
    server.ready(2)
    assert server.count("pid 1 serves plain:app") == 1
    if tmp:
        server.wait_for_first("control at unix:/tmp/reuseport-10001/1.sock")
    else:
        server.wait_for_first("going on without a control socket")
    used_and_stopped(server, 2)


def test_root_with_four_capabilities_steers_and_its_workers_have_none(launch: Launch) -> None:
    """What the generated files explain: cap_add BPF, SETUID, SETGID, KILL, and --user."""
    if probe.climb().level is not Level.STEERED:
        pytest.skip("this kernel does not steer, whatever we may do")
    capabilities = "--bounding-set=-all,+bpf,+setuid,+setgid,+kill"
    root = ("setpriv", capabilities, "--inh-caps=-all", "--no-new-privs")
    command = [*generated("--workers", "2"), "--user", "10001", "--group", "10001"]
    server = launch(*command, cwd=Path("/"), wrapper=contained(read_only(), *root)).ready(2)
    server.wait_for_first("balance: least-loaded")
    worker = a_worker(server)
    assert worker.uids().real == 10001
    assert re.search(r"^CapEff:\s+0+$", Path(f"/proc/{worker.pid}/status").read_text(), re.MULTILINE)
    used_and_stopped(server, 2)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────

CGROUPS = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def limited(controller: str, **files: str) -> Iterator[Path]:
    """A cgroup of version 1 with these limits; its file for those who enter."""
    lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    paths = [
        path for _, names, path in (line.split(":", 2) for line in lines) if controller in names.split(",")
    ]
    if not paths or not (CGROUPS / controller).is_dir():
        pytest.skip(f"no {controller} controller of version 1 here")
    group = CGROUPS / controller / paths[0].lstrip("/") / f"reuseport-test-{os.getpid()}"
    group.mkdir()
    try:
        for name, value in files.items():
            (group / name.replace("__", ".")).write_text(value)
        yield group / "cgroup.procs"
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_a_quota_of_cpu_decides_how_many_workers(launch: Launch) -> None:
    with limited("cpu", cpu__cfs_period_us="100000", cpu__cfs_quota_us="120000") as enter:
        server = launch(
            *("plain:app", "--workers", "auto", "--admin", "127.0.0.1:0"),
            wrapper=["sh", "-ec", f'echo $$ > {enter}; exec "$@"', "sh", *contained("")],
        )
        # A CPU and a fifth of another.
        wanted = min(2, len(os.sched_getaffinity(0)))
        server.wait_for(rf"--workers auto: {wanted} \(.*cgroup quota 1\.2 CPUs")
        server.ready(wanted)
        used_and_stopped(server, wanted)


def test_a_limit_of_memory_decides_how_many_workers_and_costs_one_at_a_time(launch: Launch) -> None:
    with limited("memory", memory__limit_in_bytes=str(200 * 2**20)) as enter:
        server = launch(
            *("hungry:app", "--workers", "auto", "--admin", "127.0.0.1:0"),
            wrapper=["sh", "-ec", f'echo $$ > {enter}; exec "$@"', "sh", *contained("")],
        )
        server.wait_for(r"--workers auto: 1 \(.*memory limit 200 MiB allows 1")
        server.ready(1)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{server.url}/?mib=400", timeout=PATIENCE)
        server.wait_for(r"worker in slot 0 .* was killed by SIGKILL.*out of memory")
        server.wait_for("slot 0 is ready .*reason: crash")
        used_and_stopped(server, 1)
