"""Lines on their way into files and pipes, real ones: full, closed, slow, and shared by several writers."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from reuseport.worker.protocol.output import MOST_WAITING, UNLIMITED, Output

ROOT = Path(__file__).parents[3]
LINE = b"x" * 99 + b"\n"


@contextlib.contextmanager
def output_to(fd: int) -> Iterator[Output]:
    """To a descriptor, which is closed afterwards."""
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        yield Output(logging.StreamHandler(stream))


@contextlib.contextmanager
def pipe(flags: int = 0) -> Iterator[tuple[int, Output]]:
    """Its reading end, and an output into it."""
    reading, writing = os.pipe2(os.O_CLOEXEC | flags)
    with output_to(writing) as output:
        yield reading, output
    with contextlib.suppress(OSError):
        os.close(reading)  # unless the test has


def writes() -> int:
    """How many write system calls this process has made (proc_pid_io(5))."""
    for row in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        name, number = row.split(": ")
        if name == "syscw":
            return int(number)
    raise AssertionError


def everything(fd: int) -> bytes:
    """What can be read now."""
    os.set_blocking(fd, False)
    read = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(fd, 1 << 16):
            read += piece
    return read


def packets_in(reading: int) -> Iterator[bytes]:
    """What each write has made, of a pipe in packet mode."""
    os.set_blocking(reading, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            yield os.read(reading, 1 << 16)


def waits(output: Output) -> bool:
    """A function, because it changes between two looks."""
    return output.waiting


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_file_is_written_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with output_to(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)) as output:
        assert output.longest == UNLIMITED
        before = writes()
        output.write(LINE * 10_000)
        assert writes() == before + 1
        assert not waits(output)
    assert path.read_bytes() == LINE * 10_000


def test_a_pipe_gets_whole_lines_in_pieces_that_the_kernel_keeps_together() -> None:
    lines = [bytes([65 + number % 26]) * (number * 37 % 4000) + b"\n" for number in range(200)]
    with pipe(os.O_DIRECT) as (reading, output):  # each write is a packet of its own (pipe(2))
        for first in range(0, 200, 10):
            output.write(b"".join(lines[first : first + 10]))
            packets = list(packets_in(reading))
            assert b"".join(packets) == b"".join(lines[first : first + 10])
            assert all(packet.endswith(b"\n") and len(packet) <= select.PIPE_BUF for packet in packets)
            # As few as possible: another line would not have fitted.
            for packet, after in itertools.pairwise(packets):
                assert len(packet) + after.index(b"\n") + 1 > select.PIPE_BUF


WRITER = """
import logging, os, sys
from reuseport.worker.protocol.output import Output
name = sys.argv[1].encode()
output = Output(logging.StreamHandler(sys.stdout))
for number in range(300):
    output.write(b"".join(name * (number * size % 3000) + b"%d\\n" % number for size in range(1, 9)))
"""


def test_lines_of_several_workers_do_not_mix_in_a_pipe() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # so that writers have to wait for each other
    command = [sys.executable, "-c", WRITER]
    writers = [subprocess.Popen([*command, name], stdout=writing, cwd=ROOT) for name in "abcd"]
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        lines = stream.read().splitlines()
    assert [writer.wait() for writer in writers] == [0] * 4
    for name in "abcd":
        own = [line for line in lines if line.startswith(name.encode())]
        assert all(set(line.decode().rstrip("0123456789")) == {name} for line in own)
    bare = [line for line in lines if line.isdigit()]
    assert len(lines) == 4 * 300 * 8
    assert len(bare) == 4 * sum(number * size % 3000 == 0 for number in range(300) for size in range(1, 9))


# ── who does not take it ──────────────────────────────────────────────────────────────────────────────


def test_a_slow_reader_gets_everything_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with pipe(os.O_NONBLOCK) as (reading, output):
        lines = b"".join(b"%06d " % number + LINE for number in range(5000))
        output.write(lines)
        read = b""
        assert waits(output)
        while waits(output):
            read += everything(reading)
            output.write(b"")
        assert read + everything(reading) == lines
    assert reports(caplog) == []


def test_what_waits_is_bounded_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with pipe(os.O_NONBLOCK) as (reading, output):
        batch = LINE * 100
        for _ in range(2 * MOST_WAITING // len(batch)):
            output.write(batch)
        assert len(output._waiting) <= MOST_WAITING + len(batch)
        assert reports(caplog) == ["lines of the access log are lost: nobody reads it"]
        read = 0
        while waits(output):
            read += everything(reading).count(b"\n")
            output.write(b"")
        read += everything(reading).count(b"\n")
        lost = 2 * MOST_WAITING // len(batch) * 100 - read
        assert lost > 0
        assert reports(caplog)[1:] == [f"the access log is written again; lines lost: {lost}"]


READER = [
    sys.executable,
    "-c",
    "import sys; print('reads', flush=True); print(len(sys.stdin.buffer.read(100_000)), end='')",
]


def test_the_end_waits_for_a_slow_reader_and_gives_up_in_time(caplog: pytest.LogCaptureFixture) -> None:
    with pipe(os.O_NONBLOCK) as (reading, output):
        output.write(LINE * 5000)
        output.end()
        assert not waits(output)
        assert reports(caplog) == ["lines of the access log are lost: nobody reads it"]
        everything(reading)
        os.set_blocking(reading, True)
        with subprocess.Popen(READER, stdin=reading, stdout=subprocess.PIPE) as reader:
            try:
                assert reader.stdout is not None
                assert reader.stdout.readline() == b"reads\n"
                output.write(LINE * 1000)  # more than a pipe holds
                output.end()
                assert not waits(output)
                assert "written again" in reports(caplog)[-1]
                assert reader.stdout.read() == b"100000"
            finally:
                reader.kill()
    assert len(reports(caplog)) == 2


def test_a_reader_that_is_gone_costs_lines_and_one_word(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    path = tmp_path / "log"
    with os.fdopen(writing, "w", encoding="utf-8") as stream, path.open("a", encoding="utf-8") as other:
        handler: logging.StreamHandler[IO[str]] = logging.StreamHandler(stream)
        output = Output(handler)
        for _ in range(3):
            output.write(LINE * 2)
        assert reports(caplog) == ["lines of the access log are lost: [Errno 32] Broken pipe"]
        handler.setStream(other)
        output.write(LINE)
        assert reports(caplog)[1:] == ["the access log is written again; lines lost: 6"]
    assert path.read_bytes() == LINE


def test_a_full_disk_and_a_closed_stream(caplog: pytest.LogCaptureFixture) -> None:
    with output_to(os.open("/dev/full", os.O_WRONLY)) as output:
        output.write(LINE)
        output.write(LINE)
    assert reports(caplog) == ["lines of the access log are lost: [Errno 28] No space left on device"]
    output.write(LINE)
    assert len(reports(caplog)) == 1


def test_half_a_line_on_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    script = """
import logging, resource, signal, sys
from reuseport.worker.protocol.output import Output
line = b"x" * 99 + b"\\n"
output = Output(logging.StreamHandler(open(sys.argv[1], "a")))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (250, most))
output.write(line * 4)
output.write(line)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
output.write(line * 2)
"""
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert path.read_bytes() == LINE * 2 + LINE[:50] + b"\n" + LINE * 2
    assert done.stderr.splitlines()[:1] == ["lines of the access log are lost: [Errno 27] File too large"]
