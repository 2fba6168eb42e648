"""What a launcher and its workers must agree on, in one short word: messages, settings, and the scoreboard.

A launcher runs for months and starts workers from what is on disk by then. After an upgrade that may be other
code, which finds other words on the scoreboard and other fields in its orders: it says so by name, and does
not begin.
"""

from __future__ import annotations

import binascii
import dataclasses

from reuseport import __version__, scoreboard, signals
from reuseport.messages import ALPHABETS
from reuseport.settings.table import Settings


def _word() -> str:
    fields = {
        kind.__name__: [(field.name, str(field.type)) for field in dataclasses.fields(kind)]
        for kind in (*(kind for said in ALPHABETS for kind in said.kinds.values()), Settings)
    }
    words = {
        kind.__name__: [(word.name, word.value) for word in kind]
        for kind in (scoreboard.Desk, scoreboard.SlotWord)
    }
    shape = scoreboard.ROW_WORDS, scoreboard.DESKS, scoreboard.WORD_BYTES, scoreboard.DURATION_BOUNDS
    text = repr((fields, words, shape, signals.STACKS_SIGNAL, signals.GLANCE_SIGNAL))
    # Nobody lies here, so a checksum does; hashlib would load all of OpenSSL before a mold begins.
    return f"{binascii.crc32(text.encode()):08x}"


AGREEMENT = f"{__version__}/{_word()}"
"""Of the code that this process has imported: its version, for people, and the word."""


def objection(launchers: str) -> str | None:
    """Why a worker of this code does not begin for a launcher of that agreement; None: it may."""
    if launchers == AGREEMENT:
        return None
    (theirs, word), (ours, other) = launchers.split("/"), AGREEMENT.split("/")
    return (
        f"the launcher is reuseport {theirs} ({word}), and on disk is {ours} ({other}) by now, which speaks"
        " otherwise: it was upgraded; restart the launcher"
    )
