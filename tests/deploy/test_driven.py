"""The generated HAProxy and nginx configurations at work, in front of us."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import websockets

from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launch
from tests.deploy.test_generated import debians, files
from tests.whole.clients import listening
from tests.whole.lines import wait_until


def free_ports(number: int) -> list[int]:
    with_them = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in with_them]
    for each in with_them:
        each.close()
    return ports


@contextmanager
def running(command: list[str], front: int, log: Path) -> Iterator[None]:
    """A proxy, until the end of the block."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: listening(front), log.read_text)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


# ── HAProxy ───────────────────────────────────────────────────────────────────────────────────────────────


class Statistics:
    """What HAProxy thinks of us, by its own socket, which may be there later than the port that it serves."""

    def __init__(self, path: Path) -> None:
        wait_until(path.exists)
        self._path = path

    def server(self) -> dict[str, str]:
        """The one server's row."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self._path))
            asking.sendall(b"show stat\n")
            text = asking.makefile().read()
        rows = csv.DictReader(io.StringIO(text.lstrip("# ")))
        return next(row for row in rows if row["svname"] == "one")

    def wait_until(self, status: str, weight: str) -> None:
        def so() -> bool:
            row = self.server()
            return row["status"].startswith(status) and row["weight"] == weight

        wait_until(so, lambda: str(self.server()))


def test_haproxy_is_told_the_truth(launch: Launch, tmp_path: Path) -> None:
    front, port, admin, agent = free_ports(4)
    flags = ["--bind", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    flags += ["--agent-check", f"127.0.0.1:{agent}"]
    (file,) = files("haproxy", tmp_path, "plain:app", *flags)
    text = file.read_text().replace("bind :80", f"bind 127.0.0.1:{front}")
    text = text.replace("global\n", f"global\n    stats socket {tmp_path}/stats\n", 1)
    # A test has no time for two seconds between looks.
    file.write_text(text.replace("inter 2s", "inter 200ms"))
    delay = ("--shutdown-delay", "3s", "--workers", "2")
    with running([debians("haproxy"), "-db", "-f", str(file)], front, tmp_path / "log"):
        statistics = Statistics(tmp_path / "stats")
        # Nobody is there.
        statistics.wait_until("DOWN", "100")
        server = launch("plain:app", *flags, *delay).ready(2)
        statistics.wait_until("UP", "100")
        with httpx.Client(timeout=PATIENCE) as client:
            assert client.get(f"http://127.0.0.1:{front}/").json()["client"][0] == "127.0.0.1"
        # Half of us.
        Control(server).post("/api/v1/slots/1/drain")
        statistics.wait_until("UP", "50")
        # A stop: told while everything still serves.
        server.signal(signal.SIGTERM)
        wait_until(
            lambda: "DRAIN" in statistics.server()["status"] or "DOWN" in statistics.server()["status"]
        )
        assert server.wait() == 0
        statistics.wait_until("DOWN", "50")
        # And back: `ready` undoes what `drain` did.
        again = launch("plain:app", *flags, *delay).ready(2)
        statistics.wait_until("UP", "100")
        assert httpx.get(f"http://127.0.0.1:{front}/", timeout=PATIENCE).status_code == 200
        again.signal(signal.SIGQUIT)
        again.wait()


# ── nginx ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_nginx_serves_streams_and_sockets(unix: bool, launch: Launch, tmp_path: Path) -> None:
    front, port = free_ports(2)
    address = ("--uds", str(tmp_path / "s")) if unix else ("--bind", f"127.0.0.1:{port}")
    trust = ("--forwarded-allow-ips", "*") if unix else ()
    (file,) = files("nginx", tmp_path, "plain:app", *address)
    text = (
        file.read_text()
        .replace("listen 80;", f"listen 127.0.0.1:{front};")
        .replace("    listen [::]:80;\n", "")
    )
    file.write_text(text)
    temporary = "".join(
        f"{name}_temp_path {tmp_path}/{name}; "
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    around = tmp_path / "nginx.conf"
    around.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; worker_processes 1;"
        f" {'user root;' if os.geteuid() == 0 else ''}"
        f" events {{}} http {{ access_log off; {temporary} include {file}; }}"
    )
    server = launch("plain:app", "--workers", "2", *address, *trust).ready(2)
    with running([debians("nginx"), "-c", str(around)], front, tmp_path / "log"):
        url = f"http://127.0.0.1:{front}"
        with httpx.Client(timeout=PATIENCE) as client:
            told = client.get(url, headers={"X-Forwarded-Proto": "gopher"}).json()
            assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")
            # As it comes, and not when it is over, which is never.
            with client.stream("GET", f"{url}/sse") as streaming:
                assert next(streaming.iter_text()) == "data: tick\n\n"
        assert asyncio.run(echoed(f"ws://127.0.0.1:{front}/ws")) == "hello"
        server.signal(signal.SIGHUP)
        server.wait_for("generation 2 serves")
        assert all(httpx.get(url, timeout=PATIENCE).status_code == 200 for _ in range(10))
    # The stream's application never heard that its client has gone.
    server.signal(signal.SIGQUIT)
    server.wait()


async def echoed(url: str) -> str:
    async with websockets.connect(url) as socket:
        await socket.send("hello")
        return str(await socket.recv())
