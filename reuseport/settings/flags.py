"""What a field of the table says about itself: its flag, and the heading under which it stands."""

from dataclasses import field
from typing import TypeVar

from reuseport.records import record
from reuseport.settings.kinds import PASSWORD, Kind

T = TypeVar("T")


@record(frozen=True, slots=True)
class Flag:
    """What a field says about itself beyond its type and default.

    `spellings` as click takes them (`--a/--no-a` is a pair); empty means `--` and the field's name.
    `variables` are last names in the environment, asked after REUSEPORT_… and UVICORN_….
    What stands under a "uvicorn: …" heading keeps uvicorn's name, default and meaning.
    """

    heading: str
    kind: Kind
    about: str
    spellings: tuple[str, ...]
    variables: tuple[str, ...]


@record(frozen=True, slots=True)
class Topic:
    """A group of settings under one heading of --help; called, it makes one field of the table."""

    heading: str

    def __call__(
        self, default: T, kind: Kind, about: str, *spellings: str, variables: tuple[str, ...] = ()
    ) -> T:
        flag = Flag(self.heading, kind, about, spellings, variables)
        # A password has no place in a log line or a traceback that shows the settings.
        made: T = field(default=default, repr=kind is not PASSWORD, metadata={"flag": flag})
        return made
