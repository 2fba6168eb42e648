"""Templates with @{names}, and the files that come of them."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reuseport.errors import ConfigurationError

HERE = Path(__file__).parent / "templates"


class _Template(string.Template):
    """`$` is systemd's, nginx's and the shell's."""

    delimiter = "@"


@dataclass(frozen=True)
class File:
    """What is to lie at `name`, relative to where the operator wants it."""

    name: str
    text: str


def filled(template: str, names: dict[str, object]) -> str:
    """A template with all its names filled in. Raises KeyError for a name that is not given."""
    return _Template((HERE / template).read_text(encoding="utf-8")).substitute(names)


def listing(files: Iterable[File]) -> str:
    """All of them for a terminal; each says at its top where it belongs."""
    return "\n".join(file.text for file in files)


def write(files: Iterable[File], directory: Path) -> list[Path]:
    """Put them there, all or none, over nothing that exists. Raises ConfigurationError."""
    places = {directory / file.name: file.text for file in files}
    for place in places:
        if place.exists() or place.is_symlink():
            raise ConfigurationError(f"{place} is there already: remove it, or choose another --output")
    try:
        for place, text in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write into --output {directory}: {error.strerror}") from error
    return list(places)
