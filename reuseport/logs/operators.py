"""--log-config: logging as the operator's own file has it, which most often was written for uvicorn.

Such a file names uvicorn's loggers and knows nothing of ours: our lines go where uvicorn's go. It may name
classes of the project, which workers import and the launcher does not: there something of ours stands in for
them, and that is said. And whatever it says, the launcher's errors are seen: a server that does not start is
not silent about it.
"""

from __future__ import annotations

import configparser
import json
import logging
import logging.config
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias

from reuseport.logs.lines import TextFormatter

OURS, THEIRS = "reuseport", "uvicorn.error"
"""Our logger, and the one of uvicorn's whose lines are most like ours."""

_Described: TypeAlias = dict[str, Any] | configparser.RawConfigParser
_Make: TypeAlias = Callable[[], logging.Formatter]


def apply(path: str) -> None:
    """As uvicorn does it, but for our logger. Raises what dictConfig and fileConfig raise, and OSError."""
    described = _read(path)
    if isinstance(described, configparser.RawConfigParser):
        logging.config.fileConfig(described, disable_existing_loggers=False)
    else:
        logging.config.dictConfig(described)
    _let_ours_follow(described)


def apply_without(app: str, path: str, own: _Make) -> list[str]:
    """The same in the launcher, which imports nothing of the application's.

    Returns the names of the classes for which `own`, handlers to stderr, and filters that let everything pass
    stand in.
    """
    described = _read(path)
    if isinstance(described, configparser.RawConfigParser):
        missing = list(_replace_missing(described, app))
        logging.config.fileConfig(described, disable_existing_loggers=False)
    else:
        configurator = _Lenient(described, app, own)
        configurator.configure()
        missing = configurator.missing
    _let_ours_follow(described)
    _see_errors(own)
    return missing


def _read(path: str) -> _Described:
    if path.endswith(".json"):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    elif path.endswith((".yaml", ".yml")):
        import yaml

        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    else:
        return _read_ini(path)
    if not isinstance(found, dict):
        raise TypeError("it describes nothing: see logging.config.dictConfig")
    return found


def _read_ini(path: str) -> configparser.RawConfigParser:
    """Whatever is called neither .json nor .yaml. Raises ValueError for what is none."""
    parser = configparser.ConfigParser()
    try:
        with Path(path).open(encoding="utf-8") as file:
            parser.read_file(file)
    except configparser.Error as error:
        why = error.message.splitlines()[0].rstrip(".")
        raise ValueError(
            f"as an .ini file, for so it is read unless it is called .json or .yaml: {why}"
        ) from None
    return parser


# ── our lines ─────────────────────────────────────────────────────────────────────────────────────────────


def _let_ours_follow(described: _Described) -> None:
    """Where the file says nothing of ours, have our lines go where uvicorn's go."""
    for name, logger in logging.Logger.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and _is_ours(name):
            logger.disabled = False  # as every logger that the file does not name: its default
    if any(map(_is_ours, _named(described))):
        return
    ours, theirs = logging.getLogger(OURS), logging.getLogger(THEIRS)
    ours.handlers = list(_handlers_of(theirs))
    ours.setLevel(theirs.getEffectiveLevel())
    ours.propagate = False


def _see_errors(own: _Make) -> None:
    """A handler of our own for errors, if nothing else takes them."""
    ours = logging.getLogger(OURS)
    if not ours.isEnabledFor(logging.ERROR):
        ours.setLevel(logging.ERROR)
    for handler in _handlers_of(ours):
        if handler.level <= logging.ERROR and not isinstance(handler, logging.NullHandler):
            return
    seen = logging.StreamHandler(sys.stderr)
    seen.setLevel(logging.ERROR)
    seen.setFormatter(own())
    ours.addHandler(seen)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == OURS


def _named(described: _Described) -> Iterator[str]:
    """The loggers that the file names."""
    if isinstance(described, configparser.RawConfigParser):
        for key in described["loggers"]["keys"].split(","):
            yield described.get(f"logger_{key.strip()}", "qualname", fallback="")
    else:
        yield from described.get("loggers", {})


def _handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    """Those that a record of this logger comes to (logging.Logger.callHandlers)."""
    step: logging.Logger | None = logger
    while step is not None:
        yield from step.handlers
        step = step.parent if step.propagate else None


# ── without the application ───────────────────────────────────────────────────────────────────────────────


class _Lenient(logging.config.DictConfigurator):
    """Has something of ours stand in for what cannot be imported here."""

    def __init__(self, config: dict[str, Any], app: str, own: _Make) -> None:
        super().__init__(config)
        self.missing: list[str] = []
        self._app = app
        self._own = own

    def resolve(self, name: str) -> Any:
        if _belongs_to(self._app, name):
            self.missing.append(name)
            raise ValueError(f"{name} is the application's")
        try:
            return super().resolve(name)
        except ValueError:
            self.missing.append(name)
            raise

    def configure_formatter(self, config: Any) -> logging.Formatter | Any:
        return self._or_ours(super().configure_formatter, config, self._own)

    def configure_filter(self, config: Any) -> logging.Filter | Any:
        return self._or_ours(super().configure_filter, config, logging.Filter)

    def configure_handler(self, config: Any) -> logging.Handler | Any:
        level, named = config.get("level"), config.get("formatter")

        def to_stderr() -> logging.Handler:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(self.config["formatters"][named] if named else self._own())
            handler.setLevel(level or logging.NOTSET)
            return handler

        return self._or_ours(super().configure_handler, config, to_stderr)

    def _or_ours(self, configure: Callable[[Any], Any], config: Any, ours: Callable[[], Any]) -> Any:
        before = len(self.missing)
        # Asked first: not every name is resolved by `resolve` (logging.config, configure_formatter).
        named = config.get("()") or config.get("class")
        if isinstance(named, str) and not _is_there(named, self._app):
            self.missing.append(named)
            return ours()
        try:
            return configure(config)
        except ValueError:
            if len(self.missing) == before:
                raise
            return ours()  # what it is made with is missing: ext://shop.stream


class StandIn(TextFormatter):
    """Our lines, made like a formatter in an .ini file: of a format, which is not for us."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


def _replace_missing(described: configparser.RawConfigParser, app: str) -> Iterator[str]:
    for section, options in described.items():
        name = options.get("class")
        if not name or _is_there(name, app):
            continue
        yield name
        if section.startswith("formatter_"):
            options["class"] = f"{__name__}.{StandIn.__name__}"
        else:
            _write_to_stderr(options)


def _write_to_stderr(handler: MutableMapping[str, str]) -> None:
    handler["class"], handler["args"], handler["kwargs"] = "StreamHandler", "()", "{}"


def _is_there(name: str, app: str) -> bool:
    if name.partition(".")[0] in vars(logging):
        return True  # as fileConfig reads it: handlers.RotatingFileHandler
    if _belongs_to(app, name):
        return False
    try:
        logging.config.DictConfigurator({}).resolve(name)
    except ValueError:
        return False
    return True


def _belongs_to(app: str, name: str) -> bool:
    """Whether importing it would import the application's package, wherever that lies."""
    package = app.partition(":")[0].partition(".")[0]
    return package != OURS and name.partition(".")[0] == package
