"""A worker that dies in a debugger: its exit status is the debugger's first, for as long as that pleases."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.conftest import Launch, zombies
from tests.whole.lines import wait_until

TRACE_EXIT = 0x40
"""PTRACE_O_TRACEEXIT: it stops once more before it ends, also when it was sent SIGKILL."""

TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_SEIZE = 0x4206
failed = libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, int(sys.argv[2]))
print(os.strerror(ctypes.get_errno()) if failed else "traces", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def traced(pid: int, options: int = 0) -> Iterator[None]:
    """As gdb at its prompt: attached, and not looking. `options` as for ptrace(2)."""
    command = [sys.executable, "-c", TRACER, str(pid), str(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout is not None
        said = tracer.stdout.readline().strip()
        if said == os.strerror(1):
            pytest.skip("this host lets nobody trace (kernel.yama.ptrace_scope)")
        assert said == "traces"
        yield
        tracer.communicate()


def test_a_worker_that_dies_in_a_debugger_does_not_stop_the_launcher(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    worker = server.workers()[0]
    with traced(worker):
        os.kill(worker, signal.SIGKILL)
        server.wait_for(rf"worker in slot 0 \(pid {worker}\) is gone; .* debugger")
        server.wait_for("slot 0 is ready")
        assert httpx.get(server.url).status_code == 200
        assert [each.pid for each in zombies(server.pid)] == [worker]
    wait_until(lambda: not zombies(server.pid))
    assert server.stop() == 0


def test_a_worker_that_sigkill_does_not_end_is_left_behind(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    worker = server.workers()[0]
    with traced(worker, TRACE_EXIT):
        server.signal(signal.SIGQUIT)
        server.wait_for("ERROR .*worker in slot 0 is not gone 5 s after SIGKILL")
        assert server.wait() == 1
    wait_until(lambda: not psutil.pid_exists(worker))


def test_a_worker_that_sigkill_did_not_end_is_reaped_when_it_is_let_go(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--graceful-timeout", "0s").ready(1)
    worker = server.workers()[0]
    with traced(worker, TRACE_EXIT):
        os.kill(worker, signal.SIGSTOP)
        server.signal(signal.SIGHUP)
        server.wait_for("worker in slot 0 is not gone 5 s after SIGKILL")
        assert httpx.get(server.url).status_code == 200
    wait_until(lambda: not psutil.pid_exists(worker))
    assert server.stop() == 0
