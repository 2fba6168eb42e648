"""Log files in a directory of the workers' user, who puts something else in their place; launched by root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.whole.clients import kept_port
from tests.whole.reachable import reachable
from tests.whole.test_logs import await_text
from tests.whole.test_user import AS_NOBODY, NOBODY, QUIET, SERVED, refused
from tests.whole.traffic import ask

Attack = Callable[[Path, Path], None]
"""Put something in the place of a log file, given the file and a file of root's that is to be written."""


@pytest.fixture(scope="module")
def anybody() -> list[str]:
    """A wrapper under which every user can execute this interpreter."""
    return reachable()


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A directory that is the workers' user's, beside one of root's."""
    path = Path(tempfile.mkdtemp(prefix="reuseport-test-"))
    path.chmod(0o755)
    (path / "logs").mkdir()
    os.chown(path / "logs", NOBODY.pw_uid, NOBODY.pw_gid)
    (path / "root").mkdir()
    (path / "root" / "keys").write_text("of root\n")
    (path / "root" / "keys").chmod(0o600)
    yield path / "logs"
    shutil.rmtree(path)


def link(log: Path, keys: Path) -> None:
    log.symlink_to(keys)


def dangling_link(log: Path, keys: Path) -> None:
    log.symlink_to(keys.with_name("new"))


def hard_link(log: Path, keys: Path) -> None:
    log.hardlink_to(keys)


def fifo(log: Path, keys: Path) -> None:
    os.mkfifo(log)


def linked_directory(log: Path, keys: Path) -> None:
    log.parent.rename(log.parent.with_name("moved"))
    log.parent.symlink_to(keys.parent)


ATTACKS = [link, dangling_link, hard_link, fifo]


def untouched(keys: Path) -> None:
    status = keys.stat()
    assert keys.read_text() == "of root\n"
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 0, 0o600)
    assert [entry.name for entry in keys.parent.iterdir()] == ["keys"]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("flag", ["--log-file", "--access-log-file"])
def test_at_the_start(anybody: list[str], theirs: Path, attack: Attack, flag: str) -> None:
    log, keys = theirs / "log", theirs.parent / "root" / "keys"
    attack(log, keys)
    said = refused(*SERVED, *AS_NOBODY, flag, str(log), wrapper=anybody)
    assert str(log) in said
    untouched(keys)


def test_a_directory_that_is_a_link(anybody: list[str], theirs: Path) -> None:
    keys = theirs.parent / "root" / "keys"
    (theirs / "deep").symlink_to(keys.parent)
    said = refused(*SERVED, *AS_NOBODY, "--log-file", f"{theirs}/deep/log", wrapper=anybody)
    assert f"{theirs}/deep/log leads over the link deep, in a place where others than root " in said
    untouched(keys)


@pytest.mark.parametrize(
    "handler",
    [
        {"class": "logging.FileHandler"},
        {"class": "logging.FileHandler", "mode": "w"},
        {"class": "logging.handlers.RotatingFileHandler", "maxBytes": 1000, "backupCount": 2},
        {"class": "logging.handlers.WatchedFileHandler"},
    ],
    ids=["file", "file from its beginning", "rotating", "watched"],
)
def test_a_configuration_of_the_operators_own(
    anybody: list[str], theirs: Path, handler: dict[str, object]
) -> None:
    log, keys = theirs / "log", theirs.parent / "root" / "keys"
    link(log, keys)
    config = theirs.parent / "log.json"
    handlers = {"file": {**handler, "filename": str(log)}}
    loggers = {"uvicorn": {"handlers": ["file"]}}
    config.write_text(json.dumps({"version": 1, "handlers": handlers, "loggers": loggers}))
    said = refused(*SERVED, *AS_NOBODY, "--log-config", str(config), wrapper=anybody)
    assert "leads over the link log" in said
    untouched(keys)


@pytest.mark.parametrize("attack", [*ATTACKS, linked_directory])
def test_when_files_are_opened_again(
    launch: Launch, anybody: list[str], theirs: Path, attack: Attack
) -> None:
    log, keys = theirs / "deep" / "log", theirs.parent / "root" / "keys"
    log.parent.mkdir()
    os.chown(log.parent, NOBODY.pw_uid, NOBODY.pw_gid)
    with kept_port() as port:
        address = ("--port", str(port), "--join")
        server = launch("plain:app", *AS_NOBODY, *QUIET, *address, "--log-file", str(log), wrapper=anybody)
        await_text(log, "all 1 workers are ready")
        rotated = log.rename(log.with_name("log.1"))
        attack(log, keys)
        if attack is linked_directory:
            rotated = theirs / "moved" / "log.1"
        server.signal(signal.SIGUSR1)
        await_text(rotated, f"launcher: {log} goes on in the old file: ")
        assert ask(port)
        assert server.stop() == 0
    untouched(keys)


def test_a_file_of_ours_that_was_moved_there_is_not_given_away(anybody: list[str], theirs: Path) -> None:
    secret = theirs / "secret"
    secret.write_text("of root\n")
    secret.chmod(0o600)
    log = secret.rename(theirs / "log")
    said = refused(*SERVED, *AS_NOBODY, "--log-file", str(log), wrapper=anybody)
    assert f"may not write log file {log}" in said
    assert log.stat().st_uid == 0


def test_a_file_that_is_made_there_is_the_workers(launch: Launch, anybody: list[str], theirs: Path) -> None:
    log, access = theirs / "log", theirs / "access"
    arguments = (*AS_NOBODY, "--log-file", str(log), "--access-log-file", str(access), "--lifespan", "off")
    with kept_port() as port:
        server = launch("plain:app", *arguments, "--port", str(port), "--join", wrapper=anybody)
        for _ in range(2):
            await_text(log, "launcher: ")
            await_text(log, "slot 0: ")
            assert log.stat().st_uid == access.stat().st_uid == NOBODY.pw_uid
            log.unlink()
            server.signal(signal.SIGUSR1)
            await_text(log, "log files opened again")
            os.kill(next(iter(server.workers().values())), signal.SIGTERM)
        assert server.stop() == 0


def test_a_link_of_roots_own(launch: Launch, anybody: list[str], theirs: Path) -> None:
    """As /var/log may be one."""
    root = theirs.parent / "root"
    root.chmod(0o755)
    (root / "data").mkdir()
    (root / "var").symlink_to("../root/data/../data")
    (root / "log").symlink_to(root / "var" / "named")
    with kept_port() as port:
        arguments = ("--port", str(port), "--join", "--log-file", str(root / "log"))
        server = launch("plain:app", *AS_NOBODY, *QUIET, *arguments, wrapper=anybody)
        await_text(root / "data" / "named", "slot 0: ")
        assert server.stop() == 0
    assert (root / "data" / "named").stat().st_uid == NOBODY.pw_uid
