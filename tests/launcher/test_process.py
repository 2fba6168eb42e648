"""One worker process in the launcher's hands: signals while it starts, what it inherits, how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reuseport.launcher.deciding.events import Reason, Spawn
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.process import Process
from reuseport.messages import Failed
from reuseport.signals import GROUP_SIGNALS
from tests.conftest import PATIENCE
from tests.whole.lines import wait_until

# Python 3.12 warns of every fork of who has threads; what the copy must not do therefore is in `execution`.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SPAWN = Spawn(worker=1, slot=3, desk=0, generation=7, reason=Reason.START)


@contextlib.contextmanager
def started(environment: dict[str, str] | None = None) -> Iterator[Process]:
    """A worker that waits for its Start message; it is ended if the test has not done so."""
    process = Process.start(SPAWN, {**os.environ, **(environment or {})})
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)
        process.reap()
        process.close()


def wait_executed(process: Process) -> None:
    """Until then it is a copy of ourselves."""
    wait_until(lambda: b"reuseport.worker" in Path(f"/proc/{process.pid}/cmdline").read_bytes())


def wait_gone(process: Process) -> None:
    readable, _, _ = select.select([process.pidfd], [], [], PATIENCE)
    assert readable, "it lives on"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def links(pid: int | str) -> set[str]:
    """What the descriptors of a process are."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we looked
            found.add(str(entry.readlink()))
    return found


@pytest.mark.parametrize("number", sorted(GROUP_SIGNALS), ids=lambda number: signal.Signals(number).name)
def test_a_signal_to_the_whole_group_does_not_end_a_worker_that_starts(number: signal.Signals) -> None:
    with started() as process:
        for _ in range(100):  # all the way through the start of the interpreter
            signal.pidfd_send_signal(process.pidfd, number)
            if select.select([process.pidfd], [], [], 0.002)[0]:
                break
        process.channel.close()
        wait_gone(process)
        assert process.reap() == 0


def test_the_launchers_own_mask_is_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with started():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_the_environment_is_handed_on_without_what_is_the_launchers() -> None:
    given = {
        "TEST_OF_OURS": "kept",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDNAMES": "http",
        "REUSEPORT_SLOT": "99",
    }
    with started(given) as process:
        wait_executed(process)
        content = b""
        # Still empty for an instant: execve(2) closes descriptors before it lays out the new stack.
        while not content:
            content = Path(f"/proc/{process.pid}/environ").read_bytes()
    pairs = content.decode().rstrip("\0").split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs)
    assert environment["TEST_OF_OURS"] == "kept"
    assert environment["REUSEPORT_SLOT"] == "3"
    assert environment["REUSEPORT_GENERATION"] == "7"
    assert not [name for name in environment if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]


def test_it_inherits_one_end_of_its_channel_and_nothing_else() -> None:
    read_end, write_end = os.pipe()
    try:
        os.set_inheritable(read_end, True)
        ours = links("self")
        with started() as first, started() as second:
            wait_executed(first)
            wait_executed(second)
            sockets = [
                {link for link in links(pid) if link.startswith("socket:")} for pid in (first.pid, second.pid)
            ]
            assert all(len(found - ours) == 1 for found in sockets)
            assert sockets[0] != sockets[1]
            pipe_of_ours = str(Path(f"/proc/self/fd/{read_end}").readlink())
            assert pipe_of_ours not in links(first.pid)
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_status_is_the_signal_that_ended_it(number: signal.Signals) -> None:
    with started() as process:
        process.end(number)
        assert process.ended_with is number
        wait_gone(process)
        assert process.reap() == -number


def test_its_end_is_seen_before_it_is_reaped_and_ending_it_again_is_harmless() -> None:
    with started() as process:
        process.end(signal.SIGKILL)
        wait_gone(process)
        process.end(signal.SIGTERM)  # a zombie
        assert process.reap() == -signal.SIGKILL
        process.end(signal.SIGTERM)  # nobody, though the pid may be somebody's by now
        assert process.reap() == -signal.SIGKILL


def test_no_descriptor_is_left_behind() -> None:
    before = descriptors()
    for _ in range(3):
        with started():
            assert descriptors() == before + 3  # pidfd, channel, and the file for its stacks
    assert descriptors() == before


def says_why_not(process: Process, words: str) -> None:
    """It was not executed: it says so and ends, and nothing is left of it."""
    try:
        wait_gone(process)
        ((message, _),) = process.channel.receive()
        assert isinstance(message, Failed)
        assert message.blame == "operator"
        assert re.search(words, message.text), message.text
        assert process.reap() == 3
    finally:
        process.close()


def test_what_cannot_be_executed_says_so_and_leaves_nothing_behind() -> None:
    before = descriptors()
    too_long = {"TEST_TOO_LONG": "x" * 2**22}
    says_why_not(Process.start(SPAWN, too_long), "Argument list too long")
    assert descriptors() == before


def test_an_interpreter_closed_to_the_workers_user_is_named_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    python = tmp_path / "python"  # the tests' directories are closed to others
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    before = descriptors()
    process = Process.start(SPAWN, os.environ, Identity(54321, 54321, (), "x"))
    says_why_not(process, f"^{python} does not run as user x .*: Permission denied; open it")
    assert descriptors() == before


OF_ANOTHER = """
import os, signal, subprocess
from reuseport.launcher.execution import Execution

other = subprocess.Popen(["sleep", "60"])
execution = Execution(other.pid)
os.setresuid(65534, 65534, 0)
execution.send(signal.SIGTERM)
os.seteuid(0)
assert other.poll() is None
other.kill()
other.wait()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_has_become_another_user_is_no_defect() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OF_ANOTHER],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
