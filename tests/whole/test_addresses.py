"""Where clients connect and what they are told: every kind of address, TLS, proxies, headers, limits."""

from __future__ import annotations

import socket
import ssl
import stat
import sys
import time
from pathlib import Path

import httpx
import pytest
import trustme

from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.clients import client, meet_all


def announced(server: Launched) -> list[str]:
    """The addresses of the line that says where clients connect, before the workers are ready."""
    return server.wait_for(r"pid \d+ serves \S+ on (.*)")[1].split(", ")


def port_in(url: str) -> int:
    return int(url.rpartition(":")[2])


def asking_once(path: str) -> str:
    """The slot that answers on the Unix socket this time."""
    with client(uds=path) as asking:
        return str(asking.get("http://app/").json()["slot"])


# ── TCP ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_one_family(host: str, launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--bind", f"{host}:0")
    (url,) = announced(server)
    assert url == f"http://{host}:{port_in(url)}"
    server.ready(2)
    with client() as asking:
        met = meet_all(asking, url, 2)
    assert {slot: seen["pid"] for slot, seen in met.items()} == server.workers()


def test_dual_stack_answers_both_families(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--bind", "[::]:0")
    (url,) = announced(server)
    server.ready(2)
    with client() as asking:
        for host in ("127.0.0.1", "[::1]"):
            assert meet_all(asking, f"http://{host}:{port_in(url)}", 2)


def test_several_addresses_are_all_served_by_all(launch: Launch) -> None:
    server = launch("plain:app", "-w", "2", "-b", "127.0.0.1:0", "-b", "127.0.0.2:0", "-b", "[::1]:0")
    urls = announced(server)
    assert [url.rpartition(":")[0] for url in urls] == [
        "http://127.0.0.1",
        "http://127.0.0.2",
        "http://[::1]",
    ]
    server.ready(2)
    with client() as asking:
        for url in urls:
            assert meet_all(asking, url, 2)


def test_a_name_is_served_on_one_port_in_every_family_it_has(launch: Launch) -> None:
    found = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    hosts = {f"[{address[0]}]" if family == socket.AF_INET6 else address[0] for family, *_, address in found}
    server = launch("plain:app", "--workers", "2", "--host", "localhost", "--port", "0")
    urls = announced(server)
    assert {url.removeprefix("http://").rpartition(":")[0] for url in urls} == hosts
    assert len({port_in(url) for url in urls}) == 1
    server.ready(2)
    with client() as asking:
        for url in urls:
            assert meet_all(asking, url, 2)


# ── Unix sockets and inherited descriptors ────────────────────────────────────────────────────────────────


def test_a_unix_socket_is_shared_and_removed_at_the_end(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = launch("plain:app", "--workers", "2", "--uds", str(path))
    assert announced(server) == [f"unix:{path} (one shared listener)"]
    server.ready(2)
    assert stat.filemode(path.stat().st_mode) == "srw-rw-rw-"
    # Who accepts from a shared listener is a matter of luck, unless one of two is held up.
    met: set[str] = set()
    deadline = time.monotonic() + PATIENCE
    while len(met) < 2:
        assert time.monotonic() < deadline, f"only slots {met} answered"
        with socket.socket(socket.AF_UNIX) as holding:
            holding.settimeout(PATIENCE)
            holding.connect(str(path))
            holding.sendall(b"GET /block?s=0.2 HTTP/1.1\r\nHost: app\r\n\r\n")
            met.add(asking_once(str(path)))
            assert holding.recv(1000).startswith(b"HTTP/1.1 200")
        met.add(asking_once(str(path)))
    assert met == {"0", "1"}
    assert server.stop() == 0
    assert not path.exists()


def test_the_socket_file_of_a_killed_launcher_is_replaced_and_keeps_its_mode(
    launch: Launch, tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    first = launch("plain:app", "--uds", str(path)).ready(1)
    path.chmod(0o660)
    first.popen.kill()
    # The worker drains and ends when its launcher is gone; the end of the output is the end of both.
    first.wait()
    first.wait_for("lifespan shutdown in slot 0")
    assert path.is_socket()
    launch("plain:app", "--uds", str(path)).ready(1)
    assert stat.filemode(path.stat().st_mode) == "srw-rw----"
    with client(uds=str(path)) as asking:
        assert asking.get("http://app/").status_code == 200


def test_a_unix_socket_that_is_served_is_refused_and_left_alone(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    launch("plain:app", "--uds", str(path)).ready(1)
    second = launch("plain:app", "--uds", str(path))
    second.wait_for(f"Error: unix:{path} is served by another program; stop it or choose another path")
    assert second.wait() == 2
    with client(uds=str(path)) as asking:
        assert asking.get("http://app/").status_code == 200


@pytest.mark.parametrize("flag", [["--fd", "9"], ["--bind", "fd://9"]])
def test_an_inherited_listener(flag: list[str], launch: Launch) -> None:
    # What a service manager does: open the socket, place it at 9, execute the program.
    script = (
        "import os, socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', 0)); os.dup2(listener.fileno(), 9)\n"
        "print('opened', listener.getsockname()[1], flush=True); os.execv(sys.argv[1], sys.argv[1:])"
    )
    server = launch("plain:app", "--workers", "2", *flag, wrapper=[sys.executable, "-c", script])
    port = int(server.wait_for(r"opened (\d+)")[1])
    assert announced(server) == ["fd://9 (one shared listener)"]
    server.ready(2)
    with client() as asking:
        assert meet_all(asking, f"http://127.0.0.1:{port}", 2)


def test_a_descriptor_that_nobody_passed(launch: Launch) -> None:
    server = launch("plain:app", "--fd", "9")
    server.wait_for("Error: fd://9 is not open; the program that starts reuseport must pass descriptor 9")
    assert server.wait() == 2


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_tls(launch: Launch, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    files = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    server = launch("plain:app", "--workers", "2", *files)
    (url,) = announced(server)
    assert url == f"https://127.0.0.1:{port_in(url)}"
    server.ready(2)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with client(verify=trusting) as asking:
        met = meet_all(asking, url, 2)
    assert {seen["scheme"] for seen in met.values()} == {"https"}
    with client() as asking, pytest.raises(httpx.RemoteProtocolError):
        asking.get(url.replace("https", "http"))


# ── what stands before and around the application ─────────────────────────────────────────────────────────


def test_headers_and_the_root_path(launch: Launch) -> None:
    arguments = ("--root-path", "/shop", "--header", "X-Served-By: me", "--header", "X-Two:2")
    server = launch("mirror:app", *arguments, "--no-server-header", "--no-date-header").ready(1)
    with client() as asking:
        answer = asking.get(f"{server.url}/cart")
    assert answer.json()["root_path"] == "/shop"
    assert answer.json()["path"] == "/shop/cart"
    assert (answer.headers["x-served-by"], answer.headers["x-two"]) == ("me", "2")
    assert not {"server", "date"} & set(answer.headers)


def test_the_server_and_date_headers_are_there_unless_refused(launch: Launch) -> None:
    server = launch("mirror:app").ready(1)
    with client() as asking:
        assert {"server", "date"} <= set(asking.get(server.url).headers)


@pytest.mark.parametrize(
    ("flags", "trusted"),
    [
        ([], True),
        (["--no-proxy-headers"], False),
        (["--forwarded-allow-ips", "192.0.2.1"], False),
        (["--forwarded-allow-ips", "*"], True),
    ],
)
def test_proxies_that_are_trusted(flags: list[str], trusted: bool, launch: Launch) -> None:
    server = launch("mirror:app", *flags).ready(1)
    forwarded = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    with client() as asking:
        seen = asking.get(server.url, headers=forwarded).json()
    expected = ("203.0.113.7", "https") if trusted else ("127.0.0.1", "http")
    assert (seen["client"][0], seen["scheme"]) == expected


def test_connections_beyond_the_limit_are_answered_503(launch: Launch) -> None:
    server = launch("plain:app", "--limit-concurrency", "2").ready(1)
    with client() as asking:
        assert asking.get(server.url).status_code == 200
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as held:
            held.sendall(b"GET /sse HTTP/1.1\r\nHost: app\r\n\r\n")
            assert held.recv(100).startswith(b"HTTP/1.1 200")
            assert asking.get(server.url).status_code == 503
