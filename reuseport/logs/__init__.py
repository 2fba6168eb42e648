"""Logging of launcher and workers: uvicorn's logger names, one handler set, every record knows its slot.

Each record has `place` ("launcher" or "slot 3"), `slot` and `generation` ("-" in the launcher), also for
formats of the operator's own (--log-config). Lines for people go to stderr, access lines to stdout, as
uvicorn has it, or to --log-file and --access-log-file, which SIGUSR1 opens again.

lines          what a line looks like, and whom it names
configuration  setting logging up
operators      as the operator's own file has it (--log-config)
relay          the launcher's lines: put down at once, written by a thread
stream         where they are written
opening        opening a log file, in a directory that may be somebody else's
rotation       log files: opened again, and given to the workers' user
"""

from reuseport.logs.configuration import TRACE, configure, configure_launcher
from reuseport.logs.lines import ACCESS_FORMAT, LAUNCHER, PHRASES, Place, TextFormatter, moved, worker
from reuseport.logs.relay import Relay, relayed
from reuseport.logs.rotation import files, give_files_to, reopen

__all__ = [
    "ACCESS_FORMAT",
    "LAUNCHER",
    "PHRASES",
    "TRACE",
    "Place",
    "Relay",
    "TextFormatter",
    "configure",
    "configure_launcher",
    "files",
    "give_files_to",
    "moved",
    "relayed",
    "reopen",
    "worker",
]
