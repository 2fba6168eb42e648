"""Who is let in: names a browser may call us by, pages of other sites, headers that would change a method."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.admin.doors import Token
from tests.admin.visits import BEARER, Served, Visit, admin_of, request, serve
from tests.conftest import Launch, launching

US = [
    *("localhost", "LOCALHOST", "localhost.", "localhost:9000", "127.0.0.1", "127.0.0.1:1", "127.0.0.1."),
    *("[::1]", "[::1]:80", "10.1.2.3:9000", "[fe80::1]", "named.example", "Named.Example:9000"),
]
NOT_US = [
    *("evil.example", "evil.example:9000", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("evil-localhost", "localhost@evil.example", "evil.example@127.0.0.1", "user:pass@localhost"),
    *("localhost/", "localhost#", "2130706433", "0x7f000001", "127.1", "0177.0.0.1"),
    *("xn--lcalhost-b1a", "l\u00f6calhost", "localhost\u00a0", "localhost:evil", "localhost::80"),
    *("[::1", "[evil]", "", ".", ":", ":80", "a.named.example", "*", "null"),
    *("localhost,evil.example", "localhost evil.example", "127.0.0.1%00.evil.example"),
]
"""Also every way to write 127.0.0.1 that is a name to whoever looks it up."""


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a name of its own."""
    directory = tmp_path_factory.mktemp("named")
    with launching(directory) as launch:
        yield serve(launch, directory, "--admin-host", "named.example", workers=1)


def status(served: Served, path: str, host: str, method: str = "GET") -> int:
    with Visit(served.admin) as visit:
        visit.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
        return visit.answer().status


def test_hosts_that_are_us(named: Served) -> None:
    assert {host: status(named, "/api/v1/status", host) for host in US} == dict.fromkeys(US, 200)


def test_hosts_that_are_not(named: Served) -> None:
    """What a name of somebody else's that leads here would have a browser send."""
    answers = {host: status(named, "/api/v1/status", host) for host in NOT_US}
    # 400: not even a header to h11.
    assert {host: code for host, code in answers.items() if code not in (400, 403)} == {}
    assert status(named, "/api/v1/status", "evil.example") == 403
    assert status(named, "/api/v1/reload", "evil.example", "POST") == 403


def test_probes_answer_to_any_host_and_the_control_socket_does(named: Served) -> None:
    for path in ("/livez", "/readyz", "/startupz"):
        assert status(named, path, "10.0.0.7.cluster.local") == 200
    assert named.ask("/api/v1/status", headers={"Host": "whatever"}).status == 200


def test_without_a_host(named: Served) -> None:
    with Visit(named.admin) as visit:
        visit.send(b"GET /api/v1/status HTTP/1.0\r\n\r\n")
        assert visit.answer().status == 403
    with Visit(named.admin) as visit:
        visit.send(b"GET /api/v1/status HTTP/1.1\r\n\r\n")
        assert visit.answer().status == 400
    with Visit(named.admin) as visit:
        visit.send(b"GET http://evil.example/api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert visit.answer().status == 404


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost:9000"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_another_sites_page_may_not_act(named: Served, headers: dict[str, str], allowed: bool) -> None:
    """Not with the token either, nor at the control socket."""
    for place in (named.admin, named.control):
        answer = named.ask("/api/v1/slots/9/drain", "POST", {**BEARER, **headers}, b"", place=place)
        assert answer.status == (404 if allowed else 403)
        # To look it may: what it gets, its browser keeps from it.
        assert named.ask("/api/v1/session", headers=headers, place=place).status == 200


def test_no_header_makes_another_method_of_it(named: Served) -> None:
    before = named.status()["generation"]
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert named.ask("/api/v1/reload", headers={header: "POST"}).status == 405
        assert (
            named.ask("/api/v1/reload?_method=POST", headers={header: "POST"}, place=named.admin).status
            == 405
        )
    for header in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Host", "X-Forwarded-For", "Forwarded"):
        assert (
            named.ask("/api/v1/slots/0/restart", "POST", {header: "/livez"}, b"", place=named.admin).status
            == 401
        )
    assert named.status()["generation"] == before


TRAVERSALS = [
    *("/page/../api.py", "/page/..%2fapi.py", "/page/%2e%2e/api.py", "/page/%252e%252e%252fapi.py"),
    *("/page/....//api.py", "/page/..\\api.py", "/page/..%5capi.py", "/page//etc/passwd"),
    *("/page/%2fetc%2fpasswd", "/page/index.html%00.js", "/page/%00", "/page/", "/page/."),
    *("/page/./../../pyproject.toml", "/../page/api.py", "/page/file:///etc/passwd"),
    *("/page/%c0%ae%c0%ae/api.py", "/page/%ff", "/page/vendor", "/page/vendor/"),
    *("/page/" + "../" * 40 + "etc/passwd", "/page/" + "a" * 8000, "/etc/passwd"),
    *("/page/__init__.py",),
]


def test_no_path_leads_out_of_the_page(named: Served) -> None:
    answers = {path: named.ask(path, place=named.admin).status for path in TRAVERSALS}
    assert answers == dict.fromkeys(TRAVERSALS, 404)


def test_every_answer_has_the_headers_that_bind_browsers(named: Served) -> None:
    for path, method in (("/livez", "GET"), ("/nothing", "GET"), ("/api/v1/stop", "POST"), ("/livez", "PUT")):
        answer = named.ask(path, method, body=b"", place=named.admin)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in answer.headers


def test_websockets_are_no_way_in(named: Served) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "A" * 22 + "=="}
    with Visit(named.admin) as visit:
        visit.send(request("/livez", headers=upgrade))
        assert visit.answer().status == 200


def test_without_a_token_nobody_acts_at_the_admin_address(launch: Launch, tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    server = launch("plain:app", "--control", str(control), "--admin", "127.0.0.1:0").ready(1)
    served = Served(server, str(control), admin_of(server))
    for headers in ({}, BEARER):
        answer = served.ask("/api/v1/reload", "POST", headers, b"", place=served.admin)
        assert (answer.status, "--admin-token-file" in answer.error) == (403, True)
    assert served.ask("/api/v1/session", place=served.admin).json == {"actions": False, "token": False}


@given(st.text(string.printable, min_size=16, max_size=200), st.binary(max_size=300))
def test_only_the_token_is_the_token(secret: str, guess: bytes) -> None:
    """Why no time is measured here: what is compared are two SHA-256 digests, by hmac.compare_digest, which
    looks at all of both when they are of one length. Digests always are, whatever is given. How far a guess
    is right has no bearing on how far its digest is, so there is nothing that a clock could tell; a test with
    a clock would show no more on a good day and fail on a busy one.
    """
    token = Token(secret)
    assert token.matches(secret.encode())
    assert token.matches(guess) == (guess == secret.encode())
    assert not token.matches(secret.encode()[:-1])
    assert secret not in repr(vars(token))
    assert {type(value) for value in vars(token).values()} == {bytes}
    assert {len(value) for value in vars(token).values()} == {32}
