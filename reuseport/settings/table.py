"""Every setting, once: name, default, flags, kind, topic and help. All else derives from this table.

The options of the command line, the names in the environment, the keys of the file, the text of
--help and the tests are read off the fields below; to add a setting is to add a field.
"""

import json
from dataclasses import asdict, fields
from typing import Any, Literal

from reuseport.errors import ConfigurationError
from reuseport.records import record
from reuseport.settings.flags import Flag, Topic
from reuseport.settings.kinds import (
    APPLICATION,
    BOOLEAN,
    CALLABLE,
    COMMAND,
    DURATION,
    HEADERS,
    LIMIT,
    NUMBER,
    PASSWORD,
    PRELOAD,
    SIZE,
    SNI,
    STICKY,
    SWITCH,
    WORKERS,
    choice,
    import_string,
    integer,
    split_sni,
    text,
    texts,
)

_application, _workers, _address = Topic("Application"), Topic("Workers"), Topic("Address")
_hooks = Topic("Hooks")
_balance, _identity = Topic("Balance"), Topic("Privileges")
_recycling, _files = Topic("Recycling"), Topic("Logs and files")
_admin = Topic("Control and admin")
_clients = Topic("Clients")
_listen, _run, _speak = Topic("uvicorn: address"), Topic("uvicorn: application"), Topic("uvicorn: protocols")
_head, _limit, _log = Topic("uvicorn: headers"), Topic("uvicorn: limits"), Topic("uvicorn: logs")
_tls, _watch = Topic("uvicorn: TLS"), Topic("uvicorn: reload")
_secrets = Topic("TLS")

_NAT = integer(0)
_PATHS = texts("PATH", separator=":")

UNLIMITED_SHUTDOWN = 30.0
"""Seconds for lifespan shutdown where nobody has set a limit: whoever stops us has one."""


@record(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run's settings. Durations are in seconds, sizes in bytes; 0 switches a limit off."""

    app: str = _application(
        "reuseport.demo:app", APPLICATION, "module:attribute; a dotted module alone means :app"
    )
    workers: int | Literal["auto"] = _workers(
        1,
        WORKERS,
        "Number of workers; auto follows CPUs and memory.",
        "-w",
        "--workers",
        variables=("WEB_CONCURRENCY",),
    )
    mold: bool = _workers(
        True,
        SWITCH,
        "Fork workers from a process that has imported what they share.",
        "--mold/--no-mold",
    )
    reload_at_once: int = _workers(
        1, integer(1), "Slots that a reload replaces at a time: so many more workers there are meanwhile."
    )
    preload: Literal["off", "on", "try"] = _workers(
        "off",
        PRELOAD,
        "Import the application before workers are forked, so that they share it; try: if it can be shared.",
    )
    startup_timeout: float = _workers(60.0, DURATION, "Kill a worker that is not ready in time; 0 = never.")
    worker_timeout: float = _workers(
        30.0,
        DURATION,
        "Kill a worker whose event loop is silent for so long; 0 = never.",
        "-t",
        "--worker-timeout",
    )
    graceful_timeout: float = _workers(
        30.0, DURATION, "How long a worker may finish its requests when it must go."
    )
    shutdown_timeout: float | None = _workers(
        None,
        DURATION,
        "How long lifespan shutdown may take; 0 = no limit. Without it none in a stop, else 30s.",
    )
    shutdown_delay: float = _workers(
        0.0, DURATION, "Serve on for so long after SIGTERM, while load balancers notice."
    )
    gc_freeze: bool = _workers(
        True,
        SWITCH,
        "Keep the garbage collector off what there is once the application is up.",
        "--gc-freeze/--no-gc-freeze",
    )

    on_ready: str | None = _hooks(
        None, CALLABLE, "Call this in each worker once it is ready; plain or async, without arguments."
    )
    on_exit: str | None = _hooks(
        None, CALLABLE, "Call this in each worker that was ready, after lifespan shutdown."
    )
    before_reload: str | None = _hooks(
        None, COMMAND, "Run this before each reload, as the workers' user; when it fails there is no reload."
    )
    before_reload_timeout: float = _hooks(
        300.0, DURATION, "How long --before-reload may take; 0 = as long as it likes."
    )

    bind: tuple[str, ...] = _address(
        (),
        texts("ADDRESS", separator=r"[\s,]+"),
        "HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd://N; repeatable.",
        "-b",
        "--bind",
    )
    join: bool = _address(False, SWITCH, "Share the port even if another program listens on it.")

    balance: Literal["auto", "least-loaded", "round-robin", "cpu", "hash"] = _balance(
        "auto",
        choice("auto", "least-loaded", "round-robin", "cpu", "hash"),
        "How the kernel chooses a worker; auto is least-loaded where it can be had, else hash.",
    )
    pin_cpus: bool = _balance(False, SWITCH, "Run each slot's worker on one CPU, the slots in turn.")
    rebalance: bool = _balance(
        True,
        SWITCH,
        "Move keep-alive connections from busy workers to idle ones.",
        "--rebalance/--no-rebalance",
    )
    rescue: bool = _balance(
        True,
        SWITCH,
        "Pass waiting connections of a worker whose event loop is blocked to one that turns.",
        "--rescue/--no-rescue",
    )
    stealing: bool = _balance(
        True,
        SWITCH,
        "Have an idle worker accept the connections that wait for one whose event loop is blocked.",
        "--stealing/--no-stealing",
    )
    sticky: tuple[str, ...] = _balance(
        (),
        STICKY,
        "Pass requests with this session key (header:NAME, cookie:NAME, query:NAME) to the worker that knows"
        " it; insert[:NAME] sets a cookie for that; repeatable.",
    )

    arrival_timeout: float = _clients(
        30.0, DURATION, "Close a new connection that asks for nothing for so long; 0 = never."
    )
    head_timeout: float = _clients(
        10.0, DURATION, "Answer 408 when a request's headers are not complete by then; 0 = never."
    )
    body_timeout: float = _clients(
        30.0, DURATION, "Answer 408 when nothing of a request's body comes for so long; 0 = never."
    )
    write_timeout: float = _clients(
        30.0, DURATION, "Cut off a client that reads nothing of its response for so long; 0 = never."
    )
    limit_request_head: int = _clients(
        65536, SIZE, "Answer 431 to a request whose target and headers are larger; 0 = no limit."
    )
    limit_request_fields: int = _clients(
        1000, LIMIT, "Answer 431 to a request with more header fields; 0 = no limit."
    )
    limit_request_body: int = _clients(0, SIZE, "Answer 413 to a request whose body is larger; 0 = no limit.")
    limit_connections: int = _clients(
        0, LIMIT, "Accept no more while a worker has so many connections; 0 = as ulimit -n allows."
    )
    proxy_protocol: bool = _clients(
        False, SWITCH, "Proxies of --forwarded-allow-ips announce their clients (PROXY protocol 1 and 2)."
    )
    max_wait: float = _clients(
        0.0, DURATION, "Answer 503 to a request that has waited for a worker for so long; 0 = never."
    )

    user: str | None = _identity(
        None, text("USER"), "Run the workers as this user, a name or a number.", "-u", "--user"
    )
    group: str | None = _identity(None, text("GROUP"), "Run the workers with this group.", "-g", "--group")

    ssl_keyfile_password_file: str | None = _secrets(
        None, text("PATH"), "The first line of this file is the private key's password."
    )

    ssl_sni: tuple[str, ...] = _secrets(
        (), SNI, "Use this certificate for clients that ask for this name, or *.domain; repeatable."
    )

    ssl_ticket_rotation: float = _secrets(43200.0, DURATION, "A new key for TLS tickets so often; 0 = never.")

    worker_lifetime: float = _recycling(0.0, DURATION, "Replace a worker of this age; 0 = never.")
    worker_lifetime_jitter: float = _recycling(
        0.0, DURATION, "Add up to so much to each worker's lifetime, at random."
    )
    worker_max_rss: int = _recycling(
        0, SIZE, "Replace a worker whose resident memory is above this; 0 = never."
    )

    log_format: Literal["text", "json"] = _files(
        "text", choice("text", "json"), "One line of text or one JSON object per event."
    )
    log_file: str | None = _files(
        None, text("PATH"), "Append the log to this file instead of stderr (-); reopened on SIGUSR1."
    )
    access_log_file: str | None = _files(
        None, text("PATH"), "Append the access log to this file instead of stdout (-); reopened on SIGUSR1."
    )
    pid_file: str | None = _files(None, text("PATH"), "Write the launcher's pid here.", "-p", "--pid-file")

    control: str | None = _admin(
        None, text("PATH"), "Put the control socket here; without it, into the runtime directory."
    )
    no_control: bool = _admin(False, SWITCH, "Open no control socket.")
    admin: str | None = _admin(
        None, text("ADDRESS"), "Serve page, API, probes and metrics at HOST:PORT or unix:PATH."
    )
    admin_token_file: str | None = _admin(
        None, text("PATH"), "Who sends the token in this file may also act at the admin address."
    )
    admin_hosts: tuple[str, ...] = _admin(
        (), texts("NAME"), "Answer also to this host name at the admin address; repeatable.", "--admin-host"
    )
    admin_open: bool = _admin(
        False, SWITCH, "Let the admin address be reached from other machines without a token."
    )
    agent_check: str | None = _admin(
        None, text("ADDRESS"), "Answer HAProxy's agent-check at HOST:PORT: how much of us is ready."
    )
    min_ready: int = _admin(1, integer(1), "So many workers must be ready for /readyz to say so.")

    host: str = _listen(
        "127.0.0.1", text("HOST"), "Listen on this host; 0.0.0.0 when only $PORT says where to listen."
    )
    port: int = _listen(
        8000, integer(0, 65535), "Listen on this port; 0 picks a free one.", variables=("PORT",)
    )
    uds: str | None = _listen(None, text("PATH"), "Listen on this unix socket.")
    fd: int | None = _listen(None, _NAT, "Listen on the socket of this file descriptor.")
    backlog: int = _listen(2048, integer(1), "How many connections may wait in each accept queue.")
    root_path: str = _listen("", text("PATH"), "ASGI root_path of an application below a given URL path.")

    app_dir: str = _run("", text("PATH"), "Look for APP here; empty means the current directory.")
    factory: bool = _run(False, SWITCH, "APP is a function that returns the application.")
    interface: str = _run("auto", choice("auto", "asgi3", "asgi2", "wsgi"), "Interface of the application.")
    lifespan: str = _run("auto", choice("auto", "on", "off"), "Whether to run lifespan events.")
    env_file: str | None = _run(None, text("PATH"), "Load the workers' environment from this file.")
    reset_contextvars: bool = _run(False, SWITCH, "Run each request in a fresh contextvars.Context.")

    loop: str = _speak("auto", import_string("auto", "asyncio", "uvloop", "zuvloop"), "Event loop.")
    http: str = _speak("auto", import_string("auto", "h11", "httptools", "zttp"), "HTTP implementation.")
    http2: bool = _speak(False, SWITCH, "Speak HTTP/2; needs --http zttp.")
    h11_max_incomplete_event_size: int | None = _speak(
        None, integer(1), "For h11: bytes to buffer of an incomplete event."
    )
    ws: str = _speak(
        "auto",
        import_string("auto", "none", "websockets", "websockets-sansio", "wsproto"),
        "WebSocket implementation.",
    )
    ws_max_size: int = _speak(16777216, _NAT, "Largest WebSocket message, in bytes.")
    ws_max_queue: int = _speak(32, _NAT, "Longest queue of WebSocket messages.")
    ws_ping_interval: float = _speak(20.0, NUMBER, "Seconds between WebSocket pings.")
    ws_ping_timeout: float = _speak(20.0, NUMBER, "Seconds to wait for a WebSocket pong.")
    ws_per_message_deflate: bool = _speak(True, BOOLEAN, "Compress WebSocket messages.")

    proxy_headers: bool = _head(
        True,
        SWITCH,
        "Trust X-Forwarded-Proto and X-Forwarded-For of --forwarded-allow-ips.",
        "--proxy-headers/--no-proxy-headers",
    )
    forwarded_allow_ips: str | None = _head(
        None,
        text("ADDRESSES"),
        "Proxies to trust, comma separated; * means all. Without it 127.0.0.1,::1.",
        variables=("FORWARDED_ALLOW_IPS",),
    )
    server_header: bool = _head(True, SWITCH, "Send the Server header.", "--server-header/--no-server-header")
    date_header: bool = _head(True, SWITCH, "Send the Date header.", "--date-header/--no-date-header")
    headers: tuple[str, ...] = _head(
        (), HEADERS, "Send this header with every response; repeatable.", "--header"
    )

    limit_concurrency: int | None = _limit(
        None, integer(1), "Connections or tasks per worker beyond which it answers 503."
    )
    limit_max_requests: int | None = _limit(None, integer(1), "Replace a worker after so many requests.")
    limit_max_requests_jitter: int = _limit(0, _NAT, "Add up to so many to each worker's limit, at random.")
    timeout_keep_alive: int = _limit(5, _NAT, "Seconds after which an idle connection is closed.")
    timeout_graceful_shutdown: int | None = _limit(
        None, _NAT, "Second name of --graceful-timeout, in seconds."
    )
    timeout_worker_healthcheck: int = _limit(
        5, _NAT, "Taken and not needed: a worker's death is seen at once, and --worker-timeout sees hangs."
    )

    log_config: str | None = _log(None, text("PATH"), "Logging configuration: .ini, .json or .yaml.")
    log_level: str | None = _log(
        None, choice("critical", "error", "warning", "info", "debug", "trace"), "Log level; without it info."
    )
    access_log: bool = _log(True, SWITCH, "Write an access log.", "--access-log/--no-access-log")
    use_colors: bool | None = _log(
        None,
        SWITCH,
        "Colour the log; without it, where stderr is a terminal.",
        "--use-colors/--no-use-colors",
    )

    ssl_keyfile: str | None = _tls(
        None, text("PATH"), "Private key; not needed when the certificate file holds it."
    )
    ssl_certfile: str | None = _tls(None, text("PATH"), "Certificate chain; turns TLS on.")
    ssl_keyfile_password: str | None = _tls(
        None, PASSWORD, "Password of the private key; everybody on the machine can read it here."
    )
    ssl_version: int = _tls(17, _NAT, "ssl.PROTOCOL_… as a number; 17 is PROTOCOL_TLS_SERVER.")
    ssl_cert_reqs: int = _tls(0, integer(0, 2), "Client certificates: 0 none, 1 optional, 2 required.")
    ssl_ca_certs: str | None = _tls(None, text("PATH"), "Authorities to verify client certificates with.")
    ssl_ciphers: str | None = _tls(None, text("CIPHERS"), "OpenSSL cipher list.")

    reload: bool = _watch(False, SWITCH, "Reload when a file changes.")
    reload_dirs: tuple[str, ...] = _watch((), _PATHS, "Watch this directory; repeatable.", "--reload-dir")
    reload_includes: tuple[str, ...] = _watch(
        (), texts("PATTERN"), "Watch files like this; repeatable.", "--reload-include"
    )
    reload_excludes: tuple[str, ...] = _watch(
        (), texts("PATTERN"), "Do not watch files like this; repeatable.", "--reload-exclude"
    )
    reload_delay: float = _watch(0.25, NUMBER, "Seconds between two looks at the files.")

    def named_certificates(self) -> list[tuple[str, str, str | None]]:
        """Name, certificate and key of each --ssl-sni; no key: it is in the certificate's file."""
        return [split_sni(each) for each in self.ssl_sni]

    def certificates(self) -> list[str]:
        """The files of all certificates."""
        named = [certificate for _, certificate, _ in self.named_certificates()]
        return named if self.ssl_certfile is None else [self.ssl_certfile, *named]

    def to_json(self) -> str:
        """One line that `from_json` turns back into equal settings, for handing to a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, document: str) -> "Settings":
        """The settings that `to_json` wrote. Raises ConfigurationError for anything else."""
        try:
            values = json.loads(document)
            # JSON has no tuples and no field here is a list, so every list was one.
            fitted: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**fitted)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"these settings were not written by Settings.to_json: {error}"
            ) from error

    def binds(self) -> tuple[str, ...]:
        """The addresses in force, spelled as for --bind: --bind itself, else --uds, else --fd,
        else --host and --port.
        """
        if self.bind:
            return self.bind
        if self.uds is not None:
            return (f"unix:{self.uds}",)
        if self.fd is not None:
            return (f"fd://{self.fd}",)
        bare_ipv6 = ":" in self.host and not self.host.startswith("[")
        return (f"[{self.host}]:{self.port}" if bare_ipv6 else f"{self.host}:{self.port}",)

    def names_address(self) -> bool:
        """Whether somebody has said where to listen, beyond what everybody has who says nothing."""
        given = ("bind", "uds", "fd", "host", "port")
        return any(getattr(self, name) != getattr(DEFAULTS, name) for name in given)


FLAGS: dict[str, Flag] = {field.name: field.metadata["flag"] for field in fields(Settings)}
DEFAULTS = Settings()
UVICORN_SETTINGS = frozenset(
    name for name, flag in FLAGS.items() if flag.heading.startswith("uvicorn") or name in {"app", "workers"}
)


def spellings(name: str) -> tuple[str, ...]:
    """The flags of a setting as click takes them, for example `("-w", "--workers")`."""
    return FLAGS[name].spellings or ("--" + name.replace("_", "-"),)
