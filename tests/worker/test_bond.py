"""The bond of real processes: a test starts a parent, which starts a child, and kills the parent."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PATIENCE

ROOT = Path(__file__).parents[2]

# The child inherits only the write end of our pipe for its words, and the read end of its parent's life.
PARENT = """
import os, subprocess, sys
alive, life = os.pipe()
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1], str(os.getpid()), str(alive)],
    pass_fds=(alive,),
    stdin=subprocess.DEVNULL,
)
os.write(2, str(child.pid).encode() + b"\\n")
sys.stdin.read()
"""

CHILD = """
import os, sys
from reuseport.worker import bond
launcher, alive = map(int, sys.argv[1:])
bond.tie(launcher)
{more}
os.write(1, b".")
os.read(alive, 1)
# The kernel closes a dying process's descriptors before it sends the death signal (kernel/exit.c, do_exit).
while os.getppid() == launcher:
    pass
os.write(1, b"outlived")
"""


@dataclass
class Family:
    parent: subprocess.Popen[bytes]
    child: int
    """pidfd"""

    def said(self) -> bytes:
        assert self.parent.stdout is not None
        assert select.select([self.parent.stdout], [], [], PATIENCE)[0], "not a word"
        return os.read(self.parent.stdout.fileno(), 100)

    def kill_parent(self) -> None:
        self.parent.kill()
        self.parent.wait(PATIENCE)
        assert select.select([self.child], [], [], PATIENCE)[0], "the child lives on"


@contextlib.contextmanager
def family(more: str = "") -> Iterator[Family]:
    command = [sys.executable, "-c", PARENT, CHILD.format(more=more)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as parent:
        assert parent.stderr is not None
        child = os.pidfd_open(int(parent.stderr.readline()))
        try:
            yield Family(parent, child)
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)
            parent.kill()


def test_a_worker_that_starts_dies_with_its_launcher() -> None:
    with family("import signal\nos.write(1, b'.')\nsignal.pause()") as both:
        assert both.said() == b"."
        both.kill_parent()


def test_not_even_a_worker_that_hangs_in_native_code_survives() -> None:
    with family("os.write(1, b'.')\nimport ctypes\nctypes.PyDLL(None).pause()") as both:
        assert both.said() == b"."
        both.kill_parent()


def test_a_loosened_worker_outlives_its_launcher_and_learns_of_its_end() -> None:
    with family("bond.loosen()") as both:
        assert both.said() == b"."
        both.kill_parent()
        assert both.said() == b"outlived"


def test_a_worker_whose_launcher_is_gone_already_exits_at_once() -> None:
    script = "from reuseport.worker import bond\nbond.tie(2**22 + 1)\nprint('ran on')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize(
    "hang", ["ctypes.CDLL(None).pause()", "select.select([], [], [])", "while True: pass"]
)
def test_a_worker_that_hangs_without_its_launcher_is_ended_and_shows_where(hang: str) -> None:
    more = f"import ctypes, select\nbond.Watch(launcher, 0.05)\nbond.loosen()\nos.write(1, b'.')\n{hang}"
    with family(more) as both:
        assert both.said() == b"."
        both.kill_parent()
        assert both.parent.stderr is not None
        stacks = both.parent.stderr.read()
    assert b"Timeout" in stacks
    assert b'"<string>", line 10 in <module>' in stacks


def test_as_long_as_the_launcher_lives_nobody_is_ended() -> None:
    with family("import select\nbond.Watch(launcher, 0.01)\nbond.loosen()") as both:
        assert both.said() == b"."
        assert not select.select([both.child], [], [], 0.2)[0]
        both.kill_parent()
