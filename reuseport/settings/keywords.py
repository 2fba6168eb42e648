"""Settings as keyword arguments of Python: their types, and the command line that says the same.

The class is written by scripts/keywords from the table. What a flag cannot say (no to a switch that has no
--no-…, a password that nobody is to read in the list of processes) goes into the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from reuseport.errors import ConfigurationError
from reuseport.settings.kinds import PASSWORD
from reuseport.settings.precedence import checked, nearest, variables_of
from reuseport.settings.table import FLAGS, spellings

StrPath: TypeAlias = str | os.PathLike[str]


# written by scripts/keywords


class Keywords(TypedDict, total=False):
    """Every setting but APP; durations in seconds."""

    workers: int | Literal["auto"] | None
    mold: bool | None
    reload_at_once: int | None
    preload: Literal["off", "on", "try"] | None
    startup_timeout: float | str | None
    worker_timeout: float | str | None
    graceful_timeout: float | str | None
    shutdown_timeout: float | str | None
    shutdown_delay: float | str | None
    gc_freeze: bool | None
    on_ready: str | None
    on_exit: str | None
    before_reload: str | None
    before_reload_timeout: float | str | None
    bind: Sequence[str] | None
    join: bool | None
    balance: Literal["auto", "least-loaded", "round-robin", "cpu", "hash"] | None
    pin_cpus: bool | None
    rebalance: bool | None
    rescue: bool | None
    stealing: bool | None
    sticky: Sequence[str] | None
    arrival_timeout: float | str | None
    head_timeout: float | str | None
    body_timeout: float | str | None
    write_timeout: float | str | None
    limit_request_head: int | str | None
    limit_request_fields: int | str | None
    limit_request_body: int | str | None
    limit_connections: int | str | None
    proxy_protocol: bool | None
    max_wait: float | str | None
    user: str | None
    group: str | None
    ssl_keyfile_password_file: StrPath | None
    ssl_sni: Sequence[str] | None
    ssl_ticket_rotation: float | str | None
    worker_lifetime: float | str | None
    worker_lifetime_jitter: float | str | None
    worker_max_rss: int | str | None
    log_format: Literal["text", "json"] | None
    log_file: StrPath | None
    access_log_file: StrPath | None
    pid_file: StrPath | None
    control: StrPath | None
    no_control: bool | None
    admin: str | None
    admin_token_file: StrPath | None
    admin_hosts: Sequence[str] | None
    admin_open: bool | None
    agent_check: str | None
    min_ready: int | None
    host: str | None
    port: int | None
    uds: StrPath | None
    fd: int | None
    backlog: int | None
    root_path: StrPath | None
    app_dir: StrPath | None
    factory: bool | None
    interface: str | None
    lifespan: str | None
    env_file: StrPath | None
    reset_contextvars: bool | None
    loop: str | None
    http: str | None
    http2: bool | None
    h11_max_incomplete_event_size: int | None
    ws: str | None
    ws_max_size: int | None
    ws_max_queue: int | None
    ws_ping_interval: float | None
    ws_ping_timeout: float | None
    ws_per_message_deflate: bool | None
    proxy_headers: bool | None
    forwarded_allow_ips: str | None
    server_header: bool | None
    date_header: bool | None
    headers: Sequence[str] | None
    limit_concurrency: int | None
    limit_max_requests: int | None
    limit_max_requests_jitter: int | None
    timeout_keep_alive: int | None
    timeout_graceful_shutdown: int | None
    timeout_worker_healthcheck: int | None
    log_config: StrPath | None
    log_level: str | None
    access_log: bool | None
    use_colors: bool | None
    ssl_keyfile: StrPath | None
    ssl_certfile: StrPath | None
    ssl_keyfile_password: str | None
    ssl_version: int | None
    ssl_cert_reqs: int | None
    ssl_ca_certs: StrPath | None
    ssl_ciphers: str | None
    reload: bool | None
    reload_dirs: Sequence[StrPath] | None
    reload_includes: Sequence[str] | None
    reload_excludes: Sequence[str] | None
    reload_delay: float | None
    config: StrPath | None
    """The file, as --config."""


# end


def read(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The values by setting, as if typed; None is as if it were not there. Raises ConfigurationError."""
    values = {}
    for name, value in keywords.items():
        if name not in FLAGS:
            raise ConfigurationError(f"there is no setting {name!r}{nearest(name)}")
        if value is not None:
            _refuse_objects(name, value)
            values[name] = checked(FLAGS[name], _plain(value), name)
    return values


def _refuse_objects(name: str, value: Any) -> None:
    """What uvicorn.run() takes as well, and what no command line can say."""
    if name == "log_config" and isinstance(value, Mapping):
        raise ConfigurationError(
            "log_config is the path of a file: json.dump() the dictionary into a .json file"
        )
    if name == "headers" and isinstance(value, Sequence) and not all(isinstance(part, str) for part in value):
        raise ConfigurationError('headers are texts: write ["Name:value"] instead of pairs')


def arguments(values: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """The command line that says what `read` has returned, and the variables of its environment."""
    line: list[str] = []
    variables: dict[str, str] = {}
    for name, value in values.items():
        kind, flag = FLAGS[name].kind, spellings(name)[-1]
        yes, _, no = flag.partition("/")
        if name == "app":
            line.insert(0, value)
        elif kind is PASSWORD:
            variables[variables_of(name)[0]] = value
        elif kind.metavar is not None:
            parts = value if kind.separator else (value,)
            line += [f"{flag}={kind.show(part)}" for part in parts]
        elif value or no:
            line.append(yes if value else no)
        else:
            variables[variables_of(name)[0]] = kind.show(value)
    return line, variables


def _plain(value: Any) -> Any:
    """Paths as text, and any sequence of several as a list."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value
