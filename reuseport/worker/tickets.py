"""TLS session tickets that all workers take: the launcher's keys instead of OpenSSL's own.

Each SSL_CTX makes a key for itself, so a client that comes to another worker than before would have a full
handshake: with N workers it resumes one time in N. Python's ssl has no word for those keys, and OpenSSL has,
so it is asked by way of the pointer that an SSLContext begins with (Modules/_ssl.c, PySSLContext: the same
from 3.7 to 3.13). What is there is proved to be an SSL_CTX before anything is written: its options are those
that Python tells. Where it is none, everything stays as it was.

From OpenSSL 3 on a function says which key (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)), so tickets of the key
before are taken, too, and replaced. Before that there is one key, and its tickets end with it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import ssl
import sys
from collections.abc import Sequence
from typing import Any

NAME = 16
"""Bytes: the name that a ticket has in clear, and the initialization vector behind it."""
SIZE = 80
"""Bytes of a key: its name, an HMAC's key, a cipher's."""
_GET, _SET = 58, 59
"""SSL_CTRL_…_TLSEXT_TICKET_KEYS (openssl/ssl.h)."""
_NO_TICKET, _TAKEN, _REPLACE = 0, 1, 2

log = logging.getLogger("uvicorn.error")


class _Parameter(ctypes.Structure):
    """OSSL_PARAM(3)."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_char_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


_UTF8, _OCTETS = 4, 5
"""OSSL_PARAM_UTF8_STRING, OSSL_PARAM_OCTET_STRING."""
_POINTER = ctypes.c_void_p
_Choose = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, ctypes.c_int)
_called: list[Any] = []
"""Functions that OpenSSL calls for as long as its contexts live, which nobody tells us: for good, then."""


class Keys:
    """Of one SSLContext, which makes and takes tickets with them from `use` on."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Raises LookupError where that cannot be had."""
        self._keys: tuple[bytes, ...] = ()
        self._context, self._openssl = _proved(context)
        self._choose = _Choose(self._chosen)
        try:
            chooser = self._openssl.SSL_CTX_set_tlsext_ticket_key_evp_cb
            for name in ("EVP_EncryptInit_ex", "EVP_DecryptInit_ex"):
                getattr(self._openssl, name).argtypes = (_POINTER,) * 3 + (ctypes.c_char_p, _POINTER)
            self._openssl.EVP_MAC_CTX_set_params.argtypes = _POINTER, ctypes.POINTER(_Parameter)
            self._openssl.EVP_aes_256_cbc.restype = _POINTER
            self._cipher = self._openssl.EVP_aes_256_cbc()
        except AttributeError:  # OpenSSL 1.1
            self._takes_the_old = False
        else:
            self._takes_the_old = True
            chooser.argtypes = _POINTER, _Choose
            if not chooser(self._context, self._choose):
                raise LookupError("OpenSSL takes no function for ticket keys")
            _called.append(self._choose)

    def use(self, keys: Sequence[bytes]) -> None:
        """Make tickets with the first of them, and take those of all."""
        self._keys = tuple(keys)
        if not self._takes_the_old:
            self._openssl.SSL_CTX_ctrl(self._context, _SET, SIZE, ctypes.create_string_buffer(keys[0], SIZE))

    def _chosen(self, _ssl: Any, name: int, vector: int, cipher: int, mac: int, making: int) -> int:
        # Called by OpenSSL: what is raised here would be told and dropped, and mean _NO_TICKET.
        keys = self._keys
        if making:
            number = 0
            ctypes.memmove(name, keys[0], NAME)
            ctypes.memmove(vector, os.urandom(NAME), NAME)
        else:
            named = ctypes.string_at(name, NAME)
            number = next((at for at, key in enumerate(keys) if key[:NAME] == named), -1)
            if number < 0:
                return _NO_TICKET
        secret = keys[number]
        parameters = (_Parameter * 3)(
            _Parameter(b"key", _OCTETS, secret[NAME:48], 32),
            _Parameter(b"digest", _UTF8, b"sha256", 6),
        )
        begin = self._openssl.EVP_EncryptInit_ex if making else self._openssl.EVP_DecryptInit_ex
        done = self._openssl.EVP_MAC_CTX_set_params(mac, parameters) and begin(
            cipher, self._cipher, None, secret[48:], vector
        )
        if not done:
            return _NO_TICKET
        return _TAKEN if number == 0 else _REPLACE


def made_for(keys: Sequence[bytes], trusted: bytes) -> list[bytes]:
    """Of these keys those for workers with the same `trusted` authorities; the same ones where it is nothing.

    Who resumes a session shows no certificate again, so a ticket from before a reload would let in a client
    whose authority has been taken away.
    """
    if not trusted:
        return list(keys)
    import hashlib

    return [hashlib.shake_256(key + trusted).digest(SIZE) for key in keys]


def share(context: ssl.SSLContext, keys: Sequence[bytes]) -> Keys | None:
    """Give and take tickets with these from now on; None where that cannot be had."""
    try:
        shared = Keys(context)
    except LookupError as why:
        log.debug("TLS sessions are resumed only by the worker that began them: %s", why)
        return None
    shared.use(keys)
    return shared


def _proved(context: ssl.SSLContext) -> tuple[int, Any]:
    """The SSL_CTX, and the library whose it is. Raises LookupError."""
    if sys.implementation.name != "cpython":
        raise LookupError("this is not CPython")
    try:
        import _ssl

        openssl = ctypes.CDLL(getattr(_ssl, "__file__", None))
        control, options = openssl.SSL_CTX_ctrl, openssl.SSL_CTX_get_options
    except (ImportError, OSError, AttributeError) as error:
        raise LookupError("OpenSSL's functions are not to be found") from error
    control.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p
    control.restype = ctypes.c_long
    options.argtypes, options.restype = (ctypes.c_void_p,), ctypes.c_uint64
    # An object is its head (whose size `object` tells), and then what its type has.
    found = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if not found or options(found) != int(context.options) or control(found, _GET, 0, None) != SIZE:
        raise LookupError("what an SSLContext begins with is no SSL_CTX")
    return found, openssl
