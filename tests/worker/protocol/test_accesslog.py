"""Who writes an access line, what it says, and when. Each test logs from a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

PRELUDE = """
import asyncio, logging, os, sys
from reuseport import logs
from reuseport.settings.table import Settings
from reuseport.worker.protocol.accesslog import begin_access_log

place = logs.worker(3, 7)
settings = Settings(**json.loads(sys.argv[1]))
logs.configure(settings, place)
access_log = begin_access_log(settings, place)
logger = logging.getLogger("uvicorn.access")

def say(target, path="/a", client="1.2.3.4:5", method="GET", version="1.1", status=200):
    target.info('%s - "%s %s HTTP/%s" %d', client, method, path, version, status)
"""


def run(script: str, *arguments: str, **settings: Any) -> list[str]:
    """Lines on stdout; nothing may come on stderr."""
    out, err = run_both(script, *arguments, **settings)
    assert err == ""
    assert out.endswith("\n") or not out
    return out.split("\n")[:-1]


def run_both(script: str, *arguments: str, **settings: Any) -> tuple[str, str]:
    """What comes on stdout and stderr."""
    command = [sys.executable, "-c", f"import json{PRELUDE}{script}", json.dumps(settings), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", re.MULTILINE)


@pytest.mark.parametrize("status", [200, 301, 404, 299, 599])
def test_a_line_of_text_is_what_logging_would_make_of_it(status: int) -> None:
    ours, theirs = run(f"for each in access_log, logger: say(each, '/a?b=%20', status={status})")
    assert STAMP.sub("", ours) == STAMP.sub("", theirs) != ours
    assert f'slot 3: 1.2.3.4:5 - "GET /a?b=%20 HTTP/1.1" {status}' in ours
    assert ours.endswith(" 200 OK") is (status == 200)


def test_a_line_of_json_is_what_logging_would_make_of_it() -> None:
    script = r"""for each in access_log, logger: say(each, '/a?"\\', 'é:1', status=404)"""
    ours, theirs = map(json.loads, run(script, log_format="json"))
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"
    assert re.fullmatch(pattern, ours.pop("timestamp"))
    theirs.pop("timestamp")
    assert ours == theirs
    assert list(ours) == list(theirs)
    assert (ours["client"], ours["path"], ours["status"]) == ("é:1", '/a?"\\', 404)


def test_the_time_is_that_of_the_request() -> None:
    script = """
import time
early = time.time()
say(access_log)
logger.info("%.6f %.6f", early, time.time())
"""
    for _ in range(3):
        line, between = run(script)
        early, late = map(float, between.split(": ")[1].split())
        stamp, milliseconds = line[:23].split(",")
        told = time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000
        assert early - 0.001 <= told <= late


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("part", ["path", "client", "method", "version"])
def test_nobody_can_forge_a_line(part: str, form: str) -> None:
    """What uvicorn passes on unquoted, a proxy's header may bring."""
    forged = "\\n\\r\\x85\\u2028\\x1b[2J\\x00\\ud800é"
    (line,) = run(f"say(access_log, {part}='{forged}')", log_format=form)
    assert line.isascii()
    assert line.isprintable()
    assert "\\n\\r" in line


def test_what_is_longer_than_a_pipe_keeps_together_is_cut() -> None:
    script = "say(access_log, '/' + 'a' * 100_000, 'b' * 100_000, 'c' * 5_000); say(access_log, '/next')"
    for form in ("text", "json"):
        long, following = run(script, log_format=form)
        assert 1000 < len(long) < 4096
        assert "a..." in long
        assert "b..." in long
        assert "200" in long[-8:]
        assert "/next" in following
        assert form == "text" or json.loads(long)["path"].endswith("a...")


def test_a_file_keeps_long_lines(tmp_path: Path) -> None:
    path = tmp_path / "access"
    assert run("say(access_log, '/' + 'a' * 100_000)", access_log_file=str(path)) == []
    assert len(path.read_text()) > 100_000


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────

WRITES = """
def writes():
    return int(next(row for row in open("/proc/self/io") if row.startswith("syscw")).split()[1])
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_turn_of_the_loop_is_one_write(tmp_path: Path, loop: str) -> None:
    script = f"""
{WRITES}
import {loop}
async def main():
    access_log.start(asyncio.get_running_loop())
    for _ in range(3):
        await asyncio.sleep(0)
        before, size = writes(), os.path.getsize(settings.access_log_file)
        for _ in range(50):
            say(access_log)
        assert os.path.getsize(settings.access_log_file) == size
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        print(writes() - before, flush=True)
with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
"""
    path = tmp_path / "access"
    idle = 3 if loop == "uvloop" else 0
    counted = [int(line) for line in run(script, access_log_file=str(path))]
    assert all(1 <= number <= 1 + idle for number in counted), counted
    assert path.read_text().count("GET /a") == 150


def test_before_the_loop_and_after_the_end_lines_are_written_at_once(tmp_path: Path) -> None:
    script = """
def size():
    return open(settings.access_log_file).read().count("GET")
say(access_log)
assert size() == 1
async def main():
    access_log.start(asyncio.get_running_loop())
    say(access_log)
    assert size() == 1
    access_log.end()
    assert size() == 2
    say(access_log)
    assert size() == 3
asyncio.run(main())
"""
    run(script, access_log_file=str(tmp_path / "access"))


def test_lines_that_wait_go_into_the_new_file_when_it_is_reopened(tmp_path: Path) -> None:
    path = tmp_path / "access"
    script = """
async def main():
    access_log.start(asyncio.get_running_loop())
    say(access_log, "/before")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    os.rename(settings.access_log_file, settings.access_log_file + ".1")
    say(access_log, "/waits")
    logs.reopen()
asyncio.run(main())
access_log.end()
say(access_log, "/after")
"""
    run(script, access_log_file=str(path))
    assert "/before" in Path(f"{path}.1").read_text()
    assert [line.split(" HTTP/")[0].split()[-1] for line in path.read_text().splitlines()] == [
        "/waits",
        "/after",
    ]


def test_a_slow_reader_gets_the_lines_without_another_request() -> None:
    """More than a pipe holds at once: the rest goes when there is room, though nothing is logged any more."""
    script = """
os.set_blocking(1, False)
async def main():
    access_log.start(asyncio.get_running_loop())
    for _ in range(3000):
        say(access_log)
    while access_log._lines or access_log._output.waiting:
        await asyncio.sleep(0.01)
asyncio.run(main())
"""
    assert len(run(script)) == 3000


# ── who ───────────────────────────────────────────────────────────────────────────────────────────────

CHANGES = {
    "a filter of the logger": "logger.addFilter(lambda record: '/secret' not in record.args)",
    "a filter of the handler": "logger.handlers[0].addFilter(lambda record: '/secret' not in record.args)",
    "its level": "logger.setLevel('WARNING')",
    "the level of all": "logging.disable()",
    "the handler's level": "logger.handlers[0].setLevel('WARNING')",
    "disabled": "logger.disabled = True",
    "no handler": "logger.handlers.clear()",
    "another formatter": "logger.handlers[0].setFormatter(logging.Formatter('own %(args)s'))",
    "another handler": "logger.handlers[0] = logging.FileHandler(elsewhere)",
    "one handler more": "logger.addHandler(logging.FileHandler(elsewhere))",
    "handed on": "logger.propagate = True; logging.basicConfig(filename=elsewhere)",
}


EACH = """
for number, change in enumerate(json.loads(sys.argv[2])):
    for name in "access_log", "logger":
        path = f"{sys.argv[3]}/{number}-{name}-"
        if os.fork() == 0:
            for fd, kind in (1, "out"), (2, "err"):
                os.dup2(os.open(path + kind, os.O_WRONLY | os.O_CREAT), fd)
            elsewhere, target = path + "elsewhere", globals()[name]
            say(target, "/first")
            exec(change)
            say(target, "/secret")
            say(target, "/last")
            os._exit(0)
        assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes of each change, by its number. A process is forked for each: to start one takes long."""
    path = tmp_path_factory.mktemp("written")
    assert run_both(EACH, json.dumps(list(CHANGES.values())), str(path)) == ("", "")
    return path


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_application_changes_in_logging_holds(change: str, written: Path) -> None:
    """Whatever it is, the lines are those that logging would have written."""
    number = list(CHANGES).index(change)
    ours, theirs = (
        {
            each.name.rpartition("-")[2]: STAMP.sub("", each.read_text())
            for each in written.glob(f"{number}-{target}-*")
        }
        for target in ("access_log", "logger")
    )
    assert ours == theirs
    assert "/first" in ours["out"]


def test_other_lines_of_the_logger_are_no_business_of_ours() -> None:
    first, second, third = run("say(access_log); access_log.info('rotated %s', 'it'); say(access_log)")
    assert second.endswith("INFO     slot 3: rotated it")
    assert STAMP.sub("", first) == STAMP.sub("", third)


OWN = {
    "version": 1,
    "handlers": {"own": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
    "loggers": {"uvicorn.access": {"handlers": ["own"], "level": "INFO", "propagate": False}},
}


@pytest.mark.parametrize("config", [OWN, {"version": 1}], ids=["own", "none"])
def test_a_log_config_is_the_operators_business(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(config))
    assert run("print(access_log)", log_config=str(path)) == ["None"]
