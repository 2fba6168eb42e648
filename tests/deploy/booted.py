"""The real systemd, PID 1 of namespaces of its own: it boots in a second, and ends with its first process."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import APPS, PATIENCE
from tests.whole.lines import wait_until
from tests.whole.reachable import NEEDED, reachable

SYSTEMD = "/lib/systemd/systemd"
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup")
COMMAND = str(Path(sys.executable).with_name("reuseport"))

# Whatever a machine's boot wants is masked: it would set sysctls of the host's, and empty its /tmp.
_BOOT = """
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system /run/lock /run/kept /run/app
cd /run/systemd/system
for want in /lib/systemd/system/*.target.wants/* /etc/systemd/system/*.wants/*; do
    ln -sf /dev/null "${want##*/}"
done
ln -sf /dev/null systemd-remount-fs.service
ln -sf /dev/null tmp.mount
for place; do
    mkdir -p "/run/kept$place"
    mount --bind "$place" "/run/kept$place"
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
for place; do
    mkdir -p "$place"
    mount --move "/run/kept$place" "$place"
done
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
cd /sys/fs/cgroup
mkdir unified systemd
mount -t cgroup2 cgroup2 unified
mount -t cgroup -o none,name=systemd,xattr cgroup systemd
if grep -qw ^memory /proc/cgroups && ! grep -qw memory unified/cgroup.controllers; then
    mkdir memory
    mount -t cgroup -o memory cgroup memory
fi
cd /
export container=podman
exec /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=false
"""


# What we are in becomes the root of the new namespace.
_ENTER = """
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
exec "$@"
"""


class Booted:
    """A running systemd; `pid` is its first process as we see it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._nsenter = shutil.which("nsenter") or "nsenter"

    def inside(self, *command: str, ok: bool = True) -> str:
        """What a command in there prints; it must succeed, unless it need not."""
        done = subprocess.run(
            [self._nsenter, "-t", str(self.pid), "-m", "-p", "-C", "--", *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if ok and done.returncode != 0:
            pytest.fail(f"{command}: {done.stdout}{done.stderr}\n{self.log()}")
        return done.stdout if ok else f"{done.returncode}: {done.stdout}{done.stderr}"

    def ctl(self, *words: str, ok: bool = True) -> str:
        return self.inside("systemctl", *words, ok=ok)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.ctl("show", "--value", "-p", name, unit).strip()

    def write(self, path: str, text: str) -> None:
        """A file in there."""
        self.inside("sh", "-c", f'mkdir -p $(dirname {path}); printf %s "$1" > {path}', "sh", text)

    def log(self) -> str:
        """What the service wrote."""
        return self.inside("sh", "-c", "cat /run/log || true")

    def wait_until(self, name: str, value: str, unit: str) -> None:
        """A property has this value."""
        wait_until(lambda: self.show(unit, name) == value, lambda: f"{self.ctl('show', unit)}\n{self.log()}")

    def wait_for(self, text: str) -> None:
        """The service has written this."""
        wait_until(lambda: text in self.log(), self.log)


@contextmanager
def booted(place: Path) -> Iterator[Booted]:
    """Skips where we are not root, or there is no systemd; not in CI."""
    if os.geteuid() != 0 or not Path(SYSTEMD).exists() or shutil.which("nsenter") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has systemd, and is root")
        pytest.skip("only root boots systemd, and only where there is one (Debian: systemd)")
    below = [path for path in NEEDED if path.is_relative_to("/tmp")]
    hidden = [str(path) for path in below if not set(path.parents) & set(below)]
    ours = own_cgroups()
    entering = ["sh", "-ec", _ENTER, "sh", *map(str, ours), "--"]
    log = place / "systemd.log"
    with log.open("w") as output:
        popen = subprocess.Popen(
            [*entering, *NAMESPACES, *reachable(), "bash", "-ec", _BOOT, "bash", *hidden],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: bool(psutil.Process(popen.pid).children()), log.read_text)
        (first,) = psutil.Process(popen.pid).children()
        machine = Booted(first.pid)

        def running() -> bool:
            told = machine.inside("timeout", "5", "systemctl", "is-system-running", ok=False)
            return first.name() == "systemd" and "running" in told

        wait_until(running, log.read_text)
        yield machine
    finally:
        for child in psutil.Process(popen.pid).children():
            # unshare(1) lets no other signal through.
            child.send_signal(signal.SIGKILL)
        popen.wait(PATIENCE)
        for left in ours:
            remove(left)


def own_cgroups() -> list[Path]:
    """One in each hierarchy that systemd uses: two that boot at once would take them for theirs."""
    found = []
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        hierarchy = {"": "unified", "name=systemd": "systemd"}.get(controllers, controllers)
        place = Path("/sys/fs/cgroup") / hierarchy / path.lstrip("/") / f"reuseport-test-{os.getpid()}"
        if hierarchy in ("unified", "systemd", "memory", "pids") and place.parent.is_dir():
            place.mkdir()
            found.append(place)
    return found


def remove(cgroup: Path) -> None:
    """With all below it, once the last process in there is gone."""
    for directory, _, _ in os.walk(cgroup, topdown=False):

        def gone(directory: str = directory) -> bool:
            try:
                Path(directory).rmdir()
            except OSError as error:
                return error.errno != errno.EBUSY
            return True

        wait_until(gone)


APPLICATION = (APPS / "plain.py").read_text(encoding="utf-8")
