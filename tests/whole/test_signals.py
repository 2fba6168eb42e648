"""Signals at every moment and however the launcher was started: it hears them, and only what is meant."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from reuseport.signals import HEARD
from tests.conftest import APPS, PATIENCE, Launch
from tests.whole.clients import environment, kept_port
from tests.whole.lines import wait_until
from tests.whole.traffic import ask


def mask(pid: int, which: str) -> set[int]:
    """SigBlk or SigIgn of /proc/PID/status, proc_pid_status(5); empty when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return set()
    bits = next(int(line.split()[1], 16) for line in lines if line.startswith(f"{which}:"))
    return {number for number in range(1, 65) if bits >> (number - 1) & 1}


# ── the first moments ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("moment", ["blocked", "pid file", "control socket"])
def test_an_early_signal_is_a_clean_stop_that_leaves_nothing(
    launch: Launch, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    pid_file, control = tmp_path / "pid", tmp_path / "control"
    server = launch("plain:app", "--workers", "2", "--pid-file", str(pid_file), "--control", str(control))
    reached = {
        "blocked": lambda: mask(server.pid, "SigBlk") >= HEARD,
        "pid file": pid_file.exists,
        "control socket": control.exists,
    }[moment]
    wait_until(lambda: reached() or server.popen.poll() is not None, lambda: server.output)
    server.signal(number)
    code = server.wait()
    assert code == 0 or (number == signal.SIGQUIT and code == 1), "nobody had anything to lose yet"
    assert "Traceback" not in server.output
    assert not pid_file.exists()
    assert not control.exists()


def test_a_signal_in_the_last_moment_changes_nothing(launch: Launch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    server = launch("plain:app", "--workers", "1", "--pid-file", str(pid_file)).ready(1)
    server.signal(signal.SIGTERM)
    server.wait_for("exited cleanly")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGINT) * 20:
        server.signal(number)
    assert server.wait() == 0
    assert not pid_file.exists()


# ── how it was started ────────────────────────────────────────────────────────────────────────────────

BLOCKED = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"
IGNORED = (
    "import os, signal, sys; [signal.signal(n, signal.SIG_IGN) for n in signal.valid_signals()"
    " if n not in (signal.SIGKILL, signal.SIGSTOP) and n < 32]"
)


@pytest.mark.parametrize("how", [BLOCKED, IGNORED], ids=["blocked", "ignored"])
def test_started_deaf_it_hears_all_the_same(launch: Launch, how: str) -> None:
    wrapper = [sys.executable, "-c", f"{how}; os.execv(sys.argv[1], sys.argv[1:])"]
    server = launch("plain:app", "--workers", "2", wrapper=wrapper).ready(2)
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    worker = server.workers()[0]
    meant = {signal.SIGTERM, signal.SIGCHLD}
    assert not meant & mask(worker, "SigBlk")
    assert not meant & mask(worker, "SigIgn")
    os.kill(worker, signal.SIGKILL)
    server.wait_for("slot 0 is ready")
    assert server.stop() == 0


IN_THE_BACKGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
attributes = termios.tcgetattr(0)
attributes[3] |= termios.TOSTOP
termios.tcsetattr(0, termios.TCSANOW, attributes)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.execv(sys.executable, [sys.executable, "-m", "reuseport", *sys.argv[1:]])
os.setpgid(pid, pid)
_, status = os.waitpid(pid, os.WUNTRACED)
os._exit(os.waitstatus_to_exitcode(status) if not os.WIFSTOPPED(status) else 99)
"""


def test_in_the_background_of_a_terminal_with_tostop_that_is_read(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        while True:
            try:
                written.append(os.read(master, 65536))
            except OSError:  # EIO: nobody has the other end open
                return

    reader = threading.Thread(target=read, daemon=True)
    with kept_port() as port:
        arguments = ["curious:app", "--app-dir", str(APPS), "--workers", "2", "--port", str(port), "--join"]
        shell = subprocess.Popen(
            [sys.executable, "-c", IN_THE_BACKGROUND, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=tmp_path,
            env=environment(),
            start_new_session=True,
        )
        os.close(slave)
        reader.start()
        try:
            wait_until(lambda: b"all 2 workers are ready" in b"".join(written), lambda: b"".join(written))
            (launcher,) = psutil.Process(shell.pid).children()
            assert ask(port)
            assert b"".join(written).count(b"has read: Input/output error") == 2
            launcher.send_signal(signal.SIGTTIN)  # somebody's wish
            wait_until(lambda: b"slot 2 is ready" in b"".join(written), lambda: b"".join(written))
            launcher.send_signal(signal.SIGTERM)
            assert shell.wait(PATIENCE) == 0
        finally:
            left = psutil.Process(shell.pid).children(recursive=True) if shell.poll() is None else []
            for process in left:
                process.kill()
            shell.kill()
            shell.wait()
    reader.join(PATIENCE)
    os.close(master)
    told = b"".join(written)
    assert b"scaling from 2 to 3" in told
    assert told.count(b"scaling from") == 1, "only one was a wish"
