"""Flags of other servers, and what to write here: who moves over types them. The manual has them, too.

uvicorn's are not among them, for they are all ours; nor are those that mean the same here, such as -b, -w and
--graceful-timeout.
"""

from __future__ import annotations

import re

import click

GUNICORN, HYPERCORN, GRANIAN = "gunicorn", "hypercorn", "granian"
_BOTH = (GUNICORN, HYPERCORN)

_LEAVE = "leave it out"

FOREIGN: dict[str, tuple[tuple[str, ...], str]] = {
    "-k": (_BOTH, f"{_LEAVE}: each worker is one of uvicorn's; for another event loop write --loop"),
    "--worker-class": (
        _BOTH,
        f"{_LEAVE}: each worker is one of uvicorn's; for another event loop write --loop",
    ),
    "--threads": (
        (GUNICORN,),
        f"{_LEAVE}: a worker has one event loop, and libraries their pools of threads",
    ),
    "--worker-connections": ((GUNICORN,), "write --limit-connections"),
    "--reuse-port": ((GUNICORN,), f"{_LEAVE}: it is always so"),
    "--timeout": (
        (GUNICORN,),
        "write -t or --worker-timeout: for silence of the event loop, not for requests",
    ),
    "--keep-alive": (_BOTH, "write --timeout-keep-alive"),
    "--max-requests": (_BOTH, "write --limit-max-requests"),
    "--max-requests-jitter": (_BOTH, "write --limit-max-requests-jitter"),
    "--limit-request-line": ((GUNICORN,), "write --limit-request-head: target and headers together"),
    "--limit-request-field_size": ((GUNICORN,), "write --limit-request-head: target and headers together"),
    "--read-timeout": ((HYPERCORN,), "write --head-timeout and --body-timeout"),
    "--access-logfile": (_BOTH, "write --access-log-file; the access log is on without it"),
    "--error-logfile": (_BOTH, "write --log-file"),
    "--error-log": ((HYPERCORN,), "write --log-file"),
    "--access-logformat": (
        _BOTH,
        f"{_LEAVE}: lines are uvicorn's, or one object each with --log-format json",
    ),
    "--log-config-json": ((GUNICORN,), "write --log-config FILE.json"),
    "--log-syslog": ((GUNICORN,), f"{_LEAVE}: the service manager takes stderr, or write --log-config"),
    "--capture-output": ((GUNICORN,), f"{_LEAVE}: what the application prints goes to our stdout and stderr"),
    "--statsd-host": (_BOTH, "write --admin and have /metrics scraped"),
    "--statsd-prefix": (_BOTH, "write --admin and have /metrics scraped"),
    "--pid": (_BOTH, "write -p or --pid-file"),
    "--daemon": (_BOTH, f"{_LEAVE}: see `reuseport generate systemd`"),
    "-D": (_BOTH, f"{_LEAVE}: see `reuseport generate systemd`"),
    "--umask": (_BOTH, f"{_LEAVE}: the service manager sets it (systemd: UMask=)"),
    "-m": (_BOTH, f"{_LEAVE}: the service manager sets it (systemd: UMask=)"),
    "--env": ((GUNICORN,), "set it in the environment, or write --env-file"),
    "-e": ((GUNICORN,), "set it in the environment, or write --env-file"),
    "--name": ((GUNICORN,), f"{_LEAVE}: `reuseport status` tells servers apart"),
    "-n": ((GUNICORN,), f"{_LEAVE}: `reuseport status` tells servers apart"),
    "--chdir": ((GUNICORN,), "write --app-dir, or change the directory before"),
    "--pythonpath": ((GUNICORN,), "write --app-dir, or set PYTHONPATH"),
    "--worker-tmp-dir": ((GUNICORN,), f"{_LEAVE}: there are no heartbeat files"),
    "--check-config": ((GUNICORN,), "type `reuseport check` and APP instead"),
    "--print-config": ((GUNICORN,), "type `reuseport doctor` and APP instead"),
    "--certfile": (_BOTH, "write --ssl-certfile"),
    "--keyfile": (_BOTH, "write --ssl-keyfile"),
    "--keyfile-password": ((HYPERCORN,), "write --ssl-keyfile-password-file"),
    "--ca-certs": (_BOTH, "write --ssl-ca-certs"),
    "--ciphers": (_BOTH, "write --ssl-ciphers"),
    "--cert-reqs": (_BOTH, "write --ssl-cert-reqs"),
    "--verify-mode": ((HYPERCORN,), "write --ssl-cert-reqs: 0, 1 or 2"),
    "--control-socket": ((GUNICORN,), "write --control"),
    "--no-control-socket": ((GUNICORN,), "write --no-control"),
    "--asgi-loop": ((GUNICORN,), "write --loop"),
    "--asgi-lifespan": ((GUNICORN,), "write --lifespan"),
    "--websocket-ping-interval": ((HYPERCORN,), "write --ws-ping-interval"),
    "--websocket-max-message-size": ((GUNICORN,), "write --ws-max-size"),
    "--server-name": (
        (HYPERCORN,),
        f"{_LEAVE}: have the proxy, or Starlette's TrustedHostMiddleware, look at Host",
    ),
    "--insecure-bind": (
        (HYPERCORN,),
        "start a second server without --ssl-certfile: one is all TLS, or none",
    ),
    "--quic-bind": ((HYPERCORN,), "have a proxy in front speak HTTP/3"),
    "--backpressure": ((GRANIAN,), "write --limit-connections"),
    "--blocking-threads": ((GRANIAN,), f"{_LEAVE}: there are none of the server's"),
    "--runtime-threads": ((GRANIAN,), f"{_LEAVE}: there are none of the server's"),
    "--runtime-mode": ((GRANIAN,), f"{_LEAVE}: there are no threads of the server's"),
    "--respawn-failed-workers": ((GRANIAN,), f"{_LEAVE}: it is always so"),
    "--workers-lifetime": ((GRANIAN,), "write --worker-lifetime"),
    "--workers-max-rss": ((GRANIAN,), "write --worker-max-rss: a number is bytes, 512M mebibytes"),
    "--workers-kill-timeout": ((GRANIAN,), "write --graceful-timeout"),
    "--env-files": ((GRANIAN,), "write --env-file, once"),
    "--working-dir": ((GRANIAN,), "write --app-dir, or change the directory before"),
    "--url-path-prefix": ((GRANIAN,), "write --root-path"),
    "--ssl-certificate": ((GRANIAN,), "write --ssl-certfile"),
    "--ssl-ca": ((GRANIAN,), "write --ssl-ca-certs"),
    "--ssl-client-verify": ((GRANIAN,), "write --ssl-cert-reqs 2"),
    "--access-log-fmt": (
        (GRANIAN,),
        f"{_LEAVE}: lines are uvicorn's, or one object each with --log-format json",
    ),
    "--metrics": ((GRANIAN,), "write --admin 127.0.0.1:9090, and have /metrics scraped there"),
    "--reload-paths": ((GRANIAN,), "write --reload-dir"),
    "--reload-ignore-dirs": ((GRANIAN,), "write --reload-exclude"),
    "--reload-ignore-patterns": ((GRANIAN,), "write --reload-exclude"),
    "--static-path-mount": ((GRANIAN,), "have a proxy in front serve files, or Starlette's StaticFiles"),
    "--process-name": ((GRANIAN,), f"{_LEAVE}: `reuseport status` tells servers apart"),
}
"""Whose flag it is, and what to do instead."""


def advised(error: click.NoSuchOption) -> click.UsageError:
    """What to say to who has typed such a flag; the same error if it is nobody's whom we know."""
    if (found := FOREIGN.get(error.option_name)) is None:
        return error
    whose, instead = found
    owners = " and ".join(f"{name}'s" for name in whose)
    return click.UsageError(f"{error.option_name} is {owners}: {instead}", error.ctx)


def table(server: str) -> str:
    """Its rows for the manual, flags of the same meaning together."""
    rows: dict[str, list[str]] = {}
    for flag, (whose, instead) in FOREIGN.items():
        if server in whose:
            rows.setdefault(instead, []).append(f"`{flag}`")
    return "\n".join(
        (
            f"| {server} | here |",
            "|---|---|",
            *(f"| {', '.join(f)} | {_code(text)} |" for text, f in rows.items()),
        )
    )


def _code(text: str) -> str:
    """Flags as code."""
    return re.sub(r"(?<!\S)--?[a-zA-Z][a-z-]*", r"`\g<0>`", text)
