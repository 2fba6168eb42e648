"""The manual's way from nothing to a server behind nginx with a certificate, typed as it stands there.

From the wheel, with the host's own Python, under the real systemd; what is written lands in namespaces.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tests.deploy.booted import Booted, booted
from tests.papers import ROOT, blocks, read
from tests.whole.lines import wait_until

PAGE = read("first-server")
HOME = "/srv/shop"
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
INSTALLING = 4 * PATIENCE

# What the manual has written is written over what the machine has.
_PLACES = """
mount -t tmpfs -o mode=755 tmpfs /srv
mount -t tmpfs -o mode=755 tmpfs /etc/systemd/system
cp -a /etc/nginx /run/etc-nginx
mount --bind /run/etc-nginx /etc/nginx
rm -f /etc/nginx/sites-enabled/*
mkdir /srv/shop
rm -f /run/systemd/system/nginx.service
systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(place),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=INSTALLING)
    (made,) = place.glob("*.whl")
    return made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Booted]:
    if shutil.which("nginx", path=PATH) is None or not Path("/usr/bin/python3").exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs nginx and Debian's python3")
    with booted(tmp_path) as made:
        made.inside("sh", "-ec", _PLACES)
        yield made


def free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


class Typing:
    """Lines of the manual, each in a shell of its own that stands in the application's directory."""

    def __init__(self, machine: Booted, wheel: Path) -> None:
        self._machine = machine
        # The manual's ports are somebody else's here, and what it takes from the index is not there yet.
        shutil.copy(wheel, f"/proc/{machine.pid}/root/srv")
        self._instead = {
            "8000": str(free_port()),
            "443": str(free_port()),
            "pip install reuseport": f"pip install /srv/{wheel.name}",
        }

    def here(self, text: str) -> str:
        """With this machine's ports."""
        for said, meant in self._instead.items():
            text = re.sub(rf"(?<![\w.]){re.escape(said)}(?![\w.])", meant, text)
        return text

    def line(self, line: str) -> tuple[int, str]:
        """Its status, and all that it says."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._machine.pid), "-m", "-p", "-C", "--", "bash", "-c", self.here(line)],  # noqa: S607
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALLING,
            check=False,
            env={**os.environ, "PATH": PATH},
        )
        return done.returncode, done.stdout


def test_from_nothing_to_a_certificate(machine: Booted, wheel: Path) -> None:
    typing = Typing(machine, wheel)
    (source,) = blocks(PAGE, "python")
    machine.write(f"{HOME}/shop.py", source)
    said: list[tuple[str, str]] = []
    for block in blocks(PAGE, "sh"):
        for line in block.splitlines():
            status, output = typing.line(f"umask 022; cd {HOME} && {line}")
            # What the doctor notes of this machine is no failure of the manual's.
            if status not in ((0, 1) if " doctor " in line else (0,)):
                _, journal = typing.line("systemctl status --no-pager --full shop nginx")
                pytest.fail(f"{line}: status {status}\n{output}\n{journal}")
            said.append((line, output))
    (looked,) = (line for line, _ in said if line.startswith("systemctl status"))
    # Started is a server that has --min-ready workers: the second may be ready after the first look.
    wait_until(lambda: "2 of 2 workers are ready" in typing.line(looked)[1], lambda: typing.line(looked)[1])
    plain, encrypted = (json.loads(output) for line, output in said if line.startswith("curl"))
    assert plain == {"client": "127.0.0.1", "scheme": "http"}
    assert encrypted == {"client": "127.0.0.1", "scheme": "https"}
    # A version that does not start: said, and the one before serves on, also for who comes through nginx.
    machine.write(f"{HOME}/shop.py", "raise RuntimeError('sold out')\n")
    status, output = typing.line("systemctl reload shop")
    assert status != 0, output
    assert typing.line("curl -skf https://127.0.0.1:443/")[0] == 0
