"""What a request, or an answer to one, says of its session: a key, by the rules of --sticky.

    header:NAME   the header; learned from a header of that name in an answer
    cookie:NAME   the cookie; learned from Set-Cookie
    query:NAME    the parameter of the URL; learned from where an answer redirects to (Location)
    insert:NAME   a cookie of our own, which names the slot itself: nothing to learn

The first rule that finds something decides, and of several such headers, cookies or parameters the first.
What is found is compared byte for byte, and never kept: only its tag is, a keyed hash. Whatever a client
sends costs time in proportion to its length, and no memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from reuseport.keytable import TAG

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

LONGEST = 4096
"""Bytes of a key. What is longer is none: no session is known by it."""
INSERTED = "reuseport"
"""Our cookie's name, unless another is given."""

_OURS = re.compile(rb"(\d{1,4})-[0-9a-f]{16}", re.ASCII)
"""The value of our cookie: a slot, and what tells the cookies of one slot from each other."""


class Key(NamedTuple):
    """What a request belongs to."""

    tag: bytes
    slot: int | None = None
    """Named by our own cookie."""


class Keys:
    """Finds keys by the rules, `secret` being the server's own."""

    def __init__(self, rules: Sequence[str], secret: bytes) -> None:
        self._secret = secret
        self.inserted: bytes | None = None
        """The name of our own cookie, if we set one."""
        self._asking: list[tuple[bytes, Callable[[Headers, bytes], bytes | None]]] = []
        self._told: dict[bytes, list[tuple[bytes, Callable[[bytes], bytes | None]]]] = {}
        """By the lower-case name of a response header: what finds keys in its value, and of which kind."""
        for rule in rules:
            kind, _, text = rule.partition(":")
            name = text.encode()
            match kind:
                case "header":
                    name = name.lower()
                    self._asking.append((_kind(rule), _Header(name)))
                    self._told.setdefault(name, []).append((_kind(rule), bytes))
                case "cookie":
                    self._asking.append((_kind(rule), _Cookie(name)))
                    self._told.setdefault(b"set-cookie", []).append((_kind(rule), _SetCookie(name)))
                case "query":
                    find = _Parameter(name)
                    self._asking.append((_kind(rule), find.asked))
                    self._told.setdefault(b"location", []).append((_kind(rule), find.told))
                case "insert":
                    self.inserted = name or INSERTED.encode()
        self._ours = None if self.inserted is None else _Cookie(self.inserted)

    def asked(self, headers: Headers, url: bytes) -> Key | None:
        """The key of a request: its headers, names in lower case, and its URL."""
        for kind, find in self._asking:
            value = find(headers, url)
            if value and len(value) <= LONGEST:
                return Key(self._tag(kind, value))
        if self._ours is not None:
            value = self._ours(headers, url)
            if value is not None and (named := _OURS.fullmatch(value)) is not None:
                return Key(self._tag(b"insert", value), int(named[1]))
        return None

    def answered(self, headers: Headers) -> Iterator[bytes]:
        """The tags of the keys that an answer tells its client. What is no header others will refuse."""
        for name, value in headers:
            if type(name) is not bytes or type(value) is not bytes:
                continue
            for kind, find in self._told.get(name.lower(), ()):
                if (key := find(value)) and len(key) <= LONGEST:
                    yield self._tag(kind, key)

    def _tag(self, kind: bytes, value: bytes) -> bytes:
        tag = hashlib.blake2b(value, digest_size=TAG, key=self._secret, person=kind).digest()
        return tag if any(tag) else b"\1" * TAG  # all zeros is where nothing has been written


def cookie(name: bytes, slot: int, rest: int, *, secure: bool) -> bytes:
    """Set-Cookie for our own. Nothing in it is secret, and who forges it chooses a worker for himself."""
    return b"%s=%d-%016x; Path=/; HttpOnly; SameSite=Lax%s" % (
        name,
        slot,
        rest,
        b"; Secure" if secure else b"",
    )


def _kind(rule: str) -> bytes:
    """What keeps keys of different rules apart: BLAKE2 has 16 bytes for it."""
    return hashlib.blake2b(rule.lower().encode(), digest_size=16).digest()


# ── in a request ──────────────────────────────────────────────────────────────────────────────────────


class _Header:
    def __init__(self, name: bytes) -> None:
        self._name = name

    def __call__(self, headers: Headers, _: bytes) -> bytes | None:
        wanted = self._name
        for name, value in headers:
            if name == wanted:
                return value
        return None


class _Cookie:
    """RFC 6265, 4.2: `one=1; other=2`, in one header or several (RFC 9113, 8.2.3)."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def __call__(self, headers: Headers, _: bytes) -> bytes | None:
        wanted = self._name
        for name, value in headers:
            if name == b"cookie" and wanted in value:
                for pair in value.split(b";"):
                    known, equals, key = pair.partition(b"=")
                    if equals and known.strip() == wanted:
                        return key.strip()
        return None


# ── in an answer ──────────────────────────────────────────────────────────────────────────────────────


class _SetCookie:
    def __init__(self, name: bytes) -> None:
        self._name = name

    def __call__(self, value: bytes) -> bytes | None:
        name, _, key = value.partition(b";")[0].partition(b"=")
        return key.strip() if name.strip() == self._name else None


# ── in either ─────────────────────────────────────────────────────────────────────────────────────────


class _Parameter:
    """Of a URL, as it stands there."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def asked(self, _: Headers, url: bytes) -> bytes | None:
        """In that of a request."""
        return self.told(url)

    def told(self, url: bytes) -> bytes | None:
        """In that of a Location."""
        wanted = self._name
        if wanted in url:
            for pair in url.partition(b"#")[0].partition(b"?")[2].split(b"&"):
                known, equals, key = pair.partition(b"=")
                if equals and known == wanted:
                    return key
        return None
