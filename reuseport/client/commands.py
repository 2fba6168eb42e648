"""What can be typed to see and steer a running launcher. What a command needs is imported when it runs.

The file is long because it is a list: one definition a command, and the options they share.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from reuseport.settings.kinds import DURATION
from reuseport.settings.values import Value

if TYPE_CHECKING:
    from reuseport.client.control import Control
    from reuseport.client.waiting import Judge
    from reuseport.instance import Status

    Find = Callable[[], Control]

LOOK = 0.5
"""Seconds between the two looks that rates need."""
SHOWN = 20
"""Records that `--events` shows unless told otherwise."""

_WHICH = """\b
Which launcher: the only one that runs; where there are several, or one that has a runtime
directory or control socket of its own, say which one by one of --pid, --pid-file, --port and --control."""

_ENDS = """\b
Exit codes:
  0  done{done}
  1  not done; the message says why{undone}
  2  wrong usage: no such slot or number, or several launchers run and none was chosen
  4  no launcher was found, or it does not answer{overdue}"""


def _ends(done: str = "", undone: str = "", overdue: str = "") -> str:
    return f"{_WHICH}\n\n{_ENDS.format(done=done, undone=undone, overdue=overdue)}"


_WAITED = _ends(overdue="\n  5  --timeout is over; what was asked for goes on")

_PATH = click.Path(path_type=Path, readable=False)

_WAIT = (
    click.Option(["--wait"], is_flag=True, help="Return when it is done, and fail when it fails."),
    click.Option(
        ["--timeout"], type=Value(DURATION), metavar="DURATION", help="With --wait: no longer than this."
    ),
)
_TARGET = (
    click.Option(
        ["--control"],
        type=_PATH,
        metavar="PATH",
        envvar="REUSEPORT_CONTROL",
        help="The launcher with this control socket; also $REUSEPORT_CONTROL.",
    ),
    click.Option(["--pid"], type=click.IntRange(1), metavar="N", help="The launcher with this process id."),
    click.Option(["--pid-file"], type=_PATH, metavar="PATH", help="The launcher with this pid file."),
    click.Option(
        ["--port"], type=click.IntRange(1, 65535), metavar="N", help="The launcher that serves this port."
    ),
)
_TARGETS = tuple(option.name for option in _TARGET if option.name is not None)
SHARED = frozenset(option.name for option in (*_WAIT, *_TARGET) if option.name is not None)
"""Options that mean the same to every command that has them."""


def _command(
    name: str, epilog: str, *params: click.Parameter
) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose function gets what finds the `Control` in place of the options that say which."""

    def made(function: Callable[..., None]) -> click.Command:
        def run(**typed: Any) -> None:
            if typed.get("timeout") is not None and not typed["wait"]:
                raise click.UsageError("--timeout needs --wait")
            which = {option: typed.pop(option) for option in _TARGETS}
            function(_finder(which), **typed)

        return click.Command(
            name,
            callback=run,
            params=[*params, *_TARGET],
            help=function.__doc__,
            epilog=epilog,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        )

    return made


def _finder(which: dict[str, Any]) -> Find:
    from reuseport.client.finding import Choice, chosen

    context = click.get_current_context()
    typed = [
        option for option in which if context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    ]
    if len(typed) > 1:
        both = " and ".join(f"--{option.replace('_', '-')}" for option in typed)
        raise click.UsageError(f"{both} each say which launcher is meant: give one of them")
    if typed:  # then $REUSEPORT_CONTROL does not count
        which = {option: value for option, value in which.items() if option in typed}
    return functools.partial(chosen, Choice(**which))


def _do(control: Control, ask: Callable[[Status], Judge], wait: bool, timeout: float | None) -> None:
    """Ask, and wait for the end if that is wanted. `ask` gets the status before."""
    from reuseport.client.waiting import wait_for

    if wait:
        with _interruptible():
            click.echo(wait_for(control, ask, timeout))
    else:
        click.echo(f"accepted: {ask(control.status()).what}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Who interrupts the waiting should know that it is only the waiting."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; what was asked for goes on", err=True)
        sys.exit(128 + signal.SIGINT)


# ── to see ────────────────────────────────────────────────────────────────────────────────────────────


@_command(
    "status",
    _ends(
        done="; without --events and --stacks: it serves, and every worker that is wanted is ready",
        undone=", or not every worker that is wanted is ready",
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="Print what the API says."),
    click.Option(
        ["--events"],
        type=click.IntRange(1, 1024),
        is_flag=False,
        flag_value=SHOWN,
        metavar="[N]",
        help=f"Print the last N records of what happened, {SHOWN} without a number.",
    ),
    click.Option(
        ["--stacks"],
        type=click.IntRange(0),
        metavar="SLOT",
        help="Print what its worker executes.",
    ),
)
def status(find: Find, as_json: bool, events: int | None, stacks: int | None) -> None:
    """Show how a running server is, what happened, or what a worker executes."""
    from reuseport.client.summary import is_well
    from reuseport.client.text import cleaned, record_line

    if events is not None and stacks is not None:
        raise click.UsageError("--events and --stacks show different things: give one of them")
    control = find()
    if stacks is not None:
        answer = control.act(f"slots/{stacks}/stacks")
        click.echo(json.dumps(answer, indent=2) if as_json else cleaned(answer["stacks"]))
    elif events is not None:
        answer = control.newest(events)
        lines = [json.dumps(answer, indent=2)] if as_json else map(record_line, answer["events"])
        click.echo("".join(f"{line}\n" for line in lines), nl=False)
    else:
        seen = control.status()
        if as_json:
            click.echo(json.dumps(seen, indent=2))
        else:
            seen = _show(control, seen)
        sys.exit(0 if is_well(seen) else 1)


def _show(control: Control, before: Status) -> Status:
    """For people: with what is going on just now."""
    from reuseport.client.rates import between
    from reuseport.client.summary import page

    time.sleep(LOOK)
    seen = control.status()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf
    for line in page(seen, between(before, seen), control.newest(64)["events"], width):
        click.echo(line)
    return seen


@_command(
    "top",
    _ends(done=": q was pressed, or --count is reached"),
    click.Option(
        ["--interval"],
        type=Value(DURATION),
        default=1.0,
        metavar="DURATION",
        help="Not on a terminal: time between two tables.  [default: 1s]",
    ),
    click.Option(
        ["--count"], type=click.IntRange(1), metavar="N", help="Not on a terminal: end after so many tables."
    ),
)
def top(find: Find, interval: float, count: int | None) -> None:
    """Watch a running server, live; its keys are shown. Not on a terminal: plain tables, one a second."""
    if sys.stdout.isatty() and sys.stdin.isatty():
        from reuseport.errors import ConfigurationError

        try:
            from reuseport.client.top import watch
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "rich":
                raise
            raise ConfigurationError(
                "top needs rich on a terminal: pip install 'reuseport[top]'; or pipe it: reuseport top | cat"
            ) from error
        watch(find)
    else:
        from reuseport.client.tables import write

        write(find, interval, count)


# ── to steer ──────────────────────────────────────────────────────────────────────────────────────────


@_command("reload", _WAITED, *_WAIT)
def reload(find: Find, wait: bool, timeout: float | None) -> None:
    """Start a new generation, slot by slot; with --wait until it serves in every slot."""
    from reuseport.client.judges import Reload
    from reuseport.client.waiting import why_not_started
    from reuseport.errors import UndoneError

    control = find()
    judges: list[Reload] = []

    def ask(before: Status) -> Judge:
        judges.append(Reload(control.act("reload")["generation"], before))
        return judges[0]

    try:
        _do(control, ask, wait, timeout)
    except UndoneError as error:
        reason = judges[0].reason if judges else None
        if reason is None:
            raise
        raise UndoneError(f"{error}\n{why_not_started(control, reason)}") from error


@_command("scale", _WAITED, click.Argument(["workers"], type=click.IntRange(1), metavar="N"), *_WAIT)
def scale(find: Find, workers: int, wait: bool, timeout: float | None) -> None:
    """Serve with N workers; with --wait until they are ready and the others gone."""
    from reuseport.client.judges import Scale

    control = find()

    def ask(before: Status) -> Judge:
        control.act("scale", {"workers": workers})
        return Scale(workers, before)

    _do(control, ask, wait, timeout)


@_command("drain", _WAITED, click.Argument(["slot"], type=click.IntRange(0)), *_WAIT)
def drain(find: Find, slot: int, wait: bool, timeout: float | None) -> None:
    """Take a slot out of service until it is restarted; with --wait until its worker is gone."""
    from reuseport.client.judges import Drain

    control = find()

    def ask(_: Status) -> Judge:
        control.act(f"slots/{slot}/drain")
        return Drain(slot)

    _do(control, ask, wait, timeout)


@_command("restart", _WAITED, click.Argument(["slot"], type=click.IntRange(0)), *_WAIT)
def restart(find: Find, slot: int, wait: bool, timeout: float | None) -> None:
    """Replace a slot's worker, or start one in a drained slot; with --wait until it is ready."""
    from reuseport.client.judges import Restart

    control = find()

    def ask(before: Status) -> Judge:
        control.act(f"slots/{slot}/restart")
        return Restart(slot, before)

    _do(control, ask, wait, timeout)


@_command("stop", _WAITED, *_WAIT)
def stop(find: Find, wait: bool, timeout: float | None) -> None:
    """Stop gracefully; with --wait until the launcher is gone."""
    from reuseport.client.waiting import wait_for_exit

    control = find()
    if wait:
        with _interruptible():
            wait_for_exit(control, timeout)
        click.echo("stopped")
    else:
        control.act("stop")
        click.echo("accepted: the server stops")


COMMANDS: dict[str, click.Command] = {
    name: command
    for command in (status, top, reload, scale, drain, restart, stop)
    if (name := command.name) is not None
}
