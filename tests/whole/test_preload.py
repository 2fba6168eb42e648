"""--preload: the application is imported once a generation and forked by the mold; or it is said why not."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import Launch, Launched, survivors
from tests.whole.clients import client, meet_all
from tests.whole.lines import settled, wait_until
from tests.whole.reachable import reachable
from tests.whole.traffic import wait_for_lines

PRELOAD = ("--mold", "--preload", "--log-level", "debug")

HEAD = """
import json, os, random, sys
print(f"imported {os.getpid()}\\n", end="", flush=True)  # in one piece, where others write, too
print("and not flushed")
"""
SERVES = """
def told():
    return {}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind.endswith("shutdown"):
                return
    said = {"slot": os.environ["REUSEPORT_SLOT"], "pid": os.getpid(), **told()}
    body = json.dumps(said).encode()
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
"""


class Shop:
    """The application's file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "shop.py"

    def write(self, code: str = "", told: str = "") -> None:
        """`code` at import; `told`, an expression, is in each answer. A second file of one size and second is
        another to the import system only by its time."""
        text = HEAD + SERVES.replace("return {}", f"return {told or '{}'}") + code
        self._file.write_text(text, encoding="utf-8")
        now = time.time_ns()
        os.utime(self._file, ns=(now, now))
        for compiled in self.directory.glob("__pycache__/shop.*"):
            compiled.unlink()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.write()
    return made


def serve(launch: Launch, shop: Shop, *flags: str, workers: int = 2, **more: Any) -> Launched:
    arguments = ("shop:app", "--app-dir", str(shop.directory), "--workers", str(workers))
    return launch(*arguments, *PRELOAD, *flags, **more)


def asked(server: Launched, workers: int = 2) -> dict[int, Any]:
    with client() as asking:
        return dict(meet_all(asking, server.url, workers))


# ── what is imported, when, and by whom ───────────────────────────────────────────────────────────────────


def test_it_is_imported_once_a_generation_and_by_the_mold(launch: Launch, shop: Shop) -> None:
    server = serve(launch, shop).ready(2)
    (mold,) = server.molds()
    assert [line for line in server.lines if "imported" in line] == [f"imported {mold.pid}"]
    assert server.count("and not flushed") == 1
    before = asked(server)
    assert len({answer["pid"] for answer in before.values()} | {mold.pid}) == 3
    os.kill(before[0]["pid"], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    settled(server, 2)
    assert server.count("^imported") == 2
    assert server.stop() == 0


def test_a_flag_without_a_value_takes_none_from_the_next_word(launch: Launch, shop: Shop) -> None:
    server = launch("--preload", "shop:app", "--mold", "--app-dir", str(shop.directory)).ready(1)
    assert server.count("^imported") == 1
    assert server.stop() == 0


def test_a_factory_is_called_once(launch: Launch, shop: Shop) -> None:
    shop.write("def make():\n    print('made', flush=True)\n    return app\n")
    server = launch("shop:make", "--factory", "--app-dir", str(shop.directory), "-w", "2", *PRELOAD).ready(2)
    wait_until(lambda: server.count("^made") == 1)
    asked(server)
    assert server.stop() == 0


def test_what_it_has_done_at_import_holds_in_its_workers(launch: Launch, shop: Shop) -> None:
    shop.write(
        "import gc, logging, signal\n"
        "gc.disable()\n"
        "sys.path.append('/of/the/application')\n"
        "sys.argv[1:] = ['changed']\n"
        "signal.signal(signal.SIGUSR2, lambda *_: None)\n"
        "logging.basicConfig(format='mine %(place)s %(message)s', stream=sys.stdout, level=logging.INFO)\n"
        "logging.info('said at import')\n",
        "{'gc': gc.isenabled(), 'path': sys.path[-1], 'argv': sys.argv[1:], 'said': logging.info('asked'),"
        " 'handler': signal.getsignal(signal.SIGUSR2).__name__,"
        " 'mask': [s.name for s in signal.pthread_sigmask(signal.SIG_BLOCK, ())]}",
    )
    server = serve(launch, shop).ready(2)
    for slot, answer in asked(server).items():
        assert not answer["gc"]
        assert answer["path"] == "/of/the/application"
        assert answer["argv"] == ["changed"]
        assert answer["handler"] == "<lambda>"
        assert answer["mask"] == []
        server.wait_for_first(f"mine slot {slot} asked")
    assert server.count("mine mold said at import") == 1
    assert server.stop() == 0


def test_each_access_line_and_each_record_names_its_worker(launch: Launch, shop: Shop) -> None:
    server = serve(launch, shop, "--log-format", "json").ready(2)
    for slot, answer in asked(server).items():
        wait_until(
            lambda slot=slot, pid=answer["pid"]: any(  # type: ignore[misc]
                (line["slot"], line["pid"]) == (str(slot), pid)
                for line in map(json.loads, (line for line in server.lines if '"status": 200' in line))
            ),
            lambda: server.output,
        )
    assert server.stop() == 0


def test_the_mold_is_the_user(launch: Launch) -> None:
    server = launch("plain:app", "--user", "nobody", *PRELOAD, wrapper=reachable()).ready(1)
    (mold,) = server.molds()
    assert mold.uids().effective != 0
    assert {psutil.Process(pid).uids() for pid in server.workers().values()} == {mold.uids()}
    assert server.stop() == 0


# ── what each worker has of its own ───────────────────────────────────────────────────────────────────────


def test_random_numbers_are_as_the_standard_library_has_them_after_a_fork(launch: Launch, shop: Shop) -> None:
    """random is seeded anew, what the kernel and OpenSSL give differs; one's own generator is copied."""
    shop.write(
        "import secrets, ssl, uuid\nrandom.seed(1)\nown = random.Random(1)\n",
        "{'new': [random.random(), secrets.token_hex(), ssl.RAND_bytes(8).hex(), str(uuid.uuid4())],"
        " 'own': own.random(), 'hash': hash('seed')}",
    )
    server = serve(launch, shop, "--no-rebalance").ready(2)
    first = {slot: httpx.get(server.url).json() for slot in range(1)}  # whoever it is has drawn once more
    answers = asked(server)
    drawn = [value for answer in (*first.values(), *answers.values()) for value in answer["new"]]
    assert len(set(drawn)) == len(drawn)
    assert len({answer["hash"] for answer in answers.values()}) == 1
    assert server.stop() == 0


def test_hooks_of_a_fork_are_called(launch: Launch, shop: Shop) -> None:
    shop.write(
        "called = []\n"
        "os.register_at_fork(before=lambda: called.append('before'),"
        " after_in_child=lambda: called.append('child'), after_in_parent=lambda: called.append('parent'))\n",
        "{'called': called[-2:]}",
    )
    server = serve(launch, shop).ready(2)
    assert all(answer["called"] == ["before", "child"] for answer in asked(server).values())
    assert server.stop() == 0


@pytest.mark.parametrize("hangs", ["in between", "the worker"])
def test_nothing_is_left_of_a_fork_that_hangs(launch: Launch, shop: Shop, hangs: str) -> None:
    number = 1 if hangs == "in between" else 2
    shop.write(
        f"""
import time
forks = []
def forked():
    forks.append(1)
    if len(forks) == {number}:
        time.sleep(1000)
os.register_at_fork(after_in_child=forked)
"""
    )
    server = launch("shop:app", *PRELOAD, "--app-dir", str(shop.directory), "--startup-timeout", "2s")
    server.wait_for("giving up")
    wait_until(lambda: survivors(server.pid) == [], lambda: str(survivors(server.pid)))
    assert server.wait() == 3


def test_a_fork_that_ends_at_once_is_told_as_that(launch: Launch, shop: Shop) -> None:
    shop.write("os.register_at_fork(after_in_child=lambda: os._exit(1))")
    server = launch("shop:app", *PRELOAD, "--app-dir", str(shop.directory))
    server.wait_for("the mold of generation 1 cannot fork: .*it ended at once")
    server.ready(1)
    assert server.stop() == 0


def test_each_has_its_loop_lifespan_process_and_place(launch: Launch, shop: Shop) -> None:
    shop.write(
        "import asyncio, multiprocessing, threading\nlock = asyncio.Lock()\n",
        "{'loop': id(asyncio.get_running_loop()), 'threads': threading.active_count(),"
        " 'name': multiprocessing.current_process().name, 'parent': multiprocessing.parent_process().pid,"
        " 'generation': os.environ['REUSEPORT_GENERATION']}",
    )
    server = serve(launch, shop).ready(2)
    for slot, answer in asked(server).items():
        assert answer["name"] == f"SpawnProcess-{slot + 1}"
        assert answer["parent"] == server.pid
        assert answer["generation"] == "1"
    assert server.count("Application startup complete") == 2
    assert server.stop() == 0


def test_a_worker_has_no_descriptor_more_than_one_that_is_executed(launch: Launch, shop: Shop) -> None:
    def kinds(*flags: str) -> list[str]:
        arguments = ("shop:app", "--app-dir", str(shop.directory), "--workers", "1", *flags)
        server = launch(*arguments, "--no-control").ready(1)
        pid = server.workers()[0]
        links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert server.stop() == 0
        return sorted(re.sub(r":?\[?\d+\]?$|(?<=^/proc/)\d+(?=/)", "", link) for link in links)

    assert kinds("--mold", "--preload") == kinds("--no-mold")


def test_prometheus_counts_in_files_of_each_worker(launch: Launch, shop: Shop, tmp_path: Path) -> None:
    shop.write(
        "from prometheus_client import Counter\ncounted = Counter('asked', 'x')\n", "{'n': counted.inc()}"
    )
    directory = tmp_path / "metrics"
    directory.mkdir()
    server = serve(launch, shop, env={"PROMETHEUS_MULTIPROC_DIR": str(directory)}).ready(2)
    pids = {answer["pid"] for answer in asked(server).values()}
    assert pids <= {int(path.stem.rpartition("_")[2]) for path in directory.glob("counter_*.db")}
    assert server.stop() == 0


# ── what cannot be shared ─────────────────────────────────────────────────────────────────────────────────

BEE = "import threading, time\nthreading.Thread(None, time.sleep, 'bee', [99], daemon=True).start()\n"


def test_what_cannot_be_shared_is_a_failed_start(launch: Launch, shop: Shop) -> None:
    shop.write(BEE)
    server = serve(launch, shop)
    assert server.wait() == 3
    assert server.count(r"could not start: APP 'shop:app' cannot be shared") == 1
    assert server.count(r"  a thread, 'bee' of time\.sleep") == 1
    assert server.count("for the same reason") == 1
    assert server.count("^imported") == 1


def test_who_only_tries_is_told_once_and_served(launch: Launch, shop: Shop) -> None:
    shop.write(BEE)
    server = serve(launch, shop, "--preload=try").ready(2)
    said = "--preload=try: workers import the application by themselves: APP .* cannot be shared"
    assert server.count(said) == 1
    wait_for_lines(server, "^imported", 3)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert server.count(said) == 1
    assert len(server.molds()) == 1
    assert server.stop() == 0
    assert server.count("^imported") == 4


def test_there_is_no_event_loop_to_begin_with(launch: Launch, shop: Shop) -> None:
    shop.write("import asyncio\nasync def beat(): ...\ntask = beat()\ntry:\n    asyncio.create_task(task)\n"
               "finally:\n    task.close()\n")  # fmt: skip
    server = serve(launch, shop)
    assert server.wait() == 3
    assert server.count("RuntimeError: no running event loop") == 1
    assert server.count("With --preload the application is imported before there is an event loop") == 1
    server = serve(launch, shop, "--preload=try").ready(2)
    assert server.stop() == 0


def test_a_reload_to_what_cannot_be_shared_is_aborted(launch: Launch, shop: Shop) -> None:
    server = serve(launch, shop).ready(2)
    (old,) = server.molds()
    shop.write(BEE)
    server.signal(signal.SIGHUP)
    server.wait_for("cannot be shared")
    server.wait_for("reload to generation 2 aborted.*generation 1 keeps serving")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert [mold.pid for mold in server.molds()] == [old.pid]
    assert server.count("^imported") == 2
    shop.write()
    server.signal(signal.SIGHUP)
    server.wait_for("generation 3 serves in every slot")
    assert server.stop() == 0


# ── imports that fail, hang, or die ───────────────────────────────────────────────────────────────────────


def test_a_broken_import_is_told_as_a_workers(launch: Launch, shop: Shop) -> None:
    shop.write("raise RuntimeError('not today')\n")
    server = serve(launch, shop)
    assert server.wait() == 3
    assert server.count("RuntimeError: not today") == 1
    assert server.count("worker in slot . could not start: Traceback") == 1


def test_a_name_that_leads_nowhere_is_the_operators(launch: Launch, shop: Shop) -> None:
    server = launch("shop:nothing", "--app-dir", str(shop.directory), *PRELOAD)
    assert server.wait() == 2
    assert server.count("module 'shop' has no 'nothing'") == 1


def test_an_import_that_hangs_has_the_startup_timeout(launch: Launch, shop: Shop) -> None:
    shop.write("import time\nprint('hangs', flush=True)\ntime.sleep(600)\n")
    server = serve(launch, shop, "--startup-timeout", "2s", workers=1)
    server.wait_for("hangs")
    server.wait_for("worker in slot 0 was not ready within 2 s")
    assert server.wait() == 3


def test_a_later_mold_whose_import_hangs_leaves_it_to_workers(launch: Launch, shop: Shop) -> None:
    server = serve(launch, shop, "--startup-timeout", "2s").ready(2)
    shop.write("import time\nif 'REUSEPORT_SLOT' not in os.environ:\n    time.sleep(600)\n")
    server.molds()[0].kill()
    wait_until(lambda: len(server.molds()) == 1)
    server.wait_for("the mold of generation 1 is gone")
    wait_until(lambda: server.count("^imported") == 2, lambda: server.output)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for("the mold of generation 1 is killed: it has not imported the application in time")
    server.wait_for_first(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert server.stop() == 0


def test_a_mold_that_dies_while_it_imports_leaves_it_to_workers(launch: Launch, shop: Shop) -> None:
    shop.write("if 'REUSEPORT_SLOT' not in os.environ:\n    os.kill(os.getpid(), 9)\n")
    server = serve(launch, shop).ready(2)
    server.wait_for_first("the mold of generation 1 is gone, with status -9; workers are executed afresh")
    asked(server)
    assert server.stop() == 0


def test_a_mold_that_is_lost_later_takes_no_worker_with_it(launch: Launch, shop: Shop) -> None:
    """And what is on the disk by then, and is no good, hurts only who must be started."""
    server = serve(launch, shop).ready(2)
    before = server.workers()
    shop.write("raise RuntimeError('not today')\n")
    server.molds()[0].kill()
    server.wait_for("the mold of generation 1 has failed: Traceback")
    assert server.workers() == before
    os.kill(before[0], signal.SIGKILL)
    server.wait_for("worker in slot 0 could not start: Traceback")
    shop.write()
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert server.workers()[1] == before[1]
    assert server.stop() == 0


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────


def proportional(server: Launched) -> int:
    """Bytes of all processes, each shared page once (proc_pid_smaps(5))."""
    # And of no other child: one through which a worker was forked may be about to go.
    processes = [*map(psutil.Process, (server.pid, *server.workers().values())), *server.molds()]
    return sum(process.memory_full_info().pss for process in processes)


def test_a_reload_frees_what_the_old_code_held(launch: Launch, shop: Shop) -> None:
    shop.write("ballast = [str(number) * 8 for number in range(100_000)]\n")  # 8 MiB or so
    server = serve(launch, shop, "--lifespan", "off").ready(2)
    measured = []
    for generation in range(2, 7):
        server.signal(signal.SIGHUP)
        server.wait_for(f"generation {generation} serves in every slot")
        settled(server, 2)
        wait_until(lambda: len(server.molds()) == 1)
        measured.append(proportional(server))
    assert measured[-1] - measured[0] < 4 * 2**20, measured
    assert server.stop() == 0


def test_workers_share_the_application(launch: Launch, shop: Shop) -> None:
    shop.write("ballast = b'x' * 2**27\n")
    server = serve(launch, shop, workers=4).ready(4)
    assert proportional(server) < 2 * 2**27
    assert server.stop() == 0


def test_without_a_mold_there_is_nothing_to_share_it_by(launch: Launch) -> None:
    server = launch("plain:app", "--preload", "--no-mold")
    assert server.wait() == 2
    assert server.lines == ["Error: --preload shares the application by a mold: leave out --no-mold"]
