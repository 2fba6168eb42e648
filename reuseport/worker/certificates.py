"""A worker's certificates: one, or one a host name (SNI); and when the first of them ends.

Read anew by each worker, so a renewed one is taken up by a reload, and one that cannot be read stops the
reload and not the server.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uvicorn.config import create_ssl_context

from reuseport.certificate import expiry
from reuseport.settings.table import Settings


def serve_names(context: ssl.SSLContext, settings: Settings) -> None:
    """Let each client have the certificate of the name that it asks for, and others that of the context.

    Raises OSError, ssl.SSLError.
    """
    by_name = {
        name: create_ssl_context(
            certfile=certificate,
            keyfile=key,
            password=settings.ssl_keyfile_password,
            ssl_version=settings.ssl_version,
            cert_reqs=settings.ssl_cert_reqs,
            ca_certs=settings.ssl_ca_certs,
            ciphers=settings.ssl_ciphers,
        )
        for name, certificate, key in settings.named_certificates()
    }
    if not by_name:
        return

    def choose(connection: Any, name: str | None, _context: ssl.SSLContext) -> None:
        chosen = context_for(by_name, name)
        if chosen is not None:
            connection.context = chosen

    context.sni_callback = choose


def trusted_authorities(settings: Settings) -> bytes:
    """What clients' certificates are verified with; nothing where they show none. Raises OSError."""
    if not settings.ssl_cert_reqs or settings.ssl_ca_certs is None:
        return b""
    return Path(settings.ssl_ca_certs).read_bytes()


def context_for(by_name: Mapping[str, ssl.SSLContext], name: str | None) -> ssl.SSLContext | None:
    """The one of that name, or of its domain's `*.`; None: of neither. Names are in lower case."""
    if name is None:
        return None
    name = name.lower().rstrip(".")
    _, _, domain = name.partition(".")
    return by_name.get(name) or by_name.get(f"*.{domain}")


def first_expiry(settings: Settings) -> int:
    """When the first of all certificates ends, seconds since the epoch; 0 where there is none to be read."""
    if settings.ssl_certfile is None:
        return 0
    try:
        return max(0, int(min(map(expiry, settings.certificates()))))
    except (OSError, ValueError):
        return 0  # OpenSSL takes forms that we do not read; it has taken this one
