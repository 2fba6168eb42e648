"""The kinds of value a setting can have: how each is read from text and from a file.

One `parse` per kind serves flags, environment and file, so a value means the same from all three.
It raises ValueError with a sentence that says what to write; the caller adds where it stood.
"""

import re
import shlex
from collections.abc import Callable
from typing import Any

from reuseport.records import record
from reuseport.settings.units import format_duration, parse_duration, parse_size

# Whatever a file may be called: importlib imports my-app as well, which no import statement can name. A name
# does not begin with a dot (there is nothing that it would be relative to) or with a hyphen (it is a flag).
_NAMES = re.compile(r"(?!-)[^./:\0]+(?:\.[^./:\0]+)*")
# A field name is a token (RFC 9110 §5.6.2); a value holds no control character, so that no
# header can end early and start another (RFC 9110 §5.5).
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# As it stands in a URL: nothing that ends the name there.
_PARAMETER = re.compile(r"[!$'()*+,;:@?/._~0-9A-Za-z%-]+")
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


@record(frozen=True, slots=True)
class Kind:
    """`parse` reads text or a value of a `native` type, the types a TOML file may use for it.

    A kind with a `separator` is repeatable: a flag is given again, a file has a list, an
    environment variable is split there. A kind without a `metavar` is a switch. What a flag means without a
    value, if it may do without, is `alone`; a value then stands behind a `=`, or it would be the next word.
    """

    metavar: str | None
    parse: Callable[[Any], object]
    native: tuple[type, ...]
    show: Callable[[Any], str] = str
    separator: str | None = None
    alone: str | None = None


def integer(lowest: int, highest: int | None = None) -> Kind:
    """A whole number within a range, both ends included."""
    span = f"from {lowest} to {highest}" if highest is not None else f"of {lowest} or more"

    def parse(value: str | int) -> int:
        number = int(value) if re.fullmatch(r"-?[0-9]{1,18}", str(value), re.ASCII) else None
        if number is None or number < lowest or (highest is not None and number > highest):
            raise ValueError(f"{str(value)!r} will not do: write a whole number {span}")
        return number

    return Kind("N", parse, (int,))


def _limit(value: str | int) -> int:
    if str(value).strip().lower() == "none":
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", str(value), re.ASCII):
        raise ValueError(f"{str(value)!r} is no limit: write a whole number, or none")
    return int(value)


def choice(*words: str) -> Kind:
    """One of a few words, in any case."""

    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(words)}")
        return value.lower()

    return Kind(f"[{'|'.join(words)}]", parse, (str,))


def import_string(*words: str) -> Kind:
    """One of a few words that uvicorn knows, or `module:attribute` of one's own."""
    return Kind(f"[{'|'.join(words)}|MODULE:ATTRIBUTE]", str, (str,))


def text(metavar: str) -> Kind:
    """Any text."""
    return Kind(metavar, str, (str,))


def texts(metavar: str, separator: str = r"\s+") -> Kind:
    """Repeatable text; `separator` is a regular expression, used in environment variables only."""
    return Kind(metavar, str, (str,), separator=separator)


MOST_WORKERS = 4096
"""Each takes seven descriptors of the launcher's, a process, and a row of the scoreboard."""


def _number(value: str | float) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(value), re.ASCII):
        raise ValueError(f"{str(value)!r} will not do: write a number such as 20 or 0.25")
    return float(value)


def _boolean(value: str | bool) -> bool:
    word = str(value).strip().lower()
    if word not in _WORDS:
        raise ValueError(f"{str(value)!r} is neither true nor false")
    return _WORDS[word]


def _preload(value: str | bool) -> str:
    word = str(value).strip().lower()
    if word == "try":
        return word
    if word not in _WORDS:
        raise ValueError(f"{str(value)!r} is not one of true, false, try")
    return "on" if _WORDS[word] else "off"


def _workers(value: str | int) -> int | str:
    if str(value).strip() == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,9}", str(value), re.ASCII) or int(value) < 1:
        raise ValueError(f"{str(value)!r} is no number of workers: write 1 or more, or auto")
    if int(value) > MOST_WORKERS:
        raise ValueError(f"{value} workers are more than one launcher can have: {MOST_WORKERS:,}, or auto")
    return int(value)


def _application(value: str) -> str:
    module, colon, attribute = value.partition(":")
    if module.endswith(".py"):
        example = module.removesuffix(".py").strip("./").replace("/", ".")
        raise ValueError(f"{value!r} is a file: name the module instead, {example}:{attribute or 'app'}")
    if not colon and "." in module:
        attribute = "app"
    if not _NAMES.fullmatch(module) or not _NAMES.fullmatch(attribute):
        raise ValueError(f"{value!r} is no application: write module:attribute, for example main:app")
    return f"{module}:{attribute}"


def _callable(value: str) -> str:
    module, _, attribute = value.partition(":")
    if not _NAMES.fullmatch(module) or not _NAMES.fullmatch(attribute):
        raise ValueError(f"{value!r} names no function: write module:function, for example shop.hooks:warm")
    return value


def _command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no command: {error}") from error
    if not words:
        raise ValueError(
            "an empty command: write a program and its arguments, such as 'alembic upgrade head'"
        )
    return value


def _header(value: str) -> str:
    # uvicorn encodes response headers as latin-1 (uvicorn/config.py, Config.load).
    if not _HEADER.fullmatch(value) or any(ord(character) > 255 for character in value):
        raise ValueError(f"{value!r} is not a header: write Name:Value")
    return value


def _sticky(value: str) -> str:
    kind, colon, name = value.partition(":")
    kind = kind.lower()
    # Names of headers and of cookies are tokens (RFC 9110, 5.6.2; RFC 6265, 4.1.1).
    named = _TOKEN.fullmatch(name) if kind != "query" else _PARAMETER.fullmatch(name)
    if kind == "insert" and (named or not colon):
        return f"{kind}:{name}" if name else kind
    if kind not in ("header", "cookie", "query") or not named:
        raise ValueError(
            f"{value!r} says of no session: write header:NAME, cookie:NAME, query:NAME or insert"
        )
    return f"{kind}:{name}"


def split_sni(value: str) -> tuple[str, str, str | None]:
    """Name, certificate and key of `NAME=CERT[:KEY]`."""
    name, _, files = value.partition("=")
    certificate, _, key = files.partition(":")
    return name.lower(), certificate, key or None


def _sni(value: str) -> str:
    name, certificate, _ = split_sni(value)
    if not re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", name) or not certificate:
        raise ValueError(f"{value!r} is no certificate of a name: write NAME=CERT or NAME=CERT:KEY")
    return value


APPLICATION = Kind("APP", _application, (str,))
CALLABLE = Kind("MODULE:FUNCTION", _callable, (str,))
COMMAND = Kind("COMMAND", _command, (str,))
BOOLEAN = Kind("BOOLEAN", _boolean, (bool,), show=lambda value: str(value).lower())
DURATION = Kind("DURATION", parse_duration, (int, float, str), show=format_duration)
LIMIT = Kind("N", _limit, (int, str))
"""A number of things; 0, or none, for as many as come."""
HEADERS = Kind("NAME:VALUE", _header, (str,), separator=r"\s+")
PASSWORD = text("PASSWORD")
PRELOAD = Kind("[=try]", _preload, (bool, str), alone="on")
NUMBER = Kind("SECONDS", _number, (int, float))
SNI = Kind("NAME=CERT:KEY", _sni, (str,), separator=r"\s+")
SIZE = Kind("SIZE", parse_size, (int, str))
STICKY = Kind("KIND:NAME", _sticky, (str,), separator=r"\s+")
SWITCH = Kind(None, _boolean, (bool,), show=lambda value: str(value).lower())
WORKERS = Kind("N|auto", _workers, (int, str))
