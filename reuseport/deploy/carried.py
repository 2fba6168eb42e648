"""Flags as words of another command line: what was typed goes along, in the table's order. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Container, Mapping, Sequence
from typing import Any

from reuseport.errors import ConfigurationError
from reuseport.settings.table import FLAGS, spellings

# The first is a secret, the others are for who develops.
_REFUSED = {
    "ssl_keyfile_password": "everybody could read it there: give --ssl-keyfile-password-file",
    "reload": "it is for development: leave it out",
}


def words(typed: Mapping[str, Any], leave_out: Container[str] = ()) -> list[str]:
    """The flags by their long names, such as ["--workers", "4"]. Raises ConfigurationError for what has no
    place in a file.
    """
    found: list[str] = []
    for name, flag in FLAGS.items():
        if name == "app" or name not in typed or name in leave_out:
            continue
        value = typed[name]
        if name in _REFUSED and value:
            raise ConfigurationError(f"{spellings(name)[-1]} is not put into a file: {_REFUSED[name]}")
        spelling = max(spellings(name), key=len)
        if flag.kind.metavar is None:
            on, _, off = spelling.partition("/")
            found += [on] if value else [off] if off else []
            continue
        for one in value if flag.kind.separator is not None else [value]:
            found += [spelling, flag.kind.show(one)]
    return found


def for_systemd(words: Sequence[str]) -> str:
    """As in ExecStart=: quoted, and with nothing that it would expand (systemd.service(5))."""
    return " ".join(map(_systemd_word, words))


def for_yaml(words: Sequence[str]) -> str:
    """A list in one line, which JSON and TOML and HCL read, too."""
    return json.dumps(list(words), ensure_ascii=False)


def for_shell(words: Sequence[str]) -> str:
    """As one types it."""
    return shlex.join(words)


def _systemd_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    plain = escaped and not any(character.isspace() or character in "'\";" for character in escaped)
    return escaped if plain else f'"{escaped}"'
