"""Messages as bytes: a JSON object whose "kind" names the class, and whose other keys are exactly its fields.

What is read may come from somebody who wants to hurt us, so nothing is believed: neither that it is JSON, nor
how deep or how long, nor a type or a range.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Literal, NoReturn, TypeAlias

from reuseport.messages import PACKET, Alphabet, Message, Said

MOST_WHOLE = 2**53
"""Up to here a JSON number is the same number for everybody who reads it."""
MOST_SECONDS = 1e9
MOST_ITEMS = 253
"""No message can bring more descriptors (SCM_MAX_FD)."""


class ViolationError(Exception):
    """Whoever sent this does not keep to what was agreed. Says in words what is wrong with it."""


def encode(message: Message) -> bytes:
    """The packet. Raises ValueError for a message that is too long."""
    packet = json.dumps({"kind": type(message).__name__, **asdict(message)}).encode()
    if len(packet) > PACKET:
        raise ValueError(f"a {type(message).__name__} message of {len(packet)} bytes: {PACKET} is the limit")
    return packet


def decode(packet: bytes, alphabet: Alphabet[Said]) -> Said:
    """The message. Raises ViolationError for anything that is none of this alphabet's."""
    fields = _fields(packet)
    name = fields.pop("kind", None)
    kind: Any = alphabet.kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ViolationError(f"no message of the kind {_short(name)} is sent in this direction")
    wanted = _readers(kind)
    if fields.keys() != wanted.keys():
        raise ViolationError(f"{name} with the fields {_short(sorted(fields))}, not {sorted(wanted)}")
    values = {}
    for field, read in wanted.items():
        try:
            values[field] = read(fields[field], alphabet.most_text)
        except ValueError:
            raise ViolationError(f"{name}.{field} is {_short(fields[field])}") from None
    message: Said = kind(**values)
    return message


def _fields(packet: bytes) -> dict[str, Any]:
    try:
        # Not the bytes: json would guess at UTF-16 and UTF-32, too.
        fields = json.loads(packet.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ViolationError(f"{_short(packet)} is no JSON") from None
    if not isinstance(fields, dict):
        raise ViolationError(f"{_short(packet)} is no JSON object")
    return fields


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key appears twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def learn(alphabet: Alphabet[Said]) -> None:
    """How to read each of its messages: whoever is forked from us need not find out."""
    kinds: Iterable[Any] = alphabet.kinds.values()
    for kind in kinds:
        _readers(kind)


# ── one field ─────────────────────────────────────────────────────────────────────────────────────────

Reader: TypeAlias = Callable[[Any, int], Any]
"""Gets what came and how many characters a text may have; the value as the message has it, or ValueError."""


@functools.cache
def _readers(kind: Any) -> dict[str, Reader]:
    hints = typing.get_type_hints(kind)
    return {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}


def _reader(hint: Any) -> Reader:
    """For a field with this annotation. Raises KeyError for a type that no message has yet."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return functools.partial(_one_of, inner)
    if origin is tuple:
        return functools.partial(_several, _reader(inner[0]))
    if origin is types.UnionType:
        return functools.partial(_or_none, _reader(inner[0]))
    return _PLAIN[hint]


def _one_of(values: tuple[object, ...], value: Any, _: int) -> Any:
    if not isinstance(value, str) or value not in values:
        raise ValueError
    return value


def _several(read: Reader, value: Any, most_text: int) -> Any:
    if not isinstance(value, list) or len(value) > MOST_ITEMS:
        raise ValueError
    return tuple(read(item, most_text) for item in value)


def _or_none(read: Reader, value: Any, most_text: int) -> Any:
    return None if value is None else read(value, most_text)


def _whole(value: Any, _: int) -> int:
    # Not isinstance: True is an int.
    if type(value) is not int or not 0 <= value <= MOST_WHOLE:
        raise ValueError
    return value


def _seconds(value: Any, _: int) -> float:
    if type(value) not in (int, float) or not 0 <= value <= MOST_SECONDS:
        raise ValueError
    return float(value)


def _text(value: Any, most_text: int) -> str:
    if not isinstance(value, str) or len(value) > most_text:
        raise ValueError
    # A lone surrogate, as file names may have them, could not be written to any log.
    return value.encode(errors="backslashreplace").decode()


_PLAIN: dict[Any, Reader] = {int: _whole, float: _seconds, str: _text}


def _short(value: object) -> str:
    """For people, whatever it is: control characters escaped, and not longer than a line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list as deep
        return "out of all range"
    return text if len(text) <= 80 else f"{text[:80]}…"
