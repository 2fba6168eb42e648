"""The table of settings: complete against uvicorn, one precedence, every contradiction refused."""

import inspect
import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import trustme
from uvicorn import Config
from uvicorn.main import main as uvicorn_main

from reuseport.cli import cli
from reuseport.errors import ConfigurationError
from reuseport.settings.handed import uvicorn_options
from reuseport.settings.precedence import load, variables_of
from reuseport.settings.table import DEFAULTS, FLAGS, UVICORN_SETTINGS, Settings
from reuseport.settings.validation import validate
from tests.papers import read

Load = Callable[..., Settings]

# What the launcher does in uvicorn's place, and what only a Python caller can give.
NOT_FOR_A_WORKER = {
    "app": "the worker passes it by itself",
    **dict.fromkeys(("host", "port", "uds", "fd"), "the worker hands uvicorn a listening socket"),
    **dict.fromkeys(
        ("reload", "reload_dirs", "reload_includes", "reload_excludes", "reload_delay"), "one process"
    ),
    "workers": "the launcher counts workers",
    **dict.fromkeys(("limit_max_requests", "limit_max_requests_jitter"), "the launcher recycles"),
    "timeout_worker_healthcheck": "the launcher watches",
    "log_config": "the worker configures logging before uvicorn is imported",
    **dict.fromkeys(
        ("callback_notify", "timeout_notify", "ssl_context_factory"), "Python only, no flag in uvicorn"
    ),
}

MOVING_OVER = read("moving-over")

# Fields whose default is ours on purpose.
OTHER_DEFAULTS = {
    "app": "the built-in demo, where uvicorn requires an application",
    "workers": "uvicorn writes its default of 1 as None",
}


@pytest.fixture
def settle(tmp_path: Path) -> Load:
    """`load` in an empty directory and an empty environment, with `file` as its reuseport.toml."""

    def settle(
        file: str = "", environment: dict[str, str] | None = None, config: str | None = None, **flags: Any
    ) -> Settings:
        (tmp_path / "reuseport.toml").write_text(file)
        return load(flags, environment or {}, tmp_path, config)

    return settle


def options_of(command: click.Command) -> dict[str, click.Option]:
    return {str(p.name): p for p in command.params if isinstance(p, click.Option)}


# ── complete against uvicorn ──


@pytest.mark.parametrize("name", options_of(uvicorn_main))
def test_every_flag_of_uvicorn_is_ours_too(name: str) -> None:
    theirs, ours = options_of(uvicorn_main)[name], options_of(cli)[name]
    assert set(theirs.opts) <= set(ours.opts)
    assert set(theirs.secondary_opts) <= set(ours.secondary_opts)
    assert theirs.is_flag == ours.is_flag
    assert theirs.multiple == ours.multiple


@pytest.mark.parametrize("name", sorted(UVICORN_SETTINGS - set(OTHER_DEFAULTS)))
def test_defaults_are_uvicorns(name: str) -> None:
    # Another prefix, so that no UVICORN_… variable of this machine is read.
    theirs = uvicorn_main.make_context("uvicorn", ["main:app"], auto_envvar_prefix="NOBODY").params
    assert theirs[name] == getattr(DEFAULTS, name)


def test_every_parameter_of_uvicorns_config_is_passed_or_has_a_reason_not_to_be() -> None:
    parameters = set(inspect.signature(Config.__init__).parameters) - {"self"}
    assert set(uvicorn_options(DEFAULTS)) | set(NOT_FOR_A_WORKER) == parameters
    assert not set(uvicorn_options(DEFAULTS)) & set(NOT_FOR_A_WORKER)


def test_what_only_a_python_caller_can_give_is_told() -> None:
    python_only = {name for name, reason in NOT_FOR_A_WORKER.items() if reason.startswith("Python only")}
    flags = {str(parameter.name) for parameter in uvicorn_main.params}
    assert not python_only & flags
    for name in python_only:
        assert f"`{name}`" in MOVING_OVER


def test_uvicorn_takes_the_options() -> None:
    settings = Settings(headers=("X-One: a:b", "X-Two:"), graceful_timeout=1.2, log_level="warning")
    config = Config("main:app", workers=1, log_config=None, **uvicorn_options(settings))
    assert config.headers == [("X-One", "a:b"), ("X-Two", "")]
    assert config.timeout_graceful_shutdown == 2
    assert config.log_level == "warning"


def test_defaults_of_tls_are_the_standard_librarys() -> None:
    assert (DEFAULTS.ssl_version, DEFAULTS.ssl_cert_reqs) == (ssl.PROTOCOL_TLS_SERVER, ssl.CERT_NONE)


# ── JSON ──


def test_settings_survive_json_with_their_types() -> None:
    settings = Settings(
        workers="auto", bind=("[::]:80", "unix:/a b"), graceful_timeout=0.1, headers=("a:ü",), port=0
    )
    copy = Settings.from_json(settings.to_json())
    assert copy == settings
    assert copy.bind == ("[::]:80", "unix:/a b")
    assert "\n" not in settings.to_json()


@pytest.mark.parametrize("document", ["", "[]", "{]", '{"wurkers": 1}', "3"])
def test_json_of_another_make_is_refused(document: str) -> None:
    with pytest.raises(ConfigurationError, match="not written by"):
        Settings.from_json(document)


def test_a_password_is_not_shown_with_the_settings() -> None:
    settings = Settings(ssl_keyfile_password="hunter2")
    assert "hunter2" not in repr(settings)
    assert json.loads(settings.to_json())["ssl_keyfile_password"] == "hunter2"


# ── precedence ──


@pytest.mark.parametrize(
    ("name", "variable", "in_file", "in_environment", "as_flag", "values"),
    [
        ("workers", "REUSEPORT_WORKERS", "2", "3", 4, (1, 2, 3, 4)),
        ("workers", "UVICORN_WORKERS", "2", "3", 4, (1, 2, 3, 4)),
        ("workers", "WEB_CONCURRENCY", "2", "auto", 4, (1, 2, "auto", 4)),
        ("graceful-timeout", "REUSEPORT_GRACEFUL_TIMEOUT", '"1m"', "2m", 180.0, (30.0, 60.0, 120.0, 180.0)),
        ("worker_max_rss", "REUSEPORT_WORKER_MAX_RSS", '"1K"', "2K", 3072, (0, 1024, 2048, 3072)),
        ("access_log", "UVICORN_ACCESS_LOG", "false", "true", False, (True, False, True, False)),
        (
            "headers",
            "REUSEPORT_HEADER",
            '["a:1"]',
            "b:2 c:3",
            ("d:4",),
            ((), ("a:1",), ("b:2", "c:3"), ("d:4",)),
        ),
        ("headers", "UVICORN_HEADERS", '["a:1"]', "b:2", ("d:4",), ((), ("a:1",), ("b:2",), ("d:4",))),
        ("bind", "REUSEPORT_BIND", '[":1"]', ":2,:3 :4", (":5",), ((), (":1",), (":2", ":3", ":4"), (":5",))),
        (
            "reload_dirs",
            "UVICORN_RELOAD_DIRS",
            '["/"]',
            "/etc:/tmp",
            ("/usr",),
            ((), ("/",), ("/etc", "/tmp"), ("/usr",)),
        ),
        ("app", "REUSEPORT_APP", '"a:b"', "c.d", "e:f", ("reuseport.demo:app", "a:b", "c.d:app", "e:f")),
        ("app", "UVICORN_APP", '"a:b"', "c:d", "e:f", ("reuseport.demo:app", "a:b", "c:d", "e:f")),
        (
            "forwarded_allow_ips",
            "FORWARDED_ALLOW_IPS",
            '"::1"',
            "*",
            "10.0.0.1",
            (None, "::1", "*", "10.0.0.1"),
        ),
    ],
)
def test_flags_beat_the_environment_beats_the_file_beats_defaults(
    settle: Load,
    name: str,
    variable: str,
    in_file: str,
    in_environment: str,
    as_flag: object,
    values: tuple[object, ...],
) -> None:
    field = name.replace("-", "_")
    found = [
        settle(),
        settle(f"{name} = {in_file}"),
        settle(f"{name} = {in_file}", {variable: in_environment}),
        settle(f"{name} = {in_file}", {variable: in_environment}, **{field: as_flag}),
    ]
    assert tuple(getattr(settings, field) for settings in found) == values


def test_names_in_the_environment_have_an_order(settle: Load) -> None:
    assert variables_of("workers") == ("REUSEPORT_WORKERS", "UVICORN_WORKERS", "WEB_CONCURRENCY")
    assert variables_of("graceful_timeout") == ("REUSEPORT_GRACEFUL_TIMEOUT",)
    everything = {"WEB_CONCURRENCY": "2", "UVICORN_WORKERS": "3", "REUSEPORT_WORKERS": "4"}
    for expected in (4, 3, 2):
        assert settle(environment=everything).workers == expected
        del everything[variables_of("workers")[4 - expected]]


def test_an_empty_variable_is_not_given(settle: Load) -> None:
    assert settle(environment={"REUSEPORT_WORKERS": "", "WEB_CONCURRENCY": "2"}).workers == 2


def test_uvicorns_graceful_timeout_is_a_second_name(settle: Load) -> None:
    first, second = "graceful_timeout", "timeout_graceful_shutdown"
    assert getattr(settle(), first) == 30.0
    assert getattr(settle(**{second: 7}), first) == 7.0
    assert getattr(settle(**{second: 7, first: 9.0}), first) == 9.0
    assert getattr(settle(f"{first} = 9", **{second: 7}), first) == 7.0
    assert getattr(settle(f"{second} = 7", **{first: 9.0}), first) == 9.0


def test_uvicorns_healthcheck_is_no_limit_for_the_event_loop(settle: Load) -> None:
    assert settle(timeout_worker_healthcheck=5).worker_timeout == 30.0


def test_who_reloads_on_changes_may_stop_the_event_loop_with_a_debugger(settle: Load) -> None:
    assert settle(reload=True).worker_timeout == 0.0
    assert settle("reload = true").worker_timeout == 0.0
    assert settle(reload=False).worker_timeout == 30.0
    assert settle(reload=True, worker_timeout=9.0).worker_timeout == 9.0
    assert settle("worker-timeout = 9", reload=True).worker_timeout == 9.0


# ── the file ──


def test_the_file_is_the_named_one_else_reuseport_toml_else_pyproject(tmp_path: Path) -> None:
    assert load({}, {}, tmp_path).workers == 1
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nworkers = 9\n[tool.reuseport]\nworkers = 2")
    assert load({}, {}, tmp_path).workers == 2
    (tmp_path / "reuseport.toml").write_text("workers = 3")
    assert load({}, {}, tmp_path).workers == 3
    (tmp_path / "one.toml").write_text("workers = 4")
    assert load({}, {"REUSEPORT_CONFIG": "one.toml"}, tmp_path).workers == 4
    (tmp_path / "two.toml").write_text("workers = 5")
    assert load({}, {"REUSEPORT_CONFIG": "one.toml"}, tmp_path, "two.toml").workers == 5
    assert load({}, {}, tmp_path, "pyproject.toml").workers == 2


def test_a_pyproject_of_others_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'shop'")
    assert load({}, {}, tmp_path) == DEFAULTS
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml has no \[tool\.reuseport\]"):
        load({}, {}, tmp_path, "pyproject.toml")


BROKEN = [
    b"<<<<<<< HEAD\n[project]\n=======\n[projects]\n>>>>>>> theirs\n",
    b"[project]\nname = 'caf\xe9'\n",
    b"\xff\xfe[\0p\0",
    b"[project\n# reuseport is not spoken of as a tool\n",
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_pyproject_without_a_word_for_us_does_not_stop_a_start(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    assert load({}, {}, tmp_path) == DEFAULTS
    for ours in (b"[tool.reuseport]\nworkers = 2", b"[ tool . 'reuseport' ]", b"tool.reuseport.workers = 2"):
        (tmp_path / "pyproject.toml").write_bytes(content + ours)
        with pytest.raises(ConfigurationError, match=r"pyproject\.toml is not TOML"):
            load({}, {}, tmp_path)
    (tmp_path / "pyproject.toml").rename(tmp_path / "reuseport.toml")
    with pytest.raises(ConfigurationError, match=r"reuseport\.toml is not TOML"):
        load({}, {}, tmp_path)


@pytest.mark.parametrize(("name", "head"), [("reuseport.toml", ""), ("pyproject.toml", "[tool.reuseport]\n")])
def test_a_byte_order_mark_is_no_mistake(name: str, head: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f"{head}workers = 2\n", encoding="utf-8-sig")
    assert load({}, {}, tmp_path).workers == 2


# ── --env-file ──


def test_the_env_file_says_what_it_says_to_uvicorn(tmp_path: Path) -> None:
    """uvicorn reads WEB_CONCURRENCY after it has loaded the file, and nothing else that is the launcher's."""
    (tmp_path / "env").write_text(
        "export WEB_CONCURRENCY=3\nPORT=1\nUVICORN_PORT=2\nREUSEPORT_PORT=3\nREUSEPORT_USER=root\n"
    )
    theirs = Config("main:app", env_file=str(tmp_path / "env"), log_config=None)
    try:
        ours = load({"env_file": str(tmp_path / "env")}, {}, tmp_path)
        assert (ours.workers, ours.port, ours.user) == (theirs.workers, theirs.port, None)
    finally:
        for line in (tmp_path / "env").read_text().splitlines():
            os.environ.pop(line.partition("=")[0].removeprefix("export "), None)


def test_the_env_file_comes_after_the_environment_and_before_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("WEB_CONCURRENCY=3\n")
    (tmp_path / "reuseport.toml").write_text(f"workers = 2\nenv-file = '{tmp_path}/env'\n")
    assert load({}, {}, tmp_path).workers == 3
    assert load({}, {"WEB_CONCURRENCY": "4"}, tmp_path).workers == 4
    assert load({}, {"UVICORN_WORKERS": "5"}, tmp_path).workers == 5
    assert load({"workers": 6}, {}, tmp_path).workers == 6
    assert load({}, {"REUSEPORT_ENV_FILE": str(tmp_path / "env")}, tmp_path).workers == 3


def test_a_number_of_workers_that_is_none_is_the_env_files(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("WEB_CONCURRENCY=lots\n")
    with pytest.raises(ConfigurationError, match=r"\$WEB_CONCURRENCY: 'lots' is no number"):
        load({"env_file": str(tmp_path / "env")}, {}, tmp_path)


def test_an_env_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigurationError, match=r"cannot read --env-file .*env"):
        load({"env_file": str(tmp_path / "env")}, {}, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs workers as somebody else")
@pytest.mark.parametrize("name", ["reuseport.toml", "pyproject.toml"])
@pytest.mark.parametrize("theirs", ["file", "directory", "open file", "open directory"])
def test_a_file_that_others_write_does_not_decide_what_root_does(
    theirs: str, name: str, tmp_path: Path
) -> None:
    """Only where workers are somebody else: who runs them as root has given them everything."""
    file = tmp_path / name
    file.write_text("[tool.reuseport]\nworkers = 2\n" if name == "pyproject.toml" else "workers = 2\n")
    file.chmod(0o644)
    assert load({"user": "nobody"}, {}, tmp_path).workers == 2
    place = tmp_path if "directory" in theirs else file
    if "open" in theirs:
        place.chmod(0o777)
    else:
        os.chown(place, 65534, -1)
    for given in ({"user": "nobody"}, {"group": "nogroup"}):
        with pytest.raises(ConfigurationError, match=f"others than root may write it: .*--config {name}"):
            load(given, {}, tmp_path)
    assert load({"user": "nobody"}, {}, tmp_path, name).workers == 2
    assert load({"user": "nobody"}, {"REUSEPORT_CONFIG": name}, tmp_path).workers == 2
    assert load({}, {}, tmp_path).workers == 2
    if theirs == "open directory":
        tmp_path.chmod(0o1777)
        assert load({"user": "nobody"}, {}, tmp_path).workers == 2
    if name == "pyproject.toml":
        file.write_text("[project]\nname = 'shop'\n")
        assert load({"user": "nobody"}, {}, tmp_path).workers == 1


@pytest.mark.parametrize("text", ["[tool]\nreuseport = 3", "[[tool.reuseport]]\nworkers = 1"])
def test_a_section_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"write \[tool\.reuseport\]"):
        load({}, {}, tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("wrokers = 2", r"reuseport\.toml: there is no setting 'wrokers'; did you mean 'workers'\?"),
        ("graceful-timeot = 2", "did you mean 'graceful_timeout'"),
        ("quux = 2", "there is no setting 'quux': see reuseport --help"),
        ("graceful-timeout = 2\ngraceful_timeout = 3", "are the same setting"),
        ('port = "8000"', r"port in reuseport\.toml: '8000' will not do: write a whole number"),
        ("access_log = 1", "write true or false"),
        ("backlog = true", "write a whole number"),
        ("app = 3", "write a string"),
        ('bind = ":80"', "write a list, each a string"),
        ("bind = [80]", "write a list, each a string"),
        ("graceful_timeout = [1]", "write a whole number or a number or a string"),
        ("graceful_timeout = -1", "is not a duration"),
        ("workers = 0", "write 1 or more, or auto"),
        ("workers = ?", r"reuseport\.toml is not TOML: .*line 1"),
        ("app = 'main'", "write module:attribute"),
    ],
)
def test_a_mistake_in_the_file_names_the_file_and_the_fix(settle: Load, file: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        settle(file)


def test_who_gives_gunicorns_file_is_told_where_to_read_on(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("import os\nworkers = int(os.environ.get('N', 2))\n")
    with pytest.raises(ConfigurationError, match=r"gunicorn\.conf\.py is not TOML: .*manual moving-over"):
        load({}, {}, tmp_path, "gunicorn.conf.py")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reuseport.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load({}, {}, tmp_path)


# ── addresses ──


@pytest.mark.parametrize(
    ("settings", "binds"),
    [
        (Settings(), ("127.0.0.1:8000",)),
        (Settings(host="::", port=0), ("[::]:0",)),
        (Settings(host="[::1]"), ("[::1]:8000",)),
        (Settings(host="localhost"), ("localhost:8000",)),
        (Settings(fd=3), ("fd://3",)),
        (Settings(uds="/run/a", fd=3), ("unix:/run/a",)),
        (Settings(bind=(":80", "[::]:81"), port=9), (":80", "[::]:81")),
    ],
)
def test_the_addresses_in_force(settings: Settings, binds: tuple[str, ...]) -> None:
    assert settings.binds() == binds


def test_port_of_the_platform_opens_the_host(settle: Load) -> None:
    platform = {"PORT": "9000"}
    assert settle(environment=platform).binds() == ("0.0.0.0:9000",)
    assert settle(environment=platform, host="::1").binds() == ("[::1]:9000",)
    assert settle('host = "::1"', platform).binds() == ("[::1]:9000",)
    assert settle(environment=platform, port=1).binds() == ("127.0.0.1:1",)
    assert settle(environment=platform, bind=(":1",)).binds() == (":1",)
    assert settle(environment=platform, uds="/run/a").binds() == ("unix:/run/a",)
    assert settle(environment={"UVICORN_PORT": "9000"}).binds() == ("127.0.0.1:9000",)


@pytest.mark.parametrize("other", [{"host": "::"}, {"port": 1}, {"uds": "/run/a"}, {"fd": 3}])
def test_bind_does_not_go_with_another_address_of_its_level_or_a_higher_one(
    settle: Load, other: dict[str, object]
) -> None:
    (name,) = other
    with pytest.raises(ConfigurationError, match=f"--bind and --{name} both say where to listen"):
        settle(bind=(":1",), **other)
    with pytest.raises(ConfigurationError, match=rf"bind in reuseport\.toml and --{name} both"):
        settle('bind = [":1"]', **other)
    variable, text = f"UVICORN_{name.upper()}", str(other[name])
    assert settle(environment={variable: text}, bind=(":1",)).binds() == (":1",)


# ── the machine: files and TLS ──


@pytest.mark.parametrize("name", ["env_file", "log_config", "ssl_certfile", "ssl_keyfile", "ssl_ca_certs"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    flag = "--" + name.replace("_", "-")
    with pytest.raises(ConfigurationError, match=rf"cannot read {flag} .*missing: No such file"):
        validate(Settings(**{name: str(tmp_path / "missing")}))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=rf"cannot read {flag} .*: Is a directory"):
        validate(Settings(**{name: str(tmp_path)}))  # type: ignore[arg-type]


def test_a_directory_to_watch_must_exist(tmp_path: Path) -> None:
    validate(Settings(reload_dirs=(str(tmp_path),)))
    with pytest.raises(ConfigurationError, match=r"--reload-dir .*name a directory"):
        validate(Settings(reload_dirs=(str(tmp_path / "missing"),)))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pem(tmp_path: Path, authority: trustme.CA) -> dict[str, str]:
    """Paths by what they hold; `other` is another certificate's key, `locked` the key with a password."""
    mine, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    mine.private_key_pem.write_to_path(tmp_path / "key")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both")
    other.private_key_pem.write_to_path(tmp_path / "other")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    (tmp_path / "locked").write_bytes(locked(mine.private_key_pem.bytes()))
    (tmp_path / "junk").write_text("junk")
    return {path.name: str(path) for path in tmp_path.iterdir()}


def locked(key: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )


def test_certificates_that_serve_are_taken(pem: dict[str, str]) -> None:
    validate(Settings(ssl_certfile=pem["cert"], ssl_keyfile=pem["key"]))
    validate(Settings(ssl_certfile=pem["both"]))
    validate(Settings(ssl_certfile=pem["cert"], ssl_keyfile=pem["locked"], ssl_keyfile_password="sesame"))
    validate(Settings(ssl_certfile=pem["both"], ssl_ca_certs=pem["ca"], ssl_cert_reqs=2, ssl_ciphers="HIGH"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ssl_keyfile": "key"}, "--ssl-keyfile needs a certificate: give --ssl-certfile"),
        ({"ssl_ca_certs": "ca"}, "--ssl-ca-certs needs a certificate"),
        ({"ssl_certfile": "cert"}, "holds no private key: give the key's file with --ssl-keyfile"),
        ({"ssl_certfile": "cert", "ssl_keyfile": "other"}, "does not belong to the certificate"),
        ({"ssl_certfile": "cert", "ssl_keyfile": "locked"}, "is encrypted: give --ssl-keyfile-password"),
        ({"ssl_certfile": "junk", "ssl_keyfile": "key"}, "--ssl-certfile .*junk holds no certificate"),
        ({"ssl_certfile": "cert", "ssl_keyfile": "junk"}, "junk holds no private key"),
        ({"ssl_certfile": "both", "ssl_ca_certs": "junk"}, "--ssl-ca-certs .*junk holds no certificate"),
    ],
)
def test_tls_files_that_cannot_serve_are_refused(
    pem: dict[str, str], given: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        validate(Settings(**{name: pem[file] for name, file in given.items()}))  # type: ignore[arg-type]


def test_a_wrong_password_is_named(pem: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="--ssl-keyfile-password does not open"):
        validate(Settings(ssl_certfile=pem["cert"], ssl_keyfile=pem["locked"], ssl_keyfile_password="open"))


def test_the_password_may_lie_in_a_file(tmp_path: Path, pem: dict[str, str]) -> None:
    file = tmp_path / "password"
    given = {
        "ssl_certfile": pem["cert"],
        "ssl_keyfile": pem["locked"],
        "ssl_keyfile_password_file": str(file),
    }
    for text in ("sesame", "sesame\n", "sesame\r\nand more\n"):
        file.write_bytes(text.encode())
        assert load(given, {}, tmp_path).ssl_keyfile_password == "sesame"
    file.write_text(" sesame\n")
    with pytest.raises(ConfigurationError, match="does not open"):
        load(given, {}, tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"SSL_KEYFILE_PASSWORD and --ssl-keyfile-password-file both"
    ):
        load(given, {"REUSEPORT_SSL_KEYFILE_PASSWORD": "sesame"}, tmp_path)
    file.unlink()
    with pytest.raises(
        ConfigurationError, match=r"--ssl-keyfile-password-file: cannot read .*: No such file"
    ):
        load(given, {}, tmp_path)


def test_tls_values_that_openssl_refuses_are_named(pem: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="--ssl-ciphers 'XYZ'"):
        validate(Settings(ssl_certfile=pem["both"], ssl_ciphers="XYZ"))
    for number in (16, 999):
        with pytest.raises(ConfigurationError, match=f"--ssl-version {number} .*write 17"):
            validate(Settings(ssl_certfile=pem["both"], ssl_version=number))


def test_http2_needs_zttp() -> None:
    validate(Settings(http2=True, http="zttp"))
    with pytest.raises(ConfigurationError, match="--http2 needs --http zttp, not --http auto"):
        validate(Settings(http2=True))


def test_the_table_documents_every_setting() -> None:
    assert all(flag.about and flag.heading for flag in FLAGS.values())


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (
            {"limit_request_body": 1, "http": "zttp"},
            "--limit-request-body needs --http httptools or h11, not --http zttp",
        ),
        ({"proxy_protocol": True, "http": "zttp"}, "--proxy-protocol needs --http httptools or h11"),
        ({"max_wait": 1.0, "http": "zttp"}, "--max-wait needs --http httptools or h11, not --http zttp"),
    ],
)
def test_what_a_protocol_cannot_limit_is_refused(given: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ConfigurationError, match=refusal):
        validate(Settings(**given))
    validate(Settings(**{**given, "http": "auto"}))


@pytest.mark.parametrize("text", ["two.test", "=cert.pem", "two.test=", "two test=cert.pem", "*=cert.pem"])
def test_a_certificate_of_a_name_has_a_form(settle: Load, text: str) -> None:
    with pytest.raises(ConfigurationError, match="write NAME=CERT or NAME=CERT:KEY"):
        settle(environment={"REUSEPORT_SSL_SNI": text})


def test_certificates_of_names_are_tried_before_anything_starts(pem: dict[str, str], tmp_path: Path) -> None:
    settings = Settings(ssl_certfile=pem["both"], ssl_sni=(f"Two.test={pem['both']}", f"*.b={pem['both']}:x"))
    assert settings.named_certificates() == [("two.test", pem["both"], None), ("*.b", pem["both"], "x")]
    with pytest.raises(ConfigurationError, match=r"cannot read --ssl-sni \*.b x: No such file"):
        validate(settings)
    validate(Settings(ssl_certfile=pem["both"], ssl_sni=settings.ssl_sni[:1]))
    with pytest.raises(ConfigurationError, match="--ssl-sni needs a certificate"):
        validate(Settings(ssl_sni=settings.ssl_sni[:1]))
    (tmp_path / "none.pem").write_text("none")
    with pytest.raises(ConfigurationError, match="holds no certificate in PEM form"):
        validate(Settings(ssl_certfile=pem["both"], ssl_sni=(f"a={tmp_path / 'none.pem'}",)))
