"""What `--bind` means: forms, refusals, resolution, and the shape that travels."""

import json
import socket

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import (
    DescriptorAddress,
    Endpoint,
    TCPAddress,
    UnixAddress,
    parse,
    parse_all,
    refuse_overlaps,
    resolve,
)

LOOPBACK = Endpoint(socket.AF_INET, ("127.0.0.1", 8000))
LOOPBACK6 = Endpoint(socket.AF_INET6, ("::1", 8000, 0, 0))
LINK_LOCAL = Endpoint(socket.AF_INET6, ("fe80::1", 8000, 0, 2))


@pytest.mark.parametrize(
    ("text", "address", "canonical"),
    [
        ("127.0.0.1:8000", TCPAddress("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("example.org:0", TCPAddress("example.org", 0), "example.org:0"),
        (":8000", TCPAddress("0.0.0.0", 8000), "0.0.0.0:8000"),
        ("[::1]:08000", TCPAddress("::1", 8000), "[::1]:8000"),
        ("[fe80::1%eth0]:80", TCPAddress("fe80::1%eth0", 80), "[fe80::1%eth0]:80"),
        ("h:65535", TCPAddress("h", 65535), "h:65535"),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("unix:///run/app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("unix:app.sock", UnixAddress("app.sock"), "unix:app.sock"),
        ("fd://3", DescriptorAddress(3), "fd://3"),
    ],
)
def test_every_form_is_read_and_has_one_spelling(text: str, address: object, canonical: str) -> None:
    assert parse(text) == address
    assert str(address) == canonical
    assert parse(canonical) == address


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8000", "127.0.0.1:8000"),
        ("localhost", "HOST:PORT"),
        ("", "HOST:PORT"),
        ("*:80", ":PORT"),
        ("h:", "0 to 65535"),
        ("h:http", "0 to 65535"),
        ("h:65536", "0 to 65535"),
        ("h:-1", "0 to 65535"),
        ("h:٣", "0 to 65535"),
        ("::1:8000", r"\[::1\]:8000"),
        ("[127.0.0.1]:80", "not IPv6"),
        ("[]:80", "not IPv6"),
        ("[::1]", "port is missing"),
        ("[::ffff:127.0.0.1]:80", "write 127.0.0.1:80"),
        ("http://h:80", "leave out http://"),
        ("https://h", "leave out https://"),
        ("unix:", "unix:/path"),
        ("unix:/run/", "unix:/path"),
        ("unix:/" + "x" * 107, "107 bytes"),
        ("fd://", "fd://3"),
        ("fd://-1", "fd://3"),
        ("fd://99999999999", "fd://3"),
    ],
)
def test_anything_else_is_refused_with_the_fix(text: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        parse(text)


@pytest.mark.parametrize(
    "texts",
    [
        ["127.0.0.1:80", "127.0.0.1:80"],
        ["unix:/a", "unix:///a"],
        ["fd://3", "fd://3"],
        ["h:1", "127.0.0.1:80", "h:1"],
    ],
)
def test_an_address_given_twice_is_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="given twice"):
        parse_all(texts)


@pytest.mark.parametrize("texts", [[":80", "[::]:80"], ["[::]:80", "0.0.0.0:80"]])
def test_both_wildcards_at_one_port_are_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"\[::\] alone serves IPv4 too"):
        parse_all(texts)


@pytest.mark.parametrize(
    "texts",
    [[":80", "[::]:81"], ["h:0", "h:0"], ["127.0.0.1:80", "[::1]:80", "unix:/a", "unix:/b", "fd://3"]],
)
def test_addresses_that_go_together_keep_their_order(texts: list[str]) -> None:
    assert parse_all(texts) == tuple(parse(text) for text in texts)


def test_two_names_for_one_endpoint_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:8000 is given twice"):
        refuse_overlaps([LOOPBACK, LOOPBACK6, LOOPBACK])


def test_an_address_resolves_to_itself() -> None:
    assert resolve(TCPAddress("127.0.0.1", 8000)) == (LOOPBACK,)
    assert resolve(TCPAddress("::1", 8000)) == (LOOPBACK6,)
    assert resolve(TCPAddress("0::0", 1)) == (Endpoint(socket.AF_INET6, ("::", 1, 0, 0)),)


def test_localhost_resolves_to_loopback_without_repeats() -> None:
    endpoints = resolve(TCPAddress("localhost", 8000))
    assert set(endpoints) <= {LOOPBACK, LOOPBACK6}
    assert len(endpoints) == len(set(endpoints)) >= 1


@pytest.mark.parametrize("host", ["host.invalid", "a..b", "x" * 64])
def test_an_unknown_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot resolve the host of"):
        resolve(TCPAddress(host, 8000))


@pytest.mark.parametrize("endpoint", [LOOPBACK, LOOPBACK6, LINK_LOCAL])
def test_an_endpoint_survives_a_message(endpoint: Endpoint) -> None:
    assert Endpoint.from_json(json.loads(json.dumps(endpoint.to_json()))) == endpoint


@pytest.mark.parametrize("fields", [[], [2, "h"], [2, "h", "80"], [10, "::1", 80, 0], [2, 80, "h"]])
def test_another_shape_is_no_endpoint(fields: list[object]) -> None:
    with pytest.raises(ValueError, match="not an endpoint"):
        Endpoint.from_json(fields)


def test_an_endpoint_has_a_url_and_a_spelling() -> None:
    assert LOOPBACK.url("http") == "http://127.0.0.1:8000"
    assert LOOPBACK6.url("https") == "https://[::1]:8000"
    assert LINK_LOCAL.url("http") == "http://[fe80::1%252]:8000"
    assert str(LINK_LOCAL) == "[fe80::1%2]:8000"
    assert LINK_LOCAL.with_port(81).sockaddr == ("fe80::1", 81, 0, 2)
