"""What a certificate file says of itself: until when it is valid. DER as far as that needs (RFC 5280, 4.1).

No module of Python's public interface tells it of a file.
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

DAY = 86400.0
SOON = 14
"""Days before the end from which on it is to be said: whoever renews should have by then."""
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_UTC_TIME, _SEQUENCE, _VERSION = 0x17, 0x30, 0xA0


def expiry(path: str | Path) -> float:
    """When the first certificate in a PEM file ends, seconds since the epoch. Raises OSError, ValueError."""
    text = Path(path).read_text(encoding="ascii", errors="replace")
    begin = text.find(_BEGIN)
    end = text.find(_END, begin)
    if begin < 0 or end < 0:
        raise ValueError(f"{path} holds no certificate in PEM form")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin : end + len(_END)]))
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} holds no certificate that can be read") from error


def days_left(expires: float, now: float) -> float:
    """Negative when it is over. Both are seconds since the epoch."""
    return (expires - now) / DAY


def _not_after(der: bytes) -> float:
    certificate = _Reader(der).inner(_SEQUENCE).inner(_SEQUENCE)
    if certificate.tag() == _VERSION:
        certificate.skip()
    for _ in range(3):  # serial number, signature algorithm, issuer
        certificate.skip()
    validity = certificate.inner(_SEQUENCE)
    validity.skip()
    two_digits = validity.tag() == _UTC_TIME
    text = validity.skip().decode("ascii")
    if two_digits:
        # From 50 on they are of the last century (RFC 5280, 4.1.2.5.1); strptime(3) would say from 69 on.
        text = ("19" if text >= "5" else "20") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%S%z").timestamp()


class _Reader:
    """Of one DER value's content."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def tag(self) -> int:
        return self._data[self._at]

    def skip(self) -> bytes:
        """The content of the next value, and go behind it."""
        size, at = self._data[self._at + 1], self._at + 2
        if size & 0x80:
            digits = size & 0x7F
            size, at = int.from_bytes(self._data[at : at + digits], "big"), at + digits
        content = self._data[at : at + size]
        if len(content) < size:
            raise ValueError("it is cut off")
        self._at = at + size
        return content

    def inner(self, tag: int) -> _Reader:
        if self.tag() != tag:
            raise ValueError("it is no certificate")
        return _Reader(self.skip())
