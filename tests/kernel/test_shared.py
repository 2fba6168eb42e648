"""The shared Unix socket and inherited descriptors."""

import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import DescriptorAddress, UnixAddress
from reuseport.kernel.shared import FileIdentity, adopt_descriptor, open_unix, remove_unix

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def other_name(path: Path) -> Path:
    """The same file through a link: /proc/net/unix shows its owner's spelling, not ours."""
    link = path.parent / "link"
    link.symlink_to(path.parent)
    return link / path.name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def abandon(path: Path) -> None:
    """Leave the file of a dead server."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_a_unix_socket_is_bound_and_not_listening(path: Path) -> None:
    with open_unix(UnixAddress(str(path))) as listener, socket.socket(socket.AF_UNIX) as client:
        assert listener.getsockname() == str(path)
        assert not listener.getblocking()
        assert not listener.get_inheritable()
        with pytest.raises(ConnectionRefusedError):
            client.connect(str(path))
        listener.listen()
        client.connect(str(path))


def test_everybody_may_connect_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        open_unix(UnixAddress(str(path))).close()
    finally:
        os.umask(before)
    assert mode(path) == 0o666


LINKED = """
import os, sys
from reuseport.kernel.addresses import UnixAddress
from reuseport.kernel.shared import open_unix

path, secret = {path!r}, {path!r} + ".secret"
os.close(os.open(secret, os.O_CREAT, 0o600))

def link(event, arguments):
    "What whoever may write to the directory does between the two calls."
    if event == "os.chmod":
        os.rename(path, path + ".moved")
        os.symlink(secret, path)

sys.addaudithook(link)
with open_unix(UnixAddress(path)):
    print(oct(os.stat(secret).st_mode & 0o777), oct(os.stat(path).st_mode & 0o777))
"""


def test_nothing_that_is_put_in_its_place_gets_its_mode(
    run: Callable[[str], tuple[int, str]], path: Path
) -> None:
    _, answer = run(LINKED.format(path=str(path)))
    assert answer.split() == ["0o600", "0o666"]


def test_a_dead_servers_file_is_replaced_and_its_mode_kept(path: Path) -> None:
    abandon(path)
    path.chmod(0o640)
    with open_unix(UnixAddress(str(path))) as listener, socket.socket(socket.AF_UNIX) as client:
        assert mode(path) == 0o640
        listener.listen()
        client.connect(str(path))


def test_what_another_user_calls_his_socket_keeps_nobody_from_the_path() -> None:
    """A line of /proc/net/unix that says that somebody has bound it: anybody can have that printed."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as strange:
        path = Path(directory, "s")  # short, for it is a part of another name
        abandon(path)
        strange.bind(b"\0\n0: 00000002 00000000 00000000 0001 01 1 %s" % bytes(path))
        open_unix(UnixAddress(str(path))).close()


def test_a_live_server_is_not_pushed_aside(path: Path, other_name: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(other_name))
        server.listen()
        with pytest.raises(ConfigurationError, match="served by another program"):
            open_unix(UnixAddress(str(path)))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_live_server_with_a_full_queue_is_not_pushed_aside(path: Path, other_name: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(other_name))
        server.listen(0)
        client.connect(str(path))
        with pytest.raises(ConfigurationError, match="served by another program"):
            open_unix(UnixAddress(str(path)))


def test_a_datagram_server_is_not_pushed_aside(path: Path, other_name: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(other_name))
        with pytest.raises(ConfigurationError, match="served by another program"):
            open_unix(UnixAddress(str(path)))


def test_a_server_that_is_still_starting_is_not_pushed_aside(path: Path) -> None:
    with (
        open_unix(UnixAddress(str(path))),
        pytest.raises(ConfigurationError, match="served by another program"),
    ):
        open_unix(UnixAddress(str(path)))


def test_a_dead_listeners_last_connection_does_not_hold_the_path(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen()
        client.connect(str(path))
        with server.accept()[0]:
            server.close()
            open_unix(UnixAddress(str(path))).close()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_not_a_socket_is_left_alone(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(ConfigurationError, match="is not a socket"):
        open_unix(UnixAddress(str(path)))
    assert path.lstat()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/run is not a directory; create it"):
        open_unix(UnixAddress(f"{tmp_path}/run/s"))


def test_a_file_for_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ConfigurationError, match="is not a directory"):
        open_unix(UnixAddress(f"{tmp_path}/run/s"))


FOREIGN = """
from reuseport.kernel import shared
from reuseport.kernel.addresses import UnixAddress
become(65534)
try:
    shared.open_unix(UnixAddress("{path}"))
except ReuseportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.usefixtures("as_root")
def test_a_directory_we_may_not_write_is_named(run: Callable[[str], tuple[int, str]]) -> None:
    _, answer = run(FOREIGN.format(path="/etc/reuseport-test.sock"))
    assert answer.startswith("ConfigurationError unix:/etc/reuseport-test.sock: we may not write in /etc")


def test_our_file_is_removed_and_once_is_enough(path: Path) -> None:
    with open_unix(UnixAddress(str(path))):
        ours = FileIdentity.of(str(path))
        remove_unix(str(path), ours)
        assert not path.exists()
        remove_unix(str(path), ours)


def test_a_successors_file_is_left_alone(path: Path) -> None:
    with open_unix(UnixAddress(str(path))):
        ours = FileIdentity.of(str(path))
        path.unlink()
        abandon(path)
        remove_unix(str(path), ours)
        assert path.exists()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_an_inherited_listener_is_duplicated(family: socket.AddressFamily, path: Path) -> None:
    with socket.socket(family) as inherited:
        inherited.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(path))
        inherited.listen()
        with adopt_descriptor(DescriptorAddress(inherited.fileno())) as adopted:
            assert adopted.fileno() != inherited.fileno()
            assert adopted.family == family
            assert not adopted.get_inheritable()
        assert inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_an_adopted_tcp_socket_knows_its_protocol() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        assert inherited.proto == 0
        with adopt_descriptor(DescriptorAddress(inherited.fileno())) as adopted:
            assert adopted.proto == socket.IPPROTO_TCP


def test_a_closed_descriptor_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="fd://999999 is not open"):
        adopt_descriptor(DescriptorAddress(999999))


def test_a_file_is_refused_by_its_name(path: Path) -> None:
    with path.open("w") as file, pytest.raises(ConfigurationError, match=f"is {path}, not a socket"):
        adopt_descriptor(DescriptorAddress(file.fileno()))


def test_a_datagram_socket_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(ConfigurationError, match=r"a socket of type 2, not a stream \(1\)"),
    ):
        adopt_descriptor(DescriptorAddress(datagrams.fileno()))


def test_a_connection_is_refused() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(ConfigurationError, match="one client's connection"):
        adopt_descriptor(DescriptorAddress(one.fileno()))
