"""SIGHUP: a rolling reload, start before stop, that a failing successor aborts."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
from pathlib import Path

import psutil
import pytest
import trustme

from tests.conftest import PATIENCE, Launch
from tests.whole.modules import FRESH, Shop
from tests.whole.traffic import Held, Traffic, ask, fewest_ready, listeners, wait_for_lines

HUP, TERM = signal.SIGHUP, signal.SIGTERM
EXITED = r"worker in slot \d+ \(pid \d+\) exited cleanly"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_every_worker_is_replaced_and_no_new_connection_fails(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--no-access-log").ready(2)
    before, sockets = server.workers(), listeners(server.port)
    with Traffic(server.port) as traffic:
        traffic.wait_until(lambda answers: len(answers) > 20)
        server.signal(HUP)
        first = server.wait_for(r"slot (\d) is ready \(generation 2, .* reason: reload\)")
        second = server.wait_for(r"slot (\d) is ready \(generation 2, .* reason: reload\)")
        server.wait_for("generation 2 serves in every slot")
        wait_for_lines(server, EXITED, 2)
        known = len(traffic.answers)
        traffic.wait_until(lambda answers: {a["slot"] for a in answers[known + 2 :]} == {"0", "1"})
    after = server.workers()
    assert not traffic.failures
    assert {answer["generation"] for answer in traffic.answers} == {"1", "2"}
    assert {answer["pid"] for answer in traffic.answers[known + 2 :]} == set(after.values())
    assert (first[1], second[1]) == ("0", "1")
    assert after.keys() == {0, 1}
    assert not set(after.values()) & set(before.values())
    assert fewest_ready(server) == 2
    # The slot's listener outlives its worker: the very same socket listens.
    assert listeners(server.port) == sockets
    assert len(sockets) == 2
    assert server.stop() == 0


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_reload_adds_no_more_workers_than_it_may(launch: Launch, at_once: int) -> None:
    flags = ("--workers", "6", "--no-access-log", "--log-level", "debug", "--reload-at-once", str(at_once))
    server = launch("plain:app", *flags).ready(6)
    server.signal(HUP)
    server.wait_for("generation 2 serves in every slot")
    wait_for_lines(server, EXITED, 6)
    added = most = 0
    for line in server.output.partition("generation 2, 6 slots")[2].splitlines():
        added += bool(re.search(r"slot \d starts \(generation 2\)", line)) - bool(re.search(EXITED, line))
        most = max(most, added)
    assert 1 <= most <= at_once
    assert fewest_ready(server) == 6
    assert server.stop() == 0


def test_a_request_of_the_old_generation_finishes(launch: Launch) -> None:
    server = launch("patient:app", "--workers", "1").ready(1)
    with Held(server.port) as held:
        server.signal(HUP)
        server.wait_for("slot 0: Shutting down")
        with Held(server.port) as newer:
            assert newer.who["generation"] == "2"
            assert "complete" in newer.release()
        assert held.who["generation"] == "1"
        assert "complete" in held.release()
    wait_for_lines(server, EXITED, 1)
    assert server.stop() == 0


def test_connections_in_the_queue_of_a_stopped_worker_are_answered_by_its_successor(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    old = psutil.Process(server.workers()[0])
    old.suspend()
    waiting = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(10)]
    for client in waiting:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    server.signal(HUP)
    for client in waiting:
        with client, client.makefile("rb") as answer:
            assert json.loads(answer.read().partition(b"\r\n\r\n")[2])["generation"] == "2"
    old.resume()
    server.wait_for(rf"\(pid {old.pid}\) exited cleanly")
    assert server.stop() == 0


def test_new_code_is_picked_up(launch: Launch, shop: Shop) -> None:
    server = launch(*shop.arguments, "--workers", "1", env=FRESH).ready(1)
    assert ask(server.port) == "one"
    shop.write("two")
    server.signal(HUP)
    server.wait_for("generation 2 serves in every slot")
    wait_for_lines(server, EXITED, 1)
    assert ask(server.port) == "two"
    assert server.stop() == 0


def test_a_successor_that_raises_aborts_the_reload(launch: Launch, shop: Shop) -> None:
    server = launch(*shop.arguments, "--workers", "2", env=FRESH).ready(2)
    before = server.workers()
    shop.break_("raise RuntimeError('not today')")
    server.signal(HUP)
    server.wait_for("reload to generation 2 aborted: .*: generation 1 keeps serving$")
    assert server.workers() == before
    assert ask(server.port) == "one"
    assert server.count("^Traceback") + server.count("could not start: Traceback") == 1
    assert server.count("RuntimeError: not today$") == 1
    shop.write("two")
    server.signal(HUP)
    server.wait_for("generation 3 serves in every slot")
    wait_for_lines(server, EXITED, 2)
    assert ask(server.port) == "two"
    assert server.stop() == 0


def test_a_successor_that_hangs_aborts_the_reload(launch: Launch, shop: Shop) -> None:
    server = launch(*shop.arguments, "--workers", "1", "--startup-timeout", "4s", env=FRESH).ready(1)
    before = server.workers()
    shop.break_("time.sleep(600)")
    server.signal(HUP)
    server.wait_for(r"slot 0 was not ready within 4 s \(--startup-timeout\)")
    server.wait_for("is gone, ended by our SIGABRT")
    assert server.count("reload to generation 2 aborted: .*: generation 1 keeps serving$") == 1
    assert server.count(r"shop\.py")  # the stack says where it hangs
    assert server.workers() == before
    assert ask(server.port) == "one"
    assert server.stop() == 0


def test_further_reloads_during_one_fold_into_one_that_follows(launch: Launch, shop: Shop) -> None:
    server = launch(*shop.arguments, "--workers", "1", env=FRESH).ready(1)
    gate = shop.hold(0)
    server.signal(HUP)
    gate.reached()
    for _ in range(5):
        server.signal(HUP)
        server.wait_for("a reload is running; one more follows it")
    gate.open()
    server.wait_for("generation 2 serves in every slot")
    server.wait_for("generation 3 serves in every slot")
    # What the launcher does because of a reload, it does before it hears the next signal.
    server.signal(signal.SIGUSR2)
    server.wait_for("SIGUSR2 means nothing")
    assert server.count("reload: generation 4") == 0
    assert server.stop() == 0


def test_stop_while_a_successor_starts(launch: Launch, shop: Shop) -> None:
    server = launch(*shop.arguments, "--workers", "1", env=FRESH).ready(1)
    gate = shop.hold(0)
    server.signal(HUP)
    gate.reached()
    assert server.stop() == 0
    assert server.count("is gone, ended by our SIGTERM") == 1
    assert server.count("did not end in time|aborted") == 0
    gate.open()


def test_stop_while_a_predecessor_drains(launch: Launch) -> None:
    server = launch("patient:app", "--workers", "1").ready(1)
    with Held(server.port) as held:
        server.signal(HUP)
        server.wait_for("slot 0: Shutting down")
        server.signal(TERM)
        # The successor does not wait for the predecessor, and that one not for anybody but its client.
        server.wait_for("slot 0: Shutting down")
        wait_for_lines(server, EXITED, 1)
        assert "complete" in held.release()
    assert server.wait() == 0


def test_reload_before_anything_is_ready(launch: Launch, shop: Shop) -> None:
    gate = shop.hold(0)
    server = launch(*shop.arguments, "--workers", "1", env=FRESH)
    gate.reached()
    server.signal(HUP)
    server.wait_for("reload: generation 2, 1 slots")
    gate.open()
    server.wait_for("generation 2 serves in every slot")
    assert ask(server.port) == "one"
    assert server.stop() == 0


def test_reload_during_the_shutdown_delay_is_refused(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--shutdown-delay", "60s").ready(1)
    server.signal(TERM)
    server.wait_for("stopping in 60 s")
    server.signal(HUP)
    server.wait_for("reload refused: stopping")
    assert json.loads(ask(server.port))["generation"] == "1"
    server.signal(signal.SIGQUIT)
    assert server.wait() == 1


def test_reload_heals_a_slot_that_waits_to_be_tried_again(launch: Launch, shop: Shop) -> None:
    server = launch(*shop.arguments, "--workers", "1", env=FRESH).ready(1)
    shop.break_("raise RuntimeError('not today')")
    psutil.Process(server.workers()[0]).kill()
    # Long enough that the next try of its own accord cannot come first.
    server.wait_for(r"slot 0 is tried again in [1-9]\.\d s")
    shop.write("two")
    server.signal(HUP)
    server.wait_for("slot 0 is ready .*generation 2, .* reason: reload")
    assert server.count("reason: crash") == 0
    assert ask(server.port) == "two"
    assert server.stop() == 0


def test_a_renewed_certificate_is_served_after_a_reload_and_a_broken_one_is_not(
    launch: Launch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    path = tmp_path / "both.pem"
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def renew() -> None:
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)

    def served() -> object:
        with (
            socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            certificate = client.getpeercert()
            assert certificate is not None
            return certificate["serialNumber"]

    renew()
    server = launch("plain:app", "--workers", "1", "--ssl-certfile", str(path)).ready(1)
    first = served()
    renew()
    assert served() == first
    server.signal(HUP)
    server.wait_for("generation 2 serves in every slot")
    wait_for_lines(server, EXITED, 1)
    second = served()
    assert second != first
    path.write_text("-----BEGIN NONSENSE-----\n", encoding="ascii")
    server.signal(HUP)
    server.wait_for("reload to generation 3 aborted: .*: generation 2 keeps serving$")
    assert served() == second
    assert json.loads(ask(server.port, context=context))["scheme"] == "https"
    assert server.stop() == 0
