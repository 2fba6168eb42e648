"""What is found out before a process is forked, each in an interpreter of its own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import PATIENCE

SOCKETS = "import socket; l = socket.create_server(('127.0.0.1', 0)); "

FOUND = {
    "import threading, time; threading.Thread(None, time.sleep, 'bee', [9], daemon=True).start()": (
        r"a thread, 'bee' of time\.sleep"
    ),
    "import threading\nclass Bee(threading.Thread):\n def run(self): threading.Event().wait()\n"
    "Bee(daemon=True).start()": r"a thread, 'Thread-1' of __main__\.Bee",
    "from concurrent.futures import ThreadPoolExecutor; p = ThreadPoolExecutor(1); p.submit(int)": (
        r"a thread, 'ThreadPoolExecutor-0_0' of concurrent\.futures\.thread\._worker"
    ),
    "import _thread, time; _thread.start_new_thread(time.sleep, (9,))": "1 thread of native code",
    "import asyncio; loop = asyncio.new_event_loop()": r"an event loop, asyncio\.unix_events\._Unix",
    "import uvloop; loop = uvloop.new_event_loop()": r"an event loop, uvloop\.Loop",
    "import asyncio; loop = asyncio.new_event_loop()\nasync def beat(): ...\nt = loop.create_task(beat())": (
        "a task of that event loop, beat"
    ),
    SOCKETS: r"a listening socket, AF_INET stream at 127\.0\.0\.1:\d+ \(descriptor \d+\)",
    SOCKETS + "c = socket.create_connection(l.getsockname())": (
        r"a connection, AF_INET stream to 127\.0\.0\.1:\d+ \(descriptor \d+\)"
    ),
    "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)": "a socket, AF_INET6 dgram",
    "import socket; a, b = socket.socketpair()": "a connection, AF_UNIX stream to a nameless one",
    "import os; r, w = os.pipe()": r"a pipe, pipe:\[\d+\]",
    "import select; p = select.epoll()": r"a descriptor of the kernel's, \[eventpoll\]",
    "import sqlite3; c = sqlite3.connect('/tmp/obstacle.db'); c.execute('create table if not exists t(a)')": (
        "a connection to a SQLite database, /tmp/obstacle.db"
    ),
    "import tempfile; f = tempfile.TemporaryFile()": "a file open to write, /tmp/",
    "import os; f = os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)": "a device, /dev/",
    "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)": (
        r"a child process, python\S* \(pid \d+\)"
    ),
}

SHARED = (
    "f = open('/tmp/reuseport-shared.log', 'a')",
    "f = open('/etc/passwd')",
    "f = open('/dev/null', 'w'); g = open('/dev/urandom', 'rb')",
    "import os; f = os.memfd_create('shared'); d = os.open('/', os.O_RDONLY | os.O_DIRECTORY)",
    "import mmap; m = mmap.mmap(-1, 4096)",
    "import asyncio; lock = asyncio.Lock(); asyncio.run(asyncio.sleep(0))",
    "import threading; t = threading.Thread(target=int); t.start(); t.join()",
    "import subprocess; subprocess.run(['true'])",
    "import numpy; numpy.ones((300, 300)) @ numpy.ones((300, 300))",
)

PROGRAM = """
from reuseport.mold import obstacles
known = obstacles.descriptors()
{code}
print(*obstacles.found(known), sep='\\n')
"""


def found_by(code: str) -> str:
    """What is said after this was executed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=code)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", FOUND, ids=FOUND.get)
def test_what_two_processes_cannot_have_is_called_by_its_name(code: str) -> None:
    assert re.search(FOUND[code], found_by(code)), found_by(code)


@pytest.mark.parametrize("code", SHARED)
def test_what_they_can_have_is_no_obstacle(code: str) -> None:
    assert found_by(code).strip() == ""


def test_an_exporter_in_batches_is_a_thread() -> None:
    said = found_by(
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter\n"
        "processor = BatchSpanProcessor(ConsoleSpanExporter())"
    )
    assert re.search(r"a thread, 'OtelBatchSpanRecordProcessor' of opentelemetry\.sdk\..*\.worker", said), (
        said
    )
