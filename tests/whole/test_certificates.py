"""Certificates before the real command: one for each name, renewed by a reload, and told until when."""

from __future__ import annotations

import contextlib
import datetime
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.admin.asking import Control, admin_port
from tests.conftest import PATIENCE, Launch
from tests.whole.clients import client

NAMES = ("one.test", "two.test", "*.three.test")


def issue(ca: trustme.CA, name: str, days: int) -> trustme.LeafCert:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, hours=1)
    return ca.issue_cert(name, not_after=until)


def write(made: trustme.LeafCert, path: Path) -> None:
    made.private_key_and_cert_chain_pem.write_to_path(str(path))


def served(ca: trustme.CA, port: int, name: str | None) -> dict[str, Any]:
    """The certificate that a client gets which asks for this name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    ca.configure_trust(context)
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=name) as talk,
    ):
        talk.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert talk.recv(1000).startswith(b"HTTP/1.1 200 ")
        found: dict[str, Any] = dict(talk.getpeercert() or {})
    return found


def name_of(certificate: dict[str, Any]) -> str:
    return str(certificate["subjectAltName"][0][1])


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_each_name_has_its_certificate(launch: Launch, tmp_path: Path, loop: str) -> None:
    ca = trustme.CA()
    for name in NAMES:
        write(issue(ca, name, 30), tmp_path / f"{name}.pem")
    two = issue(ca, "two.test", 30)
    two.cert_chain_pems[0].write_to_path(str(tmp_path / "two.crt"))
    two.private_key_pem.write_to_path(str(tmp_path / "two.key"))
    server = launch(
        *("plain:app", "--workers", "2", "--loop", loop),
        *("--ssl-certfile", str(tmp_path / "one.test.pem")),
        *("--ssl-sni", f"two.test={tmp_path / 'two.crt'}:{tmp_path / 'two.key'}"),
        *("--ssl-sni", f"*.three.test={tmp_path / '*.three.test.pem'}"),
    ).ready(2)
    expected = {
        "one.test": "one.test",
        "two.test": "two.test",
        "TWO.test": "two.test",
        "a.three.test": "*.three.test",
        "a.b.three.test": "one.test",
        "three.test": "one.test",
        "other.test": "one.test",
        None: "one.test",
    }
    assert {name: name_of(served(ca, server.port, name)) for name in expected} == expected
    assert server.stop() == 0


def test_a_renewed_one_is_taken_up_by_a_reload_and_told(launch: Launch, tmp_path: Path) -> None:
    ca, path = trustme.CA(), tmp_path / "both.pem"
    write(issue(ca, "first.test", 5), path)
    tls = ("--ssl-certfile", str(path), "--admin", "127.0.0.1:0")
    server = launch("plain:app", "--workers", "2", *tls).ready(2)
    server.wait_for_first(
        r"WARNING.*the certificate ends at \d{4}-\d\d-\d\d \d\d:\d\d UTC, in 5 days: renew it"
    )
    control = Control(server)
    assert name_of(served(ca, server.port, None)) == "first.test"

    write(issue(ca, "second.test", 90), path)
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    server.wait_for("the certificate is good until .*, for 90 days")
    for _ in range(8):
        found = served(ca, server.port, None)
        assert name_of(found) == "second.test"
    assert control.status()["certificate_expires"] == ssl.cert_time_to_seconds(found["notAfter"])
    assert [event["text"] for event in control.events() if event["kind"] == "certificate"][1:]
    with client() as asking:
        text = asking.get(f"http://127.0.0.1:{admin_port(server)}/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith("reuseport_certificate_days_left ")]
    assert 89.9 < float(line.split()[1]) < 90.1

    path.write_text("half of it is copied")
    server.signal(signal.SIGHUP)
    server.wait_for("aborted")
    assert name_of(served(ca, server.port, None)) == "second.test"
    assert server.stop() == 0


def visit(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None
) -> tuple[str, bool | None, ssl.SSLSession]:
    """Who answered, whether the session was resumed, and the session to go on with."""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="one.test", session=session) as talk,
    ):
        talk.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while more := talk.recv(10_000):
            answer += more
        slot = answer.partition(b'"slot": "')[2][:1].decode()
        assert talk.session is not None
        return slot, talk.session_reused, talk.session


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_any_worker_resumes_a_session_also_after_a_reload(
    launch: Launch, tmp_path: Path, version: str
) -> None:
    ca = trustme.CA()
    write(ca.issue_cert("one.test"), tmp_path / "both.pem")
    tls = ("--ssl-certfile", str(tmp_path / "both.pem"), "--no-rebalance")
    server = launch("plain:app", "--workers", "3", *tls).ready(3)
    context = ssl.create_default_context()
    ca.configure_trust(context)
    context.maximum_version = ssl.TLSVersion[version]

    _, resumed, session = visit(context, server.port, None)
    assert not resumed
    met: set[str] = set()
    for _ in range(200):
        slot, resumed, _ = visit(context, server.port, session)
        assert resumed
        met.add(slot)
        if len(met) == 3:
            break
    assert len(met) == 3
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    assert visit(context, server.port, session)[1]
    assert server.stop() == 0


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_no_ticket_lets_in_whose_ca_was_taken_away(launch: Launch, tmp_path: Path, version: str) -> None:
    """Who resumes a session shows no certificate again."""
    ca, old, new = trustme.CA(), trustme.CA(), trustme.CA()
    write(ca.issue_cert("one.test"), tmp_path / "both.pem")
    trusted = tmp_path / "clients.pem"
    old.cert_pem.write_to_path(str(trusted))
    tls = (
        "--ssl-certfile",
        str(tmp_path / "both.pem"),
        "--ssl-ca-certs",
        str(trusted),
        "--ssl-cert-reqs",
        "2",
    )
    server = launch("plain:app", "--workers", "2", *tls).ready(2)
    context = ssl.create_default_context()
    ca.configure_trust(context)
    context.maximum_version = ssl.TLSVersion[version]
    old.issue_cert("client.test").configure_cert(context)
    _, _, session = visit(context, server.port, None)
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    assert visit(context, server.port, session)[1], "a reload alone ends no session"

    new.cert_pem.write_to_path(str(trusted))
    server.signal(signal.SIGHUP)
    server.wait_for("generation 3 serves in every slot")
    for known in (session, None):
        slot = ""  # under TLS 1.3 a client is told when it reads, or just reads nothing
        with contextlib.suppress(OSError):
            slot, *_ = visit(context, server.port, known)
        assert not slot
    assert server.stop() == 0


def test_keys_of_tickets_change_with_time_in_all_workers(launch: Launch, tmp_path: Path) -> None:
    ca = trustme.CA()
    write(ca.issue_cert("one.test"), tmp_path / "both.pem")
    tls = ("--ssl-certfile", str(tmp_path / "both.pem"), "--ssl-ticket-rotation", "1s")
    server = launch("plain:app", "--workers", "2", *tls).ready(2)
    context = ssl.create_default_context()
    ca.configure_trust(context)
    _, _, first = visit(context, server.port, None)
    refused: set[str] = set()
    while len(refused) < 2:
        slot, resumed, _ = visit(context, server.port, first)
        refused |= set() if resumed else {slot}
    resumed, newest = False, first
    while not resumed:
        _, resumed, newest = visit(context, server.port, newest)
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_handshake_that_does_not_end_is_ended(launch: Launch, tmp_path: Path, loop: str) -> None:
    ca = trustme.CA()
    write(ca.issue_cert("one.test"), tmp_path / "both.pem")
    tls = ("--ssl-certfile", str(tmp_path / "both.pem"), "--arrival-timeout", "1s", "--loop", loop)
    server = launch("plain:app", "--workers", "1", *tls).ready(1)
    for hello in (b"", b"\x16\x03\x01\x02\x00\x01\x00"):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as slow:
            slow.sendall(hello)
            assert served(ca, server.port, None)
            with contextlib.suppress(ConnectionResetError):
                assert slow.recv(1) == b""
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_who_keeps_a_connection_and_reads_nothing_holds_no_stop_up(
    launch: Launch, tmp_path: Path, loop: str
) -> None:
    """As every pool of connections does. Event loops would wait for its goodbye for half a minute."""
    ca = trustme.CA()
    write(ca.issue_cert("one.test"), tmp_path / "both.pem")
    tls = ("--ssl-certfile", str(tmp_path / "both.pem"), "--loop", loop)
    server = launch("plain:app", "--workers", "1", *tls, "--graceful-timeout", "5m").ready(1)
    context = ssl.create_default_context()
    context.check_hostname = False
    ca.configure_trust(context)
    with (
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain,
        context.wrap_socket(plain) as talk,
    ):
        talk.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert talk.recv(1000).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 25
