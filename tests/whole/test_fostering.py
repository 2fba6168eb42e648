"""Nobody waits for a worker that is gone: a sibling accepts for it on every address until it is replaced."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import Line, stop_process
from tests.whole.modules import FRESH, Gate, Shop
from tests.whole.traffic import listeners

ENOUGH = 40
"""New connections: that the hash gives none of them to one listener of two or three is 1 in 10⁷ at most."""


def ask_each(port: int, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
    """So many new connections, all open at once, and an answer on each."""
    lines = []
    try:
        for _ in range(ENOUGH):
            plain = socket.create_connection((host, port), PATIENCE)
            lines.append(plain if context is None else context.wrap_socket(plain, server_hostname=host))
        for line in lines:
            line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        for line in lines:
            with line.makefile("rb") as answer:
                assert b"\r\n\r\n3\r\none\r\n" in answer.read()
    finally:
        for line in lines:
            line.close()


def orphan(server: Launched, shop: Shop, slot: int) -> Gate:
    """Kill the slot's worker, and hold its replacement up in its import."""
    gate = shop.hold(slot)
    killed = server.workers()[slot]
    os.kill(killed, signal.SIGKILL)
    server.wait_for(rf"worker in slot {slot} \(pid {killed}\)")
    gate.reached()
    return gate


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_every_address_of_an_orphaned_slot_and_tls(launch: Launch, loop: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "both.pem"
    issued = authority.issue_cert("127.0.0.1", "::1")
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    shop = Shop(tmp_path)
    addresses = ("--bind", "127.0.0.1:0", "--bind", "[::1]:0", "--ssl-certfile", str(certificate))
    server = launch(*shop.arguments, "--workers", "2", "--loop", loop, *addresses, env=FRESH)
    urls = server.wait_for(r"serves \S+ on (.*)")[1].split(", ")
    four, six = (int(url.rpartition(":")[2]) for url in urls)
    server.ready(2)
    gate = orphan(server, shop, 1)
    ask_each(four, "127.0.0.1", context)
    ask_each(six, "::1", context)
    gate.open()
    server.wait_for("slot 1 is ready .* reason: crash")
    ask_each(four, "127.0.0.1", context)
    ask_each(six, "::1", context)
    assert server.stop() == 0
    assert "Traceback" not in server.output


def test_a_foster_that_dies_is_replaced_as_foster_too(launch: Launch, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    server = launch(*shop.arguments, "--workers", "3", env=FRESH).ready(3)
    gates = [orphan(server, shop, 2)]
    ask_each(server.port)
    # Nobody has more to do than anybody else, so slot 0 fosters, or slot 1: both have to go.
    gates.append(orphan(server, shop, 0))
    ask_each(server.port)
    gates[0].open()
    server.wait_for("slot 2 is ready .* reason: crash")
    gates.append(orphan(server, shop, 1))
    ask_each(server.port)
    for gate in gates[1:]:
        gate.open()
    for _ in gates[1:]:
        server.wait_for("slot [01] is ready .* reason: crash")
    ask_each(server.port)
    assert len(listeners(server.port)) == 3
    assert server.stop() == 0


def test_a_foster_that_is_replaced_hands_the_slot_on(launch: Launch, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    server = launch(*shop.arguments, "--workers", "2", env=FRESH).ready(2)
    server.signal(signal.SIGTTOU)
    server.wait_for(r"worker in slot 1 \(pid \d+\) exited cleanly")
    for generation in (2, 3):
        server.signal(signal.SIGHUP)
        server.wait_for(f"generation {generation} serves in every slot")
        server.wait_for(r"worker in slot 0 \(pid \d+\) exited cleanly")
        ask_each(server.port)
    assert len(listeners(server.port)) == 2
    assert server.stop() == 0


def test_the_queue_of_a_stopped_worker_is_answered_meanwhile(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--no-access-log", "--balance", "hash").ready(2)
    stopped, sibling = server.workers()[1], server.workers()[0]
    stop_process(stopped)
    lines = [Line(server.port) for _ in range(ENOUGH)]
    assert {line.ask().who["pid"] for line in lines} == {sibling}
    server.wait_for("event loop in slot 1 has been silent")
    os.kill(stopped, signal.SIGCONT)
    server.wait_for("event loop in slot 1 turns again")
    assert server.workers()[1] == stopped
    for line in lines:
        assert line.ask().who["pid"] == sibling
        line.__exit__()
    assert server.stop() == 0


def test_a_slot_given_up_while_it_starts_leaves_no_listener_behind(launch: Launch, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    server = launch(*shop.arguments, "--workers", "1", env=FRESH).ready(1)
    gate = shop.hold(1)
    server.signal(signal.SIGTTIN)
    gate.reached()
    server.signal(signal.SIGTTOU)
    server.wait_for("scaling from 2 to 1 workers")
    gate.open()
    server.wait_for(r"worker in slot 1 \(pid \d+\)")
    assert len(listeners(server.port)) == 1, server.output
    ask_each(server.port)
    assert server.stop() == 0
