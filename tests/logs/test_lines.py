"""Lines as operators read them. Each test logs from a process of its own: setting up is for good."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PRELUDE = """
import logging, os, sys
from pathlib import Path
from reuseport import logs
from reuseport.settings.table import Settings

error = logging.getLogger("uvicorn.error")
access = logging.getLogger("uvicorn.access")

def configure(place=logs.worker(3, 7), **settings):
    logs.configure(Settings(**settings), place)

def request(path="/"):
    access.info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", path, "1.1", 200)
"""


def run(script: str, *arguments: object) -> tuple[list[str], list[str]]:
    """Lines on stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", PRELUDE + script, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_a_line_has_time_level_and_place_and_access_lines_go_to_stdout() -> None:
    out, err = run("configure()\nerror.warning('loop is %s', 'slow')\nrequest('/a')")
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    assert re.fullmatch(rf"{stamp} WARNING  slot 3: loop is slow", err[0])
    assert re.fullmatch(rf'{stamp} INFO     slot 3: 1.2.3.4:5 - "GET /a HTTP/1.1" 200 OK', out[0])
    assert len(out) == len(err) == 1


def test_the_launcher_has_no_slot() -> None:
    _, err = run("configure(logs.LAUNCHER)\nlogging.getLogger('reuseport').info('up')")
    assert err[0].endswith("INFO     launcher: up")


@pytest.mark.parametrize(("level", "shown"), [("debug", 3), ("info", 2), (None, 2), ("error", 1)])
def test_the_level_holds_for_every_logger(level: str | None, shown: int) -> None:
    script = f"""
configure(log_level={level!r})
for name in "reuseport", "uvicorn", "uvicorn.error":
    for number in logging.DEBUG, logging.INFO, logging.ERROR:
        logging.getLogger(name).log(number, name)
"""
    _, err = run(script)
    for name in ("reuseport", "uvicorn", "uvicorn.error"):
        assert sum(line.endswith(f": {name}") for line in err) == shown


def test_trace_has_a_name() -> None:
    _, err = run("configure(log_level='trace')\nerror.log(logs.TRACE, 'fine')")
    assert "TRACE    slot 3: fine" in err[0]


@pytest.mark.parametrize(("colours", "code"), [("True", True), ("False", False), ("None", False)])
def test_the_level_is_coloured_on_request_or_on_a_terminal(colours: str, code: bool) -> None:
    _, err = run(f"configure(use_colors={colours})\nerror.error('ERROR in ERROR')\nerror.info('plain')")
    assert err[0].endswith("slot 3: ERROR in ERROR")
    assert ("\x1b[31mERROR\x1b[0m" in err[0]) is code
    assert "\x1b" not in err[1]


def test_a_traceback_follows_its_line() -> None:
    _, err = run("configure()\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    error.exception('failed')")
    assert err[0].endswith("slot 3: failed")
    assert err[-1] == "ZeroDivisionError: division by zero"


def test_loggers_of_others_are_labelled_too() -> None:
    _, err = run("configure()\nlogging.getLogger('library').warning('careful')")
    assert len(err) == 1
    assert err[0].endswith("WARNING  slot 3: careful")


def test_json_is_one_object_a_line_with_the_worker_and_the_request_as_fields() -> None:
    out, err = run("configure(log_format='json')\nerror.error('two\\nlines')\nrequest('/b')")
    (said,) = map(json.loads, err)
    assert said["message"] == "two\nlines"
    assert (said["level"], said["logger"]) == ("ERROR", "uvicorn.error")
    assert (said["slot"], said["generation"]) == ("3", "7")
    assert isinstance(said["pid"], int)
    assert "timestamp" in said
    (request,) = map(json.loads, out)
    assert request["client"] == "1.2.3.4:5"
    assert (request["method"], request["path"], request["http_version"]) == ("GET", "/b", "1.1")
    assert request["status"] == 200
    assert request["message"] == '1.2.3.4:5 - "GET /b HTTP/1.1" 200'


def test_json_holds_a_traceback_and_no_colour_message() -> None:
    script = """
configure(log_format='json')
error.info("plain", extra={"color_message": "coloured"})
try:
    1 / 0
except ZeroDivisionError:
    error.exception('failed')
"""
    _, err = run(script)
    plain, failed = map(json.loads, err)
    assert "color_message" not in plain
    assert "ZeroDivisionError" in failed["exc_info"]


REOPEN = """
old, new = Path(sys.argv[1]), Path(sys.argv[2])
configure(log_file=str(old), access_log_file=str(old) + ".access")
error.info("before"); request("/before")
old.rename(new)
error.info("between")
logs.reopen()
error.info("after"); request("/after")
"""


def test_a_renamed_file_is_left_for_a_new_one_of_the_old_name(tmp_path: Path) -> None:
    log, rotated = tmp_path / "log", tmp_path / "log.1"
    out, err = run(REOPEN, log, rotated)
    assert out == err == []
    assert [line.split(": ")[1] for line in rotated.read_text().splitlines()] == ["before", "between"]
    assert [line.split(": ")[1] for line in log.read_text().splitlines()] == ["after"]
    assert (tmp_path / "log.access").read_text().count("GET") == 2


def test_reopening_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    script = """
configure(log_file=sys.argv[1])
error.info("first")
before = len(os.listdir("/proc/self/fd"))
for _ in range(5):
    logs.reopen()
assert len(os.listdir("/proc/self/fd")) == before
"""
    assert run(script, tmp_path / "log") == ([], [])


def test_a_file_that_cannot_be_opened_again_is_written_on(tmp_path: Path) -> None:
    """A log rotation gone wrong must not end the server."""
    directory, moved = tmp_path / "logs", tmp_path / "moved"
    directory.mkdir()
    script = """
configure(log_file=sys.argv[1] + "/log")
error.info("before")
os.rename(sys.argv[1], sys.argv[2])
logs.reopen()
error.info("after")
os.rename(sys.argv[2], sys.argv[1])
"""
    out, err = run(script, directory, moved)
    assert out == err == []
    before, complaint, after = (directory / "log").read_text().splitlines()
    assert before.endswith("before")
    assert "goes on in the old file" in complaint
    assert "No such file" in complaint
    assert after.endswith("after")


def test_a_format_of_the_operators_own_knows_the_slot(tmp_path: Path) -> None:
    config = {
        "version": 1,
        "formatters": {"mine": {"format": "%(slot)s/%(generation)s/%(place)s %(message)s"}},
        "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "mine"}},
        "loggers": {"uvicorn": {"handlers": ["err"], "level": "INFO"}},
    }
    path = tmp_path / "logging.json"
    path.write_text(json.dumps(config))
    _, err = run("configure(log_config=sys.argv[1])\nerror.info('hello')", path)
    assert err == ["3/7/slot 3 hello"]


@pytest.mark.parametrize(
    ("name", "to_stdout"),
    [
        *(("/dev/stdout", True), ("/dev/fd/1", True), ("/proc/self/fd/1", True)),
        *(("/dev/stderr", False), ("/dev/fd/2", False), ("/proc/self/fd/2", False)),
    ],
)
def test_a_name_of_a_standard_stream_is_that_stream(name: str, to_stdout: bool) -> None:
    """Not opened anew, which a worker of another user could not."""
    script = "configure(log_file=sys.argv[1], access_log_file=sys.argv[1])\nerror.info('a')\nrequest()"
    out, err = run(script, name)
    assert (len(out), len(err)) == ((2, 0) if to_stdout else (0, 2))


def test_a_dash_is_what_is_written_to_without_the_flag() -> None:
    out, err = run("configure(log_file='-', access_log_file='-')\nerror.info('a')\nrequest()")
    assert (len(out), len(err)) == (1, 1)


def test_the_null_device_takes_everything() -> None:
    script = "configure(log_file='/dev/null', access_log_file='/dev/null')\nerror.info('a')\nrequest()"
    assert run(script) == ([], [])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/dev/fd/7", "is nothing that workers have: give a path, or - and redirect that"),
        ("/dev/stdin", "is nothing that workers have"),
        ("/dev/zero", "is a device: give a regular file, or - and redirect our output"),
        ("/", "is a directory"),
        ("fifo", "is a FIFO"),
        ("socket", "is a socket"),
        ("missing/log", "No such file or directory"),
    ],
)
@pytest.mark.parametrize("uid", sorted({os.geteuid(), 65534}) if os.geteuid() == 0 else [os.geteuid()])
def test_what_is_no_place_for_a_log(name: str, why: str, uid: int) -> None:
    script = """
import shutil, socket, tempfile
from reuseport.errors import ConfigurationError
place = tempfile.mkdtemp()
os.chdir(place)
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
for each in ".", "fifo", "socket":
    os.chmod(each, 0o777)
own = os.getresuid()
os.setresuid(*[int(sys.argv[2])] * 2, own[2])
try:
    configure(log_file=sys.argv[1])
except ConfigurationError as error:
    print(error)
os.setresuid(*own)
shutil.rmtree(place)
"""
    out, _ = run(script, name, uid)
    assert why in out[0].replace("Is a", "is a")
    assert name in out[0]


def test_no_descriptor_is_left_of_what_was_refused(tmp_path: Path) -> None:
    script = """
from reuseport.logs.opening import open_log
os.mkfifo(sys.argv[1])
before = len(os.listdir("/proc/self/fd"))
for name in sys.argv[1], "/dev/zero", "/", "/proc/none/log":
    try:
        open_log(name)
    except OSError:
        pass
assert len(os.listdir("/proc/self/fd")) == before
"""
    assert run(script, tmp_path / "fifo") == ([], [])
