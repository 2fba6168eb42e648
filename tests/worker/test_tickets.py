"""Session tickets with keys of ours: any context takes those of the newest key and of the one before."""

from __future__ import annotations

import os
import ssl

import pytest
import trustme

from reuseport.worker import tickets
from reuseport.worker.tickets import SIZE, Keys, share

CA = trustme.CA()
CERTIFICATE = CA.issue_cert("one.test")
OLDEST, OLD, NEW = (os.urandom(SIZE) for _ in range(3))


def server(*keys: bytes) -> tuple[ssl.SSLContext, Keys]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    shared = share(context, keys)
    assert shared is not None
    return context, shared


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def client(request: pytest.FixtureRequest) -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.maximum_version = ssl.TLSVersion[request.param]
    return context


def visit(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool | None, ssl.SSLSession]:
    """Whether the session was resumed, and the one to go on with."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(up, down, server_side=True)
    ours = client.wrap_bio(down, up, server_hostname="one.test", session=session)

    def done(step: object) -> bool:
        try:
            step()  # type: ignore[operator]
        except ssl.SSLWantReadError:
            return False
        return True

    greeted = [False, False]
    while not all(greeted):
        greeted = [done(ours.do_handshake), done(theirs.do_handshake)]
    theirs.write(b"x")
    assert ours.read(1) == b"x"
    assert ours.session is not None
    return ours.session_reused, ours.session


def test_any_context_resumes_what_another_began(client: ssl.SSLContext) -> None:
    (one, _), (other, _) = server(NEW), server(NEW)
    resumed, session = visit(one, client)
    assert not resumed
    assert visit(other, client, session)[0]


def test_the_key_before_is_taken_and_its_tickets_replaced(client: ssl.SSLContext) -> None:
    context, keys = server(OLDEST)
    _, oldest = visit(context, client)
    keys.use([OLD, OLDEST])
    resumed, old = visit(context, client, oldest)
    assert resumed
    keys.use([NEW, OLD])
    assert not visit(context, client, oldest)[0]
    resumed, newest = visit(context, client, old)
    assert resumed
    keys.use([OLDEST, NEW])
    assert visit(context, client, newest)[0]


def test_who_hears_late_makes_tickets_that_the_others_take(client: ssl.SSLContext) -> None:
    (late, _), (prompt, _) = server(OLD), server(NEW, OLD)
    _, session = visit(late, client)
    assert visit(prompt, client, session)[0]
    _, session = visit(prompt, client)
    resumed, _ = visit(late, client, session)
    assert not resumed, "and what it does not know, it greets in full"


def test_a_ticket_that_was_changed_is_none(client: ssl.SSLContext) -> None:
    (context, _), (other, _) = server(NEW), server(NEW[:16] + OLD[16:])
    _, session = visit(context, client)
    assert not visit(other, client, session)[0]


def test_before_openssl_3_there_is_one_key(client: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    proved = tickets._proved

    class Old:
        def __init__(self, openssl: object) -> None:
            self.SSL_CTX_ctrl = openssl.SSL_CTX_ctrl  # type: ignore[attr-defined]

    monkeypatch.setattr(tickets, "_proved", lambda context: (proved(context)[0], Old(proved(context)[1])))
    (context, keys), (other, _) = server(OLD), server(OLD)
    _, session = visit(context, client)
    assert visit(other, client, session)[0]
    keys.use([NEW, OLD])
    assert not visit(context, client, session)[0]
