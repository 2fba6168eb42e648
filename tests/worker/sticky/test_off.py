"""Who does not ask for it has nothing of it: no module, no other protocol, so no request costs more."""

from __future__ import annotations

import subprocess
import sys

from reuseport.settings.table import Settings
from reuseport.worker.application import Application
from reuseport.worker.protocol.connection import PROTOCOLS, Bounded
from reuseport.worker.sticky.movable import MOVABLE

WORKER = """
import sys
from reuseport.settings.table import Settings
from reuseport.worker.stage import import_ours

import_ours(Settings(sticky={sticky}))
print(any(name.startswith("reuseport.worker.sticky") for name in sys.modules))
"""


def test_no_module_of_it_is_imported() -> None:
    for sticky, found in (((), "False"), (("insert",), "True")):
        done = subprocess.run(
            [sys.executable, "-c", WORKER.format(sticky=sticky)], check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == found


def test_the_protocols_are_the_same_as_ever() -> None:
    for name, protocol in PROTOCOLS.items():
        assert Application(Settings(http=name)).http is protocol
        assert Application(Settings(http=name, sticky=("insert",))).http is MOVABLE[protocol]
    assert Application(Settings(max_wait=1.0)).http is Bounded
    assert Application(Settings(max_wait=1.0, sticky=("insert",))).http is MOVABLE[Bounded]
