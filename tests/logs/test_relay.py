"""The launcher's log when nobody takes its lines. Each test in a process of its own: set up is for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PRELUDE = """
import fcntl, logging, os, sys, threading, time
from reuseport import logs
from reuseport.logs import relay as room
from reuseport.settings.table import Settings

log = logging.getLogger("reuseport")
reading, writing = os.pipe()
fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)

def stall():
    "From now on nobody takes what is written to stderr."
    os.write(writing, b"." * 4095 + b"\\n")
    kept = os.dup(2)
    os.dup2(writing, 2)
    return kept

def flow(until):
    "Read what was written, to a text that is in it."
    found = b""
    while until.encode() not in found:
        found += os.read(reading, 4096)
    return found.decode().replace(".", "").splitlines()

logs.configure(Settings(), logs.LAUNCHER)
"""


def run(script: str) -> tuple[str, str]:
    """What it prints to stdout and to stderr, when it ends with status 0 in time."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PRELUDE + script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_lines_come_in_their_order_and_all_before_the_end() -> None:
    _, err = run("""
with logs.relayed() as relay:
    log.info("before it begins")
    relay.begin()
    for number in range(500):
        log.info("line %d", number)
    logging.getLogger("of.somebody.else").warning("by nobody's handler")
""")
    said = [line.split(": ", 1)[1] for line in err.splitlines()]
    assert said == ["before it begins", *(f"line {number}" for number in range(500)), "by nobody's handler"]


def test_what_was_said_before_a_refusal_is_written() -> None:
    _, err = run("""
try:
    with logs.relayed():
        log.info("as far as that")
        raise RuntimeError
except RuntimeError:
    pass
""")
    assert err.endswith("launcher: as far as that\n")


def test_what_finds_no_room_is_dropped_and_counted_once() -> None:
    run("""
relay = logs.Relay(room=20_000)
relay.stand_before_all_handlers()
relay.begin()
stall()
for number in range(1000):
    log.info("line %d", number)
log.error("matters")
lines = flow("that were dropped")
kept = [line for line in lines if ": line " in line]
assert 20 < len(kept) < 60, kept
assert [line.split(": ")[1] for line in kept] == [f"line {number}" for number in range(len(kept))]
assert any(line.endswith("launcher: matters") for line in lines)
(said,) = (line for line in lines if "dropped" in line)
assert said.endswith(f"WARNING  launcher: lines of the log that were dropped, because nobody took them: "
                     f"{1000 - len(kept)}"), said
log.info("again")
assert not any("dropped" in line for line in flow("again"))
""")


@pytest.mark.parametrize(
    "handler",
    [
        "logging.getLogger('reuseport').handlers[0]",
        "logging.StreamHandler(open(os.dup(writing), 'w'))",
        "logging.FileHandler(f'/proc/self/fd/{writing}')",
        "Patient()",
    ],
    ids=["ours", "of a stream with a buffer", "of a file", "that keeps its lock"],
)
def test_the_end_does_not_wait_for_who_takes_nothing(handler: str) -> None:
    run(f"""
class Patient(logging.Handler):
    def emit(self, record):
        with self.lock:
            threading.Event().wait()

logging.getLogger("reuseport").handlers = [{handler}]
stall()
began = time.monotonic()
with logs.relayed() as relay:
    relay.begin()
    log.error("nobody will know")
    log.error("of these")
assert time.monotonic() - began < room.LAST_PATIENCE + 10
log.error("nor of what comes afterwards")
""")


def test_a_filter_that_fails_is_told_and_the_next_line_comes() -> None:
    _, err = run("""
def fussy(record):
    if record.msg == "odd":
        raise RuntimeError("of the filter")
    return True

log.handlers[0].addFilter(fussy)
with logs.relayed() as relay:
    relay.begin()
    log.info("odd")
    log.info("too few: %s %s", 1)
    log.info("even")
""")
    assert "RuntimeError: of the filter" in err
    assert "not enough arguments for format string" in err
    assert err.endswith("launcher: even\n")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a filter only says yes or no")
def test_a_filter_may_give_another_record() -> None:
    _, err = run("""
def other(record):
    return logging.makeLogRecord({**vars(record), "msg": "another"})

log.handlers[0].addFilter(other)
with logs.relayed() as relay:
    relay.begin()
    log.info("one")
""")
    assert err.endswith("launcher: another\n")


def test_a_descriptor_that_somebody_made_non_blocking() -> None:
    """As the terminal's may be: it is so for all who have it."""
    run("""
os.set_blocking(writing, False)
kept = stall()
with logs.relayed() as relay:
    relay.begin()
    log.info("late")
    log.info("x" * 9000)
    lines = flow("xxxx\\n")
assert lines[1].endswith("launcher: late"), lines[:2]
assert lines[2].endswith("x" * 9000)
""")
