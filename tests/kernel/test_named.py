"""Unix sockets that have a path: told by the kernel, and read where it tells nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reuseport.kernel import diagnosis, named
from reuseport.kernel.named import Named, named_sockets


@pytest.fixture(params=["told", "read"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether sock_diag(7) is there."""
    if request.param == "read":

        def nobody(_: bytes) -> Iterator[bytes]:
            raise OSError

        monkeypatch.setattr(diagnosis, "answers", nobody)
    return str(request.param)


def at(path: Path) -> list[Named]:
    return [each for each in named_sockets() if each.path == str(path)]


def test_who_listens_and_who_is_about_to(where: str, tmp_path: Path) -> None:
    path = tmp_path / "a socket"
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(str(path))
        inode = os.fstat(listener.fileno()).st_ino
        assert at(path) == [Named(str(path), inode, listens=False)]
        listener.listen()
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(str(path))
        stack.enter_context(listener.accept()[0])
        assert at(path) == [Named(str(path), inode, listens=True)], "connections are in another state"
    assert at(path) == []


@pytest.mark.parametrize("name", [b"\nno line at all", b"\n0: 2 0 zzz 1 zz x /x", b"\n\n  \n", b"\xff\n"])
def test_a_name_is_no_line(where: str, tmp_path: Path, name: bytes) -> None:
    """Any user can give a socket such a name; what is behind it in the table is found all the same."""
    with socket.socket(socket.AF_UNIX) as strange, socket.socket(socket.AF_UNIX) as listener:
        strange.bind(b"\0" + name + os.urandom(8).hex().encode())
        strange.listen()
        listener.bind(str(tmp_path / "one"))
        listener.listen()
        assert len(at(tmp_path / "one")) == 1


def test_nobody_can_forge_one_where_the_kernel_tells(tmp_path: Path) -> None:
    try:
        list(diagnosis.answers(named._REQUEST.pack(socket.AF_UNIX, 0, 0, 0, 0, 0, 0)))
    except OSError:
        pytest.skip("this kernel tells nothing of Unix sockets")
    forged = tmp_path / "forged"
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(b"\0\n0: 00000002 00000000 00010000 0001 01 4200000000 %s" % bytes(forged)[-40:])
        assert not [each for each in named_sockets() if each.inode == 4_200_000_000]
        assert [each for each in named._read() if each.inode == 4_200_000_000], "it would be one there"
