"""What the API answers, what its actions do, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reuseport.launcher.deciding.ending import CUT_SHORT, ONE_WISH
from tests.admin.visits import BEARER, Served, Visit, request, serve
from tests.conftest import Launch
from tests.whole.lines import wait_until

BOTH = {"Content-Length": "3", "Transfer-Encoding": "chunked"}


def settled(served: Served, says: Callable[[Any], bool]) -> Any:
    """The first status that is so."""
    wait_until(lambda: says(served.status()), lambda: json.dumps(served.status(), indent=1))
    return served.status()


def serving(status: Any) -> bool:
    return bool(status["state"] == "serving" and status["ready"] == status["workers"])


def generation(wanted: int) -> Callable[[Any], bool]:
    return lambda status: (
        status["state"] == "serving" and {slot["generation"] for slot in status["slots"]} == {wanted}
    )


# ── to look ───────────────────────────────────────────────────────────────────────────────────────────


def test_session_tells_what_a_visitor_may_do(served: Served) -> None:
    assert served.ask("/api/v1/session").json == {"actions": True, "token": False}
    assert served.ask("/api/v1/session", place=served.admin).json == {"actions": False, "token": True}
    with_token = served.ask("/api/v1/session", headers=BEARER, place=served.admin)
    assert with_token.json == {"actions": True, "token": True}


def test_both_doors_tell_the_same(served: Served) -> None:
    for place in (served.control, served.admin):
        status = served.ask("/api/v1/status", place=place)
        assert status.headers["cache-control"] == "no-store"
        assert status.headers["content-type"] == "application/json"
        assert status.json["pid"] == served.server.pid
        assert status.json["addresses"] == [served.server.url]
        assert sorted(slot["pid"] for slot in status.json["slots"]) == sorted(
            served.server.workers().values()
        )


def test_history_has_a_sample_a_second(served: Served) -> None:
    def samples() -> Any:
        return served.ask("/api/v1/history").json["samples"]

    wait_until(lambda: len(samples()) >= 3)
    first, second, third = samples()[-3:]
    assert first["time"] < second["time"] < third["time"]
    assert served.ask("/api/v1/history").json["step"] == 1.0


def test_events_after_a_number(served: Served) -> None:
    everything = served.ask("/api/v1/events").json
    numbers = [record["seq"] for record in everything["events"]]
    assert numbers == list(range(1, everything["last"] + 1))
    assert everything["lost"] == 0
    assert {"starting", "ready", "all_ready"} <= {record["kind"] for record in everything["events"]}
    some = served.ask("/api/v1/events?after=2&limit=2").json
    assert [record["seq"] for record in some["events"]] == [3, 4]
    assert some["last"] == everything["last"]
    assert served.ask(f"/api/v1/events?after={everything['last']}").json["events"] == []
    assert served.ask("/api/v1/events?after=9007199254740992").json["events"] == []


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "after=1e3", "after=%20", "after=9007199254740993", "limit=0", "limit=1025"],
)
def test_events_after_what_is_no_number(served: Served, query: str) -> None:
    answer = served.ask(f"/api/v1/events?{query}")
    assert answer.status == 400
    assert "is a whole number from" in answer.error


def test_head_is_get_without_its_body(served: Served) -> None:
    for path in ("/livez", "/api/v1/status", "/api/v1/openapi.json", "/api/v1/stream"):
        head = served.ask(path, "HEAD")
        assert head.status == 200
        assert "content-security-policy" in head.headers
    # The connection goes on behind the answer.
    with Visit(served.control) as visit:
        visit.send(request("/api/v1/stream", "HEAD") + request("/livez"))
        assert visit.answer(bodiless=True).headers["content-type"].startswith("text/event-stream")
        assert visit.answer().body == b"ok: the launcher is alive\n"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/status", "GET, HEAD"),
        ("POST", "/api/v1/stream", "GET, HEAD"),
        ("OPTIONS", "/api/v1/stream", "GET, HEAD"),
        ("OPTIONS", "/api/v1/status", "GET, HEAD"),
        ("DELETE", "/livez", "GET, HEAD"),
        ("GET", "/api/v1/reload", "POST"),
        ("GET", "/api/v1/slots/0/drain", "POST"),
        ("BREW", "/api/v1/stop", "POST"),
    ],
)
def test_a_method_that_is_not_allowed(served: Served, method: str, path: str, allowed: str) -> None:
    answer = served.ask(path, method, body=b"")
    assert answer.status == 405
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")
    assert answer.error.endswith(f"here: use {answer.headers['allow']}")


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/api/v1/status/", "/api/v2/status", "//livez"]
)
def test_what_is_not_there(served: Served, path: str) -> None:
    answer = served.ask(path)
    assert answer.status == 404
    assert "location" not in answer.headers
    assert "/api/v1/openapi.json" in answer.error


# ── to act ────────────────────────────────────────────────────────────────────────────────────────────


def test_reload_promises_its_generation(launch: Launch, tmp_path: Path) -> None:
    served = serve(launch, tmp_path, env={"TEST_STARTUP_SECONDS": "0.3"})
    first = served.post("/reload")
    assert (first.status, first.json) == (202, {"generation": 2})
    # While that one runs, any number of requests is one more.
    settled(served, lambda status: status["state"] == "reloading")
    assert served.post("/reload").json == {"generation": 3}
    assert served.post("/reload").json == {"generation": 3}
    status = settled(served, generation(3))
    assert status["reloads"] == {"done": 2, "aborted": 0}
    assert served.post("/reload").json == {"generation": 4}
    settled(served, generation(4))


def test_scale_drain_and_restart(launch: Launch, tmp_path: Path) -> None:
    served = serve(launch, tmp_path, workers=1)
    alone = served.post("/slots/0/drain")
    assert (alone.status, "no other slot serves" in alone.error) == (409, True)

    scaled = served.post("/scale", {"workers": 2})
    assert (scaled.status, scaled.json) == (202, {"workers": 2})
    before = settled(served, lambda status: serving(status) and status["workers"] == 2)["slots"][1]

    drained = served.post("/slots/1/drain")
    assert (drained.status, drained.json) == (202, {"slot": 1})
    slot = settled(served, lambda status: status["slots"][1]["state"] == "drained")["slots"][1]
    assert (slot["pid"], slot["foster"]) == (None, 0)
    again = served.post("/slots/1/drain")
    assert (again.status, again.error) == (409, "it is out of service already")

    assert served.post("/slots/1/restart").json == {"slot": 1}
    slot = settled(served, serving)["slots"][1]
    assert slot["pid"] not in (None, before["pid"])
    assert served.post("/slots/1/restart").status == 202
    settled(served, lambda status: serving(status) and status["slots"][1]["pid"] not in (None, slot["pid"]))

    served.post("/scale", {"workers": 1})
    settled(served, lambda status: serving(status) and status["workers"] == 1)
    kinds = {record["kind"] for record in served.ask("/api/v1/events").json["events"]}
    assert {"scaled", "drained", "restarted", "refused", "fostered"} <= kinds


def test_stop_is_answered_and_a_second_one_refused(launch: Launch, tmp_path: Path) -> None:
    served = serve(launch, tmp_path, "--shutdown-delay", "30s", workers=1)
    stopped = served.post("/stop")
    assert (stopped.status, stopped.json) == (202, {})
    settled(served, lambda status: status["state"] == "stopping")
    for path, content in (
        ("/stop", None),
        ("/reload", None),
        ("/scale", {"workers": 2}),
        ("/slots/0/drain", None),
        ("/slots/0/restart", None),
    ):
        refused = served.post(path, content)
        assert refused.status == 409
        assert "stopping" in refused.error
    # Wishes within a second are one.
    asked = served.status()["uptime"]
    settled(served, lambda status: status["uptime"] > asked + ONE_WISH)
    served.server.signal(signal.SIGTERM)
    assert served.server.wait() == CUT_SHORT, "nobody waits for the shutdown of the application"


def test_actions_at_the_admin_address_need_the_token(served: Served) -> None:
    path = "/api/v1/slots/7/drain"

    def act(headers: dict[str, str]) -> int:
        return served.ask(path, "POST", headers, b"", place=served.admin).status

    without = served.ask(path, "POST", body=b"", place=served.admin)
    assert without.status == 401
    assert without.headers["www-authenticate"].startswith("Bearer")
    assert "Authorization: Bearer TOKEN" in without.error
    assert act({"Authorization": "Bearer wrong"}) == 401
    assert act({"Authorization": "Basic " + BEARER["Authorization"].partition(" ")[2]}) == 401
    assert act({"Authorization": BEARER["Authorization"] + "x"}) == 401
    assert act({"Authorization": BEARER["Authorization"][:-1]}) == 401
    assert act({"Authorization": BEARER["Authorization"].replace("Bearer", "bearer")}) == 404
    assert act(BEARER) == 404
    # A wrong token is told of also by who only looks.
    wrong = served.ask("/api/v1/status", headers={"Authorization": "Bearer wrong"}, place=served.admin)
    assert wrong.status == 401


@pytest.mark.parametrize(
    "slot", ["2", "99", "9007199254740993", "-1", "x", "0x0", "%00", "1%2F..%2F0", "%D9%A1"]
)
def test_a_slot_that_is_not_there(served: Served, slot: str) -> None:
    for action in ("drain", "restart"):
        assert served.ask(f"/api/v1/slots/{slot}/{action}", "POST", body=b"").status == 404


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"workers=3", b"[]", b"3", b"null", b"{}", b'{"workers": null}', b'{"workers": "3"}'),
        *(b'{"workers": 3.0}', b'{"workers": true}', b'{"workers": 1e999}', b'{"workers": NaN}'),
        *(b'{"workers": 0}', b'{"workers": -1}', b'{"workers": ' + b"9" * 4000 + b"}"),
        *(b'{"workers": 2', b"\xff\xfe\xfd", b'{"workers": 2}\x00', b"[" * 4096, b'{"a":' * 800),
    ],
)
def test_a_body_that_says_no_number(served: Served, body: bytes) -> None:
    answer = served.ask("/api/v1/scale", "POST", body=body)
    assert (answer.status, len(answer.error) < 200) == (400, True)
    assert served.status()["workers"] == 2


def test_more_workers_than_there_is_room_for(served: Served) -> None:
    answer = served.post("/scale", {"workers": 1000})
    assert answer.status == 409
    assert "the number of workers is 1 to 66" in answer.error


def test_a_body_that_is_too_long(served: Served) -> None:
    answer = served.ask("/api/v1/scale", "POST", body=b" " * 4097)
    assert (answer.status, answer.error) == (413, "at most 4096 bytes")
    assert served.ask("/api/v1/scale", "POST", body=b" " * 1_000_000).status == 413


def test_a_body_that_does_not_come(served: Served) -> None:
    with Visit(served.control) as visit:
        visit.send(request("/api/v1/scale", "POST", {"Content-Length": "14"}) + b'{"work')
        answer = visit.answer()
    assert answer.status == 408
    assert "within 5 s" in answer.error


def test_two_lengths_of_one_body_are_refused(served: Served) -> None:
    """Whoever stands between could have taken the other one (RFC 9112, 6.3)."""
    with Visit(served.control) as visit:
        visit.send(request("/api/v1/scale", "POST", BOTH) + b"0\r\n\r\n" + request("/livez"))
        answer = visit.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert "Content-Length" in answer.error
        assert visit.ended()


def test_what_cannot_be_read_is_an_error_like_any_other(served: Served) -> None:
    for data in (
        b"\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        with Visit(served.control) as visit:
            visit.send(data)
            answer = visit.answer()
            assert (answer.status, bool(answer.error)) == (400, True)
            assert visit.ended()


def test_a_head_that_is_too_long(served: Served) -> None:
    with Visit(served.control) as visit:
        visit.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 17_000)
        assert visit.answer().status == 400


def test_records_that_no_utf8_can_hold(launch: Launch, tmp_path: Path) -> None:
    """Python keeps the bytes of a file's name that are no text as surrogates."""
    (tmp_path / "fragment.py").write_text("async def app(scope, receive, send): raise ValueError")
    served = serve(launch, tmp_path, "--app-dir", str(tmp_path), app="fragment:app")
    (tmp_path / "fragment.py").write_text("raise RuntimeError('\\udcff')")
    served.server.signal(signal.SIGHUP)
    served.server.wait_for("reload to generation 2 aborted")
    assert served.ask("/api/v1/events").status == 200


def test_the_pid_of_a_killed_worker_is_replaced(served: Served) -> None:
    before = served.status()["slots"][0]
    os.kill(before["pid"], signal.SIGKILL)
    slot = settled(served, lambda s: serving(s) and s["slots"][0]["pid"] != before["pid"])["slots"][0]
    assert slot["restarts"] == before["restarts"] + 1
    assert "killed by SIGKILL" in slot["last_exit"]


def test_many_ask_at_once(served: Served) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.extend(served.ask("/api/v1/status", place=served.admin).status for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 80
