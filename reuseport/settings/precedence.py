"""Where settings come from: flags, then the environment, then the file, then defaults.

Every value keeps its level and the place it was written in, because two rules need them: a
second name counts when it was given at a higher level than the first, and --bind does not go
together with --host, --port, --uds or --fd.
"""

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from reuseport.errors import ConfigurationError
from reuseport.records import record
from reuseport.settings.flags import Flag
from reuseport.settings.table import FLAGS, UVICORN_SETTINGS, Settings, spellings
from reuseport.settings.validation import require_our_file, validate


class Level(IntEnum):
    """Who said it; the higher one is heard."""

    FILE = 1
    ENVIRONMENT = 2
    FLAG = 3


@record(frozen=True, slots=True)
class Given:
    """A value somebody gave; `place` names it in messages: "--port", "$PORT", "port in reuseport.toml"."""

    value: Any
    level: Level
    place: str

    def instead(self, value: Any) -> "Given":
        """What follows from it, by the same person's word."""
        return Given(value, self.level, self.place)


# uvicorn's name for what we call otherwise. Its healthcheck is not one: a thread answers that, however long
# the event loop computes.
_SECOND_NAMES = {"graceful_timeout": "timeout_graceful_shutdown"}


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], directory: Path, config: str | None = None
) -> Settings:
    """The settings in force, validated. Raises ConfigurationError; otherwise as `gathered`."""
    settings = gathered(flags, environment, directory, config)
    validate(settings)
    return settings


def gathered(
    flags: Mapping[str, Any], environment: Mapping[str, str], directory: Path, config: str | None = None
) -> Settings:
    """The settings, for this machine or another one: whether they can be served here is not asked.

    `flags` holds what the command line gave, by field name, already read; `config` is --config;
    `directory` is where reuseport.toml and pyproject.toml are looked for. Raises ConfigurationError.
    """
    named = config or environment.get("REUSEPORT_CONFIG")
    from_file = dict(_from_file(named, directory))
    given = {**from_file, **dict(_from_environment(environment))}
    typed = {name: Given(value, Level.FLAG, _flag_of(name)) for name, value in flags.items()}
    if env_file := {**given, **typed}.get("env_file"):
        given.update(_from_environment({**_from_env_file(env_file.value), **environment}))
    given.update(typed)
    if from_file and not named and given.keys() & {"user", "group"}:
        require_our_file(_default_file(directory))
    _refuse_contradicting_addresses(given)
    if "ssl_keyfile_password_file" in given:
        if "ssl_keyfile_password" in given:
            both = f"{given['ssl_keyfile_password'].place} and {given['ssl_keyfile_password_file'].place}"
            raise ConfigurationError(f"{both} both say the password: give one of them")
        place = given["ssl_keyfile_password_file"]
        given["ssl_keyfile_password"] = place.instead(_first_line(place))
    for first, second in _SECOND_NAMES.items():
        if second in given and (first not in given or given[first].level < given[second].level):
            given[first] = given[second].instead(float(given[second].value))
    if "reload" in given and given["reload"].value and "worker_timeout" not in given:
        # Who develops stops the event loop with a debugger, and looks around for as long as it takes.
        given["worker_timeout"] = given["reload"].instead(0.0)
    if "port" in given and given["port"].place == "$PORT" and "host" not in given:
        # A platform that sets PORT sends its traffic from outside; gunicorn does the same.
        given["host"] = Given("0.0.0.0", Level.ENVIRONMENT, "$PORT")
    return Settings(**{name: one.value for name, one in given.items()})


def variables_of(name: str) -> tuple[str, ...]:
    """The environment variables of a setting, the first one that is set counts.

    A repeatable flag is in the singular (--header), its field in the plural: both are taken.
    """
    ours = [name, *(flag.lstrip("-").split("/")[0].replace("-", "_") for flag in spellings(name)[-1:])]
    names = [f"REUSEPORT_{spelling.upper()}" for spelling in dict.fromkeys(ours)]
    if name in UVICORN_SETTINGS:
        names.append(f"UVICORN_{name.upper()}")
    return (*names, *FLAGS[name].variables)


def _flag_of(name: str) -> str:
    return "APP" if name == "app" else spellings(name)[-1]


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, Given]]:
    for name, flag in FLAGS.items():
        for variable in variables_of(name):
            # Empty means not given, as for click: `WEB_CONCURRENCY= reuseport` is how a shell unsets.
            if text := environment.get(variable, "").strip():
                yield (
                    name,
                    Given(_read(flag, _split(flag, text), f"${variable}"), Level.ENVIRONMENT, f"${variable}"),
                )
                break


def _from_env_file(path: str) -> dict[str, str]:
    """What uvicorn heeds of --env-file, which is for the application: WEB_CONCURRENCY is read after it.

    So is FORWARDED_ALLOW_IPS, but by each worker. UVICORN_… and PORT are not, nor is REUSEPORT_…: whoever may
    write an application's file should not be whoever the launcher is.
    """
    try:
        from dotenv import dotenv_values
    except ImportError as error:
        raise ConfigurationError("--env-file needs python-dotenv: pip install python-dotenv") from error

    try:
        values = dotenv_values(path)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigurationError(f"cannot read --env-file {path}: {why}") from error
    return {name: values[name] or "" for name in ("WEB_CONCURRENCY",) if name in values}


def _first_line(place: Given) -> str:
    try:
        with Path(place.value).open(encoding="utf-8") as file:
            return file.readline(4096).rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{place.place}: cannot read {place.value}: {reason}") from error


def _split(flag: Flag, text: str) -> str | list[str]:
    if flag.kind.separator is None:
        return text
    return [part for part in re.split(flag.kind.separator, text) if part]


def _read(flag: Flag, value: Any, place: str) -> Any:
    try:
        return tuple(map(flag.kind.parse, value)) if flag.kind.separator else flag.kind.parse(value)
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}{_kubernetes_word(place, value)}") from error


def _kubernetes_word(place: str, value: Any) -> str:
    """A Service called reuseport or uvicorn gives every pod beside it REUSEPORT_PORT or UVICORN_PORT."""
    if not (place.startswith("$") and str(value).startswith("tcp://")):
        return ""
    return "; Kubernetes sets it for a Service of that name: rename that, or say enableServiceLinks: false"


def _from_file(config: str | None, directory: Path) -> Iterator[tuple[str, Given]]:
    path = directory / config if config else _default_file(directory)
    if path is None:
        return
    table = _table(path, config)
    shown = config or path.name
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in FLAGS:
            raise ConfigurationError(f"{shown}: there is no setting {key!r}{nearest(name)}")
        if key != name and name in table:
            raise ConfigurationError(f"{shown}: {key} and {name} are the same setting: keep one of them")
        yield (
            name,
            Given(checked(FLAGS[name], value, f"{name} in {shown}"), Level.FILE, f"{name} in {shown}"),
        )


def _default_file(directory: Path) -> Path | None:
    for path in (directory / "reuseport.toml", directory / "pyproject.toml"):
        try:
            if path.is_file():
                return path
        except PermissionError as error:
            raise ConfigurationError(
                f"we may not look for {path.name} in the current directory: start us in another, or let us in"
            ) from error
    return None


def _table(path: Path, config: str | None) -> dict[str, Any]:
    """The file's settings: the whole file, or [tool.reuseport] of a pyproject.toml."""
    import tomllib  # ditto, for who has a file

    shown = config or path.name
    content = b""
    try:
        content = path.read_bytes()
        document = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {shown}: {error.strerror}") from error
    except ValueError as error:  # a TOMLDecodeError names line and column, and a UnicodeDecodeError the byte
        if config is None and path.name == "pyproject.toml" and not _OURS.search(content):
            return {}  # broken, but nobody's who wants something of us
        hint = "; gunicorn's and hypercorn's .py files are not read, see `reuseport manual moving-over`"
        raise ConfigurationError(
            f"{shown} is not TOML: {error}{hint if path.suffix == '.py' else ''}"
        ) from error
    if path.name != "pyproject.toml":
        return document
    tools = document.get("tool", {})
    section = tools.get("reuseport") if isinstance(tools, dict) else None
    if section is None and config:
        raise ConfigurationError(f"{shown} has no [tool.reuseport]: add it, or name another --config")
    if not isinstance(section, dict | None):
        raise ConfigurationError(f"{shown}: reuseport is no table: write [tool.reuseport] and keys below it")
    return section or {}


def nearest(name: str) -> str:
    import difflib  # for who has mistyped something: it is a tenth of what the command line imports

    near = difflib.get_close_matches(name, FLAGS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ": see reuseport --help for the names"


def checked(flag: Flag, value: Any, place: str) -> Any:
    """The value of a key, refused when TOML says it is of another type: port = "8000" is a mistake."""
    parts = value if flag.kind.separator and isinstance(value, list) else [value]
    if (flag.kind.separator and not isinstance(value, list)) or any(
        type(part) not in flag.kind.native for part in parts
    ):
        wanted = " or ".join(_TOML_NAMES[native] for native in flag.kind.native)
        wanted = f"a list, each {wanted}" if flag.kind.separator else wanted
        raise ConfigurationError(f"{place}: {value!r} will not do: write {wanted}")
    return _read(flag, value, place)


_OURS = re.compile(rb"""tool['"\s]*\.['"\s]*reuseport""")
_TOML_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _refuse_contradicting_addresses(given: Mapping[str, Given]) -> None:
    bind = given.get("bind")
    if bind is None:
        return
    for name in ("host", "port", "uds", "fd"):
        other = given.get(name)
        if other is not None and other.level >= bind.level:
            raise ConfigurationError(
                f"{bind.place} and {other.place} both say where to listen: give the address with one of them"
            )
