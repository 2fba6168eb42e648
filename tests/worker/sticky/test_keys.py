"""What a request, and an answer, says of its session."""

from __future__ import annotations

import hashlib
import os

import pytest

from reuseport.keytable import TAG
from reuseport.worker.sticky.keys import LONGEST, Keys, cookie

SECRET = b"x" * 32
KEYS = Keys(("header:Mcp-Session-Id", "cookie:sid", "query:token", "insert"), SECRET)
ONE = [(b"host", b"test"), (b"mcp-session-id", b"one")]


def tag(value: bytes, rule: str) -> bytes:
    person = hashlib.blake2b(rule.encode(), digest_size=16).digest()
    return hashlib.blake2b(value, digest_size=TAG, key=SECRET, person=person).digest()


def test_the_first_rule_and_the_first_of_several_decide() -> None:
    found = KEYS.asked([*ONE, (b"mcp-session-id", b"two"), (b"cookie", b"sid=three")], b"/?token=four")
    assert found is not None
    assert found.tag == tag(b"one", "header:mcp-session-id")
    found = KEYS.asked(
        [(b"cookie", b"a=b; c"), (b"cookie", b"xsid=1;  sid = two ; sid=three")], b"token=four"
    )
    assert found is not None
    assert found.tag == tag(b"two", "cookie:sid")
    found = KEYS.asked([(b"cookie", b"sid=")], b"/?tokens=1&token&token=four&token=five#token=six")
    assert found is not None
    assert found.tag == tag(b"four", "query:token")


def test_the_same_value_by_another_rule_is_another_key() -> None:
    by_header, by_cookie = KEYS.asked(ONE, b""), KEYS.asked([(b"cookie", b"sid=one")], b"")
    assert by_header is not None
    assert by_cookie is not None
    assert by_header.tag != by_cookie.tag


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ([], b""),
        ([(b"cookie", b"sid")], b"/token=1?token"),
        ([(b"cookie", b"=sid; sid")], b"/?&&=&=token"),
        ([(b"mcp-session-id", b"")], b"/?token="),
        ([(b"mcp-session-id", b"x" * (LONGEST + 1))], b""),
        ([(b"cookie", b"reuseport=1")], b""),
        ([(b"cookie", b"reuseport=12345-0123456789abcdef")], b""),
        ([(b"cookie", b"reuseport=1-0123456789abcdef0")], b""),
        ([(b"cookie", "reuseport=١-0123456789abcdef".encode())], b""),  # noqa: RUF001 - a digit, elsewhere
    ],
)
def test_no_key(headers: list[tuple[bytes, bytes]], url: bytes) -> None:
    assert KEYS.asked(headers, url) is None


def test_our_own_cookie_names_its_slot() -> None:
    value = cookie(b"reuseport", 12, 2**64 - 1, secure=False).partition(b";")[0]
    found = KEYS.asked([(b"cookie", b"a=b; " + value)], b"")
    assert found is not None
    assert found.slot == 12
    other = Keys(("insert:mine",), SECRET)
    assert other.inserted == b"mine"
    assert other.asked([(b"cookie", value)], b"") is None


def test_what_an_answer_tells() -> None:
    told = [
        (b"MCP-Session-ID", b"one"),
        (b"set-cookie", b"other=1; sid=no"),
        (b"Set-Cookie", b" sid = two ; Path=/; sid=no"),
        (b"location", b"/there?a=b&token=three#token=no"),
        (b"content-length", b"2"),
    ]
    assert list(KEYS.answered(told)) == [
        tag(b"one", "header:mcp-session-id"),
        tag(b"two", "cookie:sid"),
        tag(b"three", "query:token"),
    ]


def test_what_an_application_sends_for_headers_is_not_ours_to_refuse() -> None:
    odd = [("mcp-session-id", "one"), (bytearray(b"mcp-session-id"), b"one"), (None, None), (b"sid", 1)]
    assert list(KEYS.answered(odd)) == []  # type: ignore[arg-type]


def test_no_two_workers_of_another_secret_agree() -> None:
    other = Keys(("header:Mcp-Session-Id",), os.urandom(32)).asked(ONE, b"")
    ours = KEYS.asked(ONE, b"")
    assert other is not None
    assert ours is not None
    assert other.tag != ours.tag
