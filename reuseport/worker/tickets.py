"""TLS session tickets that all workers of a generation take: the launcher's key instead of OpenSSL's own.

Each SSL_CTX makes a key for itself, so a client that comes to another worker than before would have a full
handshake: with N workers it resumes one time in N. Python's ssl has no word for that key, and OpenSSL has
(SSL_CTX_set_tlsext_ticket_keys(3)), so it is asked by way of the pointer that an SSLContext begins with
(Modules/_ssl.c, PySSLContext: the same from 3.7 to 3.13). What is there is proved to be an SSL_CTX before
anything is written: its options are those that Python tells. Where it is none, everything stays as it was.
"""

from __future__ import annotations

import ctypes
import ssl
import sys

SIZE = 80
"""Bytes of a key: its name, an HMAC's, a cipher's (ssl/t1_lib.c, SSL_CTRL_SET_TLSEXT_TICKET_KEYS)."""
_GET, _SET = 58, 59
"""SSL_CTRL_…_TLSEXT_TICKET_KEYS."""


def share(context: ssl.SSLContext, key: bytes) -> bool:
    """Give and take tickets with this key from now on; whether that could be had."""
    if sys.implementation.name != "cpython" or len(key) != SIZE:
        return False
    try:
        import _ssl

        openssl = ctypes.CDLL(getattr(_ssl, "__file__", None))
        control, options = openssl.SSL_CTX_ctrl, openssl.SSL_CTX_get_options
    except (ImportError, OSError, AttributeError):
        return False
    control.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p
    control.restype = ctypes.c_long
    options.argtypes, options.restype = (ctypes.c_void_p,), ctypes.c_uint64
    # An object is its head (whose size `object` tells), and then what its type has.
    found = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if not found or options(found) != int(context.options) or control(found, _GET, 0, None) != SIZE:
        return False
    return bool(control(found, _SET, SIZE, ctypes.create_string_buffer(key, SIZE)))
