"""The pid file, with real files and real processes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reuseport.errors import ConfigurationError
from reuseport.launcher.host.pidfile import PidFile

NOBODY = 65534


@pytest.fixture
def stranger() -> Iterator[int]:
    """The pid of a live process that ends when its input does."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as process:
        yield process.pid


def gone() -> int:
    """The pid of a process that has been and is no more."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    process.wait()
    return process.pid


def test_names_us_and_everybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "launcher.pid"
    before = os.umask(0o077)
    try:
        PidFile(path).write()
    finally:
        os.umask(before)
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_a_live_process_and_names_it(tmp_path: Path, stranger: int) -> None:
    path = tmp_path / "launcher.pid"
    path.write_text(f"{stranger}\n")
    name = psutil.Process(stranger).name()
    with pytest.raises(ConfigurationError, match=rf"live process: {name} \(pid {stranger}\); stop that one"):
        PidFile(path).write()
    assert path.read_text() == f"{stranger}\n"


@pytest.mark.parametrize("content", ["{gone}\n", "{gone}", "{us}\n", "", "\n", "0\n", "4194304\n"])
def test_replaces_what_names_nobody_else(tmp_path: Path, content: str) -> None:
    path = tmp_path / "launcher.pid"
    path.write_text(content.format(gone=gone(), us=os.getpid()))
    PidFile(path).write()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_number_that_was_given_to_another_process_since(tmp_path: Path, stranger: int) -> None:
    path = tmp_path / "launcher.pid"
    path.write_text(f"{stranger}\n")
    before = psutil.Process(stranger).create_time() - 60
    os.utime(path, (before, before))
    PidFile(path).write()
    assert path.read_text() == f"{os.getpid()}\n"


def test_what_stands_in_its_place_is_neither_waited_for_nor_followed(tmp_path: Path) -> None:
    path, target = tmp_path / "launcher.pid", tmp_path / "target"
    target.write_text("1\n")
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to(target), _make_socket):
        make(path)
        with pytest.raises(ConfigurationError, match=r"is no pid file|Is a directory"):
            PidFile(path).write()
        PidFile(path).remove()
        assert os.path.lexists(path)
        path.rmdir() if path.is_dir() else path.unlink()
    assert target.read_text() == "1\n"


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    path = tmp_path / "launcher.pid"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        path.write_text(f"{process.pid}\n")
        PidFile(path).write()
    finally:
        process.wait()
    assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("content", ["precious notes\n", "-1\n", "99999999\n", "12 13\n", "1" * 70, "\udcff"])
def test_does_not_overwrite_what_is_no_pid_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ConfigurationError, match="is no pid file; give --pid-file another path"):
        PidFile(path).write()
    assert path.read_text(errors="surrogateescape") == content


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="No such file or directory; give --pid-file a path"
    ) as error:
        PidFile(tmp_path / "missing" / "launcher.pid").write()
    assert isinstance(error.value.__cause__, FileNotFoundError)


def test_a_path_that_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Is a directory"):
        PidFile(tmp_path).write()


def test_a_directory_that_we_may_not_write_to() -> None:
    # Not even root creates files in /proc, so this holds for whoever runs the tests.
    with pytest.raises(ConfigurationError, match="cannot be written"):
        PidFile(Path("/proc/launcher.pid")).write()


def test_remove(tmp_path: Path) -> None:
    file = PidFile(tmp_path / "launcher.pid")
    file.write()
    file.remove()
    assert list(tmp_path.iterdir()) == []
    file.remove()


def test_remove_leaves_a_successors_file(tmp_path: Path, stranger: int) -> None:
    file = PidFile(tmp_path / "launcher.pid")
    file.write()
    file.path.write_text(f"{stranger}\n")
    file.remove()
    assert file.path.read_text() == f"{stranger}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up the right to remove the file")
def test_remove_after_dropping_privileges(tmp_path: Path) -> None:
    file = PidFile(tmp_path / "launcher.pid")
    file.write()
    os.seteuid(NOBODY)
    try:
        file.remove()
    finally:
        os.seteuid(0)
    assert file.path.exists()
