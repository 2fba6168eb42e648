"""How soon is a killed worker noticed, and how soon does its slot serve again?

Every slot's worker is killed once, one after the other: the restart after a first loss has no back-off, so
what is left is the launcher's reaction, and the start of an interpreter with the application in it. How long
the latter takes without reuseport is measured between the kills.
Goals: noticed within 20 ms; ready within the application's import time and 200 ms.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import time

import psutil

from bench.kit.measure import Server, announce, reuseport, spread

NOTICED_WITHIN = 0.020
READY_WITHIN = 0.200


def main() -> None:
    """Kill, wait, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.replacement", description=__doc__)
    parser.add_argument("--app", default="reuseport.demo:app", help="application to serve")
    parser.add_argument("--kills", type=int, default=12, help="as many workers are started")
    arguments = parser.parse_args()
    announce(arguments)

    gone, noticed, ready, bare, loaded = [], [], [], [], []
    with reuseport(arguments.kills, arguments.app, "--no-access-log") as server:
        for slot in range(arguments.kills):
            bare.append(seconds_of("pass"))
            loaded.append(seconds_of(f"import uvicorn; uvicorn.Config({arguments.app!r}).load()"))
            ended, told, serving = replace(server, slot)
            gone.append(ended)
            noticed.append(told)
            ready.append(serving)

    imports = [with_app - without for with_app, without in zip(loaded, bare, strict=True)]
    beyond = [serving - importing for serving, importing in zip(ready, imports, strict=True)]
    for text, figures in (
        ("SIGKILL to the end of the process, by a pidfd", gone),
        ("SIGKILL to the launcher's log line", noticed),
        ("SIGKILL to ready again", ready),
        ("a bare interpreter", bare),
        ("import of application and uvicorn, beyond that", imports),
        ("ready again, beyond that import", beyond),
    ):
        print(f"{text:<48} {spread([seconds * 1e3 for seconds in figures], '.1f')} ms")
    within = sum(told <= NOTICED_WITHIN for told in noticed)
    print(f"noticed within {NOTICED_WITHIN * 1e3:.0f} ms: {within} of {len(noticed)}")
    within = sum(extra <= READY_WITHIN for extra in beyond)
    print(f"ready within import + {READY_WITHIN * 1e3:.0f} ms: {within} of {len(beyond)}")


def replace(server: Server, slot: int) -> tuple[float, float, float]:
    """Kill the slot's worker; seconds until it was gone, was reported, was replaced by a ready one."""
    worker = worker_of(server, slot)
    pidfd = os.pidfd_open(worker.pid)
    try:
        at = time.monotonic()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [])
        ended = time.monotonic()
    finally:
        os.close(pidfd)
    told = server.line(rf"worker in slot {slot} \(pid {worker.pid}\) was killed by SIGKILL", since=at)
    serving = server.line(rf"slot {slot} is ready", since=at)
    return ended - at, told.at - at, serving.at - at


def worker_of(server: Server, slot: int) -> psutil.Process:
    """The process that serves a slot; its command line says which."""
    for child in server.children():
        command = child.cmdline()
        if "--slot" in command and command[command.index("--slot") + 1] == str(slot):
            return child
    raise LookupError(f"no worker in slot {slot}")


def seconds_of(code: str) -> float:
    """How long an interpreter takes to start, run `code` and end. Raises CalledProcessError."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
