"""When a certificate ends, as its file says; asked of certificates that somebody else has made."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trustme

from reuseport.certificate import days_left, expiry

DAY = 86400.0


@pytest.mark.parametrize(
    ("year", "form"), [(2049, "two digits"), (2050, "four digits"), (2200, "four digits")]
)
def test_it_is_what_the_issuer_wrote(tmp_path: Path, year: int, form: str) -> None:
    when = datetime.datetime(year, 2, 28, 23, 59, 58, tzinfo=datetime.UTC)
    made = trustme.CA().issue_cert("test", not_after=when)
    path = tmp_path / "cert.pem"
    # As people have them: the key first, and the chain behind.
    path.write_bytes(made.private_key_pem.bytes() + b"".join(pem.bytes() for pem in made.cert_chain_pems))
    assert expiry(path) == when.timestamp()


def test_openssl_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    trustme.CA().issue_cert("test").cert_chain_pems[0].write_to_path(str(path))
    told = ssl._ssl._test_decode_cert(str(path))["notAfter"]  # type: ignore[attr-defined]
    assert expiry(path) == ssl.cert_time_to_seconds(told)


@pytest.mark.parametrize("cut", [0, 1, 30, 200])
def test_what_is_none_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cert.pem"
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().issue_cert("test").cert_chain_pems[0].bytes().decode())
    path.write_text(ssl.DER_cert_to_PEM_cert(der[:cut]))
    with pytest.raises(ValueError, match="holds no certificate"):
        expiry(path)
    path.write_text("no certificate at all")
    with pytest.raises(ValueError, match="holds no certificate"):
        expiry(path)


def test_days() -> None:
    assert days_left(10 * DAY, 3 * DAY) == 7
    assert days_left(3 * DAY, 10 * DAY) == -7
