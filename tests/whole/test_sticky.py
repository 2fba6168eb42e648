"""A request goes to the worker that knows its session, whatever it looks like and whatever happens."""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.conftest import Launch, Launched
from tests.whole.lines import Line, Lines, settled, stop_process, wait_until
from tests.whole.proxies import PROXIES
from tests.whole.sessions import (
    HOW,
    away_from,
    counted,
    head,
    opened,
    told,
    visit,
)

ALL = ("--sticky", "header:Session", "--sticky", "cookie:session", "--sticky", "query:session")

both_parsers = pytest.mark.parametrize("http", ["httptools", "h11"])
both_loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def served(launch: Launch, *flags: str, workers: int = 3) -> Launched:
    flags = flags or ALL
    return launch("remembering:app", "--workers", str(workers), *flags).ready(workers)


@both_loops
@both_parsers
def test_each_session_is_found_by_header_and_cookie(launch: Launch, http: str, loop: str) -> None:
    server = served(launch, *ALL, "--http", http, "--loop", loop)
    with Lines() as lines:
        known = opened(server, lines)
        for how in ("header", "cookie"):
            for line in lines.opened[:4]:
                # One connection after the other session: each is looked at anew.
                for key, slot in known.items():
                    answer = visit(line, key, how=how)
                    assert (answer.status, answer.who["slot"]) == (200, slot)
        for key in known:
            assert len(told(visit(lines.opened[0], key))) == 9
        before = counted(server)
        assert before["missed"] == 0
        assert before["moved"] > 0
        assert before["hits"] > 0
    assert "Traceback" not in server.output
    assert server.stop() == 0


def test_without_it_they_are_lost(launch: Launch) -> None:
    server = served(launch, "--no-rescue")
    with Lines() as lines:
        known = opened(server, lines)
        answers = [visit(line, key).status for key in known for line in lines.opened]
        assert set(answers) == {200, 404}
    assert server.stop() == 0


@both_parsers
def test_an_unknown_key_has_one_worker(launch: Launch, http: str) -> None:
    server = served(launch, *ALL, "--http", http)
    with Lines() as lines:
        more = lines.open(server.port, 6)

        slots: set[str] = set()

        def each_has_one() -> bool:
            found = [
                {visit(line, f"{how}{number}", how=how).who["slot"] for line in more}
                for number in range(24)
                for how in HOW
            ]
            slots.update(*found)
            return all(len(one) == 1 for one in found)

        # Who serves is looked up anew every 50 ms, and who has been silent for seconds does not.
        wait_until(each_has_one)
        assert len(slots) == 3
    assert server.stop() == 0


# ── what a request can look like ──────────────────────────────────────────────────────────────────────


@both_loops
@both_parsers
def test_all_of_a_request_goes_along(launch: Launch, http: str, loop: str) -> None:
    server = served(launch, *ALL, "--http", http, "--loop", loop)
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        expected: list[str] = []
        for size in (0, 1, 7_000, 9_000, 200_000, 3_000_000):
            line = away_from(server, lines, slot)
            body = "x" * size
            line.send(head(key, more=f"Content-Length: {size}\r\n") + body.encode())
            expected.append(body)
            answer = line.answer()
            assert (answer.who["slot"], told(answer)) == (slot, expected), size
        line = away_from(server, lines, slot)
        line.send(head(key, more="Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\n")
        line.send(b"3\r\ncde\r\n0\r\n\r\n")
        expected.append("abcde")
        assert told(line.answer()) == expected
        line = away_from(server, lines, slot)
        line.send(head(key, more="Expect: 100-continue\r\nContent-Length: 3\r\n"))
        assert line.head()[0] == 100
        line.send(b"abc")
        expected.append("abc")
        assert told(line.answer()) == expected
        line = away_from(server, lines, slot)
        for byte in head(key):
            line.send(bytes([byte]))
        line.send(b"hi")
        expected.append("hi")
        assert told(line.answer()) == expected
    assert "Traceback" not in server.output
    assert server.stop() == 0


@both_parsers
def test_what_is_pipelined_behind_it_comes_after_it(launch: Launch, http: str) -> None:
    # On a machine with too much to do, a sibling may otherwise answer for a worker that is late.
    server = served(launch, *ALL, "--http", http, "--no-rescue", "--no-rebalance")
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        line = away_from(server, lines, slot)
        line.send(head(key) + b"a1" + head(key) + b"a2" + head(key) + b"a3")
        assert [told(line.answer())[-1] for _ in range(3)] == ["a1", "a2", "a3"]
        # Behind one that stays: it is served here, for what is before it is not answered yet.
        missed = counted(server)["missed"]
        line = away_from(server, lines, slot)
        line.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n" + head(key) + b"b1" + head(key) + b"b2")
        here = line.answer().who["slot"]
        assert here != slot
        assert [line.answer().who["slot"] for _ in range(2)] == [here, here]
        if http == "httptools":  # h11 tells nobody of them
            wait_until(lambda: counted(server)["missed"] == missed + 2)
        assert visit(line, key).who["slot"] == slot
    assert server.stop() == 0


@both_parsers
def test_a_head_that_is_too_long_is_served_where_it_is(launch: Launch, http: str) -> None:
    server = served(launch, *ALL, "--http", http, "--limit-request-head", "2M")
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        line = away_from(server, lines, slot)
        begun, _, rest = head(key, more=f"X: {'x' * 450_000}\r\nContent-Length: 200000\r\n").partition(b"X: ")
        padding, end = rest[:449_000], rest[449_000:]
        line.send(begun + b"X: " + padding)
        time.sleep(0.3)  # until it is read
        line.send(end + b"y" * 200_000)
        assert line.answer().who["slot"] != slot
        wait_until(lambda: counted(server)["missed"] == 1)
    assert server.stop() == 0


@both_parsers
def test_what_is_still_to_be_written_stays_whole(launch: Launch, http: str) -> None:
    """The client has not read the last answer when it asks again: output waits, and cannot go along."""
    server = served(launch, *ALL, "--http", http)
    with Lines() as lines:
        known = opened(server, lines)
        [(one, here)] = list(known.items())[:1]
        other = next(key for key, slot in known.items() if slot != here)
        large = "x" * 8_000_000

        def asked_too_early() -> str:
            [line] = lines.open(server.port, 1)
            line.be_narrow()
            line.send(head(one, more=f"Content-Length: {len(large)}\r\n") + large.encode())
            line.wait_for_some()  # the application has sent all of it
            line.send(head(other) + b"hi")
            assert told(line.answer())[-1] == large
            return str(line.answer().who["slot"])

        # On a busy machine the worker may look at the second one only when all has been read.
        wait_until(lambda: asked_too_early() == here)
        wait_until(lambda: counted(server)["missed"] >= 1)
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("http", "ws"), [("httptools", "websockets"), ("httptools", "wsproto"), ("h11", "websockets-sansio")]
)
def test_a_websocket_goes_to_its_session(launch: Launch, http: str, ws: str) -> None:
    server = served(launch, *ALL, "--http", http, "--ws", ws)
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        for _ in range(8):
            address = f"ws://127.0.0.1:{server.port}/"
            with connect(address, additional_headers={"Session": key}) as socket:
                socket.send("hi")
                assert f'"slot": "{slot}"' in str(socket.recv())
        assert len(told(visit(lines.opened[0], key))) == 9
    assert "Traceback" not in server.output
    assert server.stop() == 0


@both_parsers
def test_what_is_no_request_is_refused_wherever_it_came(launch: Launch, http: str) -> None:
    server = served(launch, *ALL, "--http", http)
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        for garbage in (b"\r\nnonsense\r\n\r\n", b"Z" * 100_000):
            [line] = lines.open(server.port, 1)
            line.send(garbage)
            assert line.head()[0] in (400, 414, 431)
        line = away_from(server, lines, slot)
        line.send(head(key, more="Transfer-Encoding: chunked\r\n") + b"no chunk\r\n")
        assert line.head()[0] == 400
        for strange in ("", ";", "=", "\xff\x80", "a" * 5000, '"', "session=session="):
            [line] = lines.open(server.port, 1)
            line.send(
                b"GET /?session&session=%%%&& HTTP/1.1\r\nHost: test\r\nSession: \r\nSession: "
                + strange.encode("latin-1")
                + b"\r\nCookie: session\r\nCookie: session="
                + strange.encode("latin-1")
                + b"; session=2\r\n\r\n"
            )
            assert line.answer().status == 200
    assert "Traceback" not in server.output
    assert server.stop() == 0


def test_behind_a_proxy_that_keeps_a_pool(launch: Launch, tmp_path: Path) -> None:
    """Whoever asks, each of nginx's connections carries the requests of all."""
    server = served(launch, workers=4)
    with PROXIES["nginx"].before(server.port, tmp_path) as port, Lines() as lines:
        keys = opened(server, lines, 24).keys()
        clients = lines.open(port, 8)

        def ask(line: Line) -> list[int]:
            return [visit(line, key).status for key in keys]

        with ThreadPoolExecutor(len(clients)) as threads:
            statuses = list(threads.map(ask, clients))
        assert statuses == [[200] * len(keys)] * len(clients)
        assert {len(told(visit(clients[0], key))) for key in keys} == {len(clients) + 1}
        found = counted(server)
        assert found["missed"] == 0
        assert found["moved"] > 8
    assert server.stop() == 0


# ── what is told of it ────────────────────────────────────────────────────────────────────────────────


def test_logged_once_and_by_its_true_client(launch: Launch) -> None:
    server = served(launch)
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        line = away_from(server, lines, slot)
        line.send(
            head(key, more="X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nContent-Length: 2\r\n")
            + b"hi"
        )
        assert line.answer().who["slot"] == slot
        server.wait_for(rf'slot {slot}: 192\.0\.2\.7:0 - "POST /visit HTTP/1\.1" 200')
    assert server.stop() == 0
    assert server.count("192\\.0\\.2\\.7") == 1
    assert server.count('"POST /visit') == 1


# ── our own cookie ────────────────────────────────────────────────────────────────────────────────────


@both_parsers
def test_a_cookie_of_ours(launch: Launch, http: str) -> None:
    server = served(launch, "--sticky", "insert", "--http", http)
    get = "GET / HTTP/1.1\r\nHost: test\r\n{}\r\n"
    with Lines() as lines:
        [first] = lines.open(server.port, 1)
        answer = first.ask()
        cookie, _, attributes = answer.headers["set-cookie"].partition("; ")
        assert attributes == "Path=/; HttpOnly; SameSite=Lax"
        assert re.fullmatch(rf"reuseport={answer.who['slot']}-[0-9a-f]{{16}}", cookie)
        for line in lines.open(server.port, 12):
            line.send(get.format(f"Cookie: {cookie}\r\n").encode())
            again = line.answer()
            assert again.who["slot"] == answer.who["slot"]
            assert "set-cookie" not in again.headers
        [secure] = lines.open(server.port, 1)
        secure.send(get.format("X-Forwarded-Proto: https\r\n").encode())
        assert secure.answer().headers["set-cookie"].endswith("; SameSite=Lax; Secure")
        # Forged: whatever it says, it is at most another worker's.
        for forged in ("2-0123456789abcdef", "64-0123456789abcdef", "9999-0123456789abcdef", "x", "-1-0", ""):
            [line] = lines.open(server.port, 1)
            line.send(get.format(f"Cookie: reuseport={forged}\r\n").encode())
            answer = line.answer()
            assert answer.status == 200
            assert ("set-cookie" in answer.headers) == (not forged.startswith("2-"))
    assert "Traceback" not in server.output
    assert server.stop() == 0


# ── whatever happens to the worker that knows it ──────────────────────────────────────────────────────


def test_a_worker_that_is_busy_is_waited_for(launch: Launch) -> None:
    """However idle the others are: nobody else knows the session."""
    server = served(launch)
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        asking = [away_from(server, lines, slot) for _ in range(8)]
        stop_process(pid := server.workers()[int(slot)])
        for line in asking:
            line.send(head(key) + b"hi")
        time.sleep(0.5)  # as long as it is blocked
        os.kill(pid, signal.SIGCONT)
        assert {(line.answer().status) for line in asking} == {200}
        assert counted(server)["missed"] == 0
        assert len(told(visit(asking[0], key))) == len(asking) + 1
    assert server.stop() == 0


def test_one_that_is_blocked_for_long_is_not(launch: Launch) -> None:
    server = served(launch)
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        asking = [away_from(server, lines, slot) for _ in range(8)]
        stop_process(pid := server.workers()[int(slot)])
        for line in asking:
            line.send(head(key) + b"hi")
        # They wait in its session inbox until a sibling may take them.
        assert {line.answer().status for line in asking} == {404}
        # Who comes from now on is served where he is.
        late = lines.open(server.port, 24)
        assert slot not in {visit(line, key).who["slot"] for line in late}
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: visit(asking[0], key).status == 200)
        wait_until(lambda: counted(server)["missed"] >= len(asking) + len(late))
    assert "Traceback" not in server.output
    assert server.stop() == 0


def test_a_full_inbox_is_no_error(launch: Launch, tmp_path: Path) -> None:
    server = served(launch)
    with Lines() as lines:
        [(key, slot), *_] = opened(server, lines).items()
        stop_process(pid := server.workers()[int(slot)])
        body = b"x" * 7_000
        asking = lines.open(server.port, 300)
        for line in asking:
            line.send(head(key, more=f"Content-Length: {len(body)}\r\n") + body)
        wait_until(lambda: counted(server)["missed"] > 0)
        os.kill(pid, signal.SIGCONT)
        assert {line.answer().status for line in asking} == {200, 404}
    assert "Traceback" not in server.output
    assert server.stop() == 0


def test_a_reload_leaves_keys_with_their_slots(launch: Launch) -> None:
    server = served(launch)
    with Lines() as lines:
        known = opened(server, lines, 24)
        server.signal(signal.SIGHUP)
        server.wait_for("generation 2 serves in every slot")
        settled(server, 3)
        [line] = lines.open(server.port, 1)
        assert {key: visit(line, key).who["slot"] for key in known} == known
    assert server.stop() == 0


def test_scaling_moves_few(launch: Launch) -> None:
    server = served(launch)
    with Lines() as lines:
        [line] = lines.open(server.port, 1)

        def served_by() -> dict[str, str]:
            return {key: str(visit(line, key).who["slot"]) for key in map(str, range(300))}

        before: dict[str, str] = {}

        def settled() -> bool:
            """As a moment ago: who could not be moved then, on a busy machine, was served where it was."""
            last = dict(before)
            before.update(served_by())
            return before == last

        wait_until(settled)
        known = opened(server, lines)
        server.signal(signal.SIGTTIN)
        server.wait_for("slot 3 is ready")
        wait_until(lambda: any(visit(line, key).who["slot"] == "3" for key in before))
        after: dict[str, str] = {}

        def moved() -> set[str]:
            after.update(served_by())
            return {key for key in before if before[key] != after[key]}

        wait_until(lambda: {after[key] for key in moved()} == {"3"})
        assert len(moved()) < 120
        assert {key: visit(line, key).who["slot"] for key in known} == known
        server.signal(signal.SIGTTOU)
        server.wait_for("slot 3: Shutting down")
        wait_until(lambda: all(visit(line, key).who["slot"] != "3" for key in before))
        wait_until(lambda: served_by() == before)
    assert server.stop() == 0


def test_when_it_is_killed_nobody_gets_an_error(launch: Launch) -> None:
    server = served(launch)
    with Lines() as lines:
        known = opened(server, lines)
        for killed in range(3):
            asking = [line for line in lines.open(server.port, 24) if line.ask().who["slot"] != str(killed)]
            os.kill(server.workers()[killed], signal.SIGKILL)
            for _ in range(3):
                for line in asking:
                    for key in known:
                        assert visit(line, key).status in (200, 404)
            server.wait_for(rf"slot {killed} is ready .* reason: crash")
    assert "Traceback" not in server.output
    assert server.stop() == 0
