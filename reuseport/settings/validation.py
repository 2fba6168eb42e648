"""What is wrong with settings as a whole: files that cannot be read, flags that contradict each other.

Single values were checked when they were read (`kinds`). This looks at the machine, once, before
anything is started, so that a mistake is one sentence here and not a crash in every worker.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from reuseport.errors import ConfigurationError
from reuseport.settings.table import DEFAULTS, Settings, spellings

if TYPE_CHECKING:
    import ssl

_FILES = ("env_file", "log_config", "ssl_certfile", "ssl_keyfile", "ssl_ca_certs")
_TLS = (
    *("ssl_sni", "ssl_keyfile", "ssl_ca_certs", "ssl_keyfile_password"),
    *("ssl_ciphers", "ssl_cert_reqs", "ssl_version"),
)


def validate(settings: Settings) -> None:
    """Raises ConfigurationError, naming the flag and the fix, for settings that cannot be served."""
    _require_readable_files(settings)
    if settings.http2 and settings.http != "zttp":
        raise ConfigurationError(f"--http2 needs --http zttp, not --http {settings.http}")
    _require_who_can_limit(settings)
    if settings.preload == "on" and not settings.mold:
        raise ConfigurationError("--preload shares the application by a mold: leave out --no-mold")
    if settings.log_format == "json" and find_spec("pythonjsonlogger") is None:
        raise ConfigurationError("--log-format json needs python-json-logger: pip install 'reuseport[json]'")
    if settings.ssl_certfile is not None:
        _load_certificate(settings, settings.ssl_certfile)
        for name, certificate, key in settings.named_certificates():
            for path in filter(None, (certificate, key)):
                _require_readable(f"--ssl-sni {name}", path)
            _load_certificate(replace(settings, ssl_keyfile=key), certificate)
    elif idle := next(_tls_settings_given(settings), None):
        # uvicorn would serve plain HTTP and say nothing.
        raise ConfigurationError(f"{spellings(idle)[-1]} needs a certificate: give --ssl-certfile too")


def _require_who_can_limit(settings: Settings) -> None:
    if settings.limit_request_body and settings.http not in ("auto", "httptools", "h11"):
        raise ConfigurationError(
            f"--limit-request-body needs --http httptools or h11, not --http {settings.http}"
        )
    if settings.proxy_protocol and settings.http not in ("auto", "httptools", "h11"):
        raise ConfigurationError(
            f"--proxy-protocol needs --http httptools or h11, not --http {settings.http}"
        )
    if settings.max_wait and settings.http not in ("auto", "httptools", "h11"):
        raise ConfigurationError(f"--max-wait needs --http httptools or h11, not --http {settings.http}")
    if settings.sticky:
        _require_movable(settings)


def _require_movable(settings: Settings) -> None:
    if settings.ssl_certfile is not None:
        raise ConfigurationError(
            "--sticky cannot move what is encrypted: have a proxy in front take --ssl-certfile"
        )
    if settings.http not in ("auto", "httptools", "h11"):
        raise ConfigurationError(f"--sticky needs --http httptools or h11, not {settings.http}")
    if sum(rule.partition(":")[0] == "insert" for rule in settings.sticky) > 1:
        raise ConfigurationError("--sticky insert sets one cookie: give it once")


def require_our_file(path: Path | None) -> None:
    """Raise ConfigurationError if we are root and others may write a file of settings that nobody has named.

    Workers run as somebody else, in a directory that may be theirs: what they write there must not decide
    what root does at the next start. In a directory with the sticky bit nobody replaces root's files.
    """
    if path is None or os.geteuid() != 0:
        return
    file, directory = path.stat(), path.parent.stat()
    replaced = _others_write(directory) and not directory.st_mode & stat.S_ISVTX
    if replaced or _others_write(file):
        raise ConfigurationError(
            f"{path.name} decides what root does, and others than root may write it: say that you trust it"
            f" (--config {path.name}), or give it and its directory to root alone"
        )


def _others_write(found: os.stat_result) -> bool:
    return found.st_uid != 0 or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _require_readable_files(settings: Settings) -> None:
    for name in _FILES:
        path = getattr(settings, name)
        if path is None:
            continue
        _require_readable(spellings(name)[-1], path)
    for path in settings.reload_dirs:
        if not Path(path).exists():
            raise ConfigurationError(f"--reload-dir {path} does not exist: name a directory to watch")


def _require_readable(flag: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ConfigurationError(f"cannot read {flag} {path}: {_reason(error)}") from error


def _tls_settings_given(settings: Settings) -> Iterator[str]:
    return (name for name in _TLS if getattr(settings, name) != getattr(DEFAULTS, name))


def _load_certificate(settings: Settings, certificate: str) -> None:
    """Do what uvicorn's create_ssl_context does in each worker, with an error for each way it fails."""
    # Imported here because it costs several MiB that a launcher without TLS need not hold.
    import ssl

    try:
        context = ssl.SSLContext(settings.ssl_version)
        context.verify_mode = ssl.VerifyMode(settings.ssl_cert_reqs)
    except ValueError as error:
        raise ConfigurationError(
            f"--ssl-version {settings.ssl_version} is no protocol a server can speak: "
            f"leave it out, or write 17 (PROTOCOL_TLS_SERVER)"
        ) from error
    asked = _Password(settings.ssl_keyfile_password)
    try:
        context.load_cert_chain(certificate, settings.ssl_keyfile, asked)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(_refusal(settings, certificate, asked, error)) from error
    _load_client_rules(settings, context)


def _load_client_rules(settings: Settings, context: "ssl.SSLContext") -> None:
    import ssl

    if settings.ssl_ca_certs:
        try:
            context.load_verify_locations(settings.ssl_ca_certs)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"--ssl-ca-certs {settings.ssl_ca_certs} holds no certificate in PEM form"
            ) from error
    if settings.ssl_ciphers:
        try:
            context.set_ciphers(settings.ssl_ciphers)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"--ssl-ciphers {settings.ssl_ciphers!r} names no cipher OpenSSL knows: see `openssl ciphers`"
            ) from error


class _Password:
    """Answers OpenSSL, and remembers having been asked.

    Without a callback OpenSSL would ask on the terminal, once in the launcher and again in every worker.
    """

    def __init__(self, password: str | None) -> None:
        self._password = password or ""
        self.asked = False

    def __call__(self) -> str:
        self.asked = True
        return self._password


def _refusal(settings: Settings, certificate: str, password: _Password, error: Exception) -> str:
    """The likeliest cause first: OpenSSL names the mismatch, but says "PEM lib" for most of the rest."""
    key = settings.ssl_keyfile or certificate
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return (
            f"the private key in {key} does not belong to the certificate in {certificate}: give its own key"
        )
    if password.asked and settings.ssl_keyfile_password is None:
        return f"the private key in {key} is encrypted: give --ssl-keyfile-password-file"
    if password.asked:
        return f"--ssl-keyfile-password does not open the private key in {key}: give the right password"
    if b"-----BEGIN CERTIFICATE-----" not in Path(certificate).read_bytes():
        return f"--ssl-certfile {certificate} holds no certificate in PEM form"
    if b"PRIVATE KEY-----" not in Path(key).read_bytes():
        return f"{key} holds no private key: give the key's file with --ssl-keyfile"
    return f"OpenSSL does not take the certificate in {certificate} with the key in {key}: {_reason(error)}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
