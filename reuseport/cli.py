"""The command line: `reuseport [APP] [flags]` serves, `reuseport check [APP] [flags]` only looks.

The commands that see and steer a running server are in client/commands.py; here they get their place.
The options are generated from the table in settings/table.py. click reads what was typed and nothing
else: environment, file and defaults are settings/precedence.py's, so one precedence holds for all.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from reuseport import __version__, surroundings
from reuseport.errors import ApplicationError, HostError, ReuseportError
from reuseport.settings.kinds import APPLICATION
from reuseport.settings.precedence import gathered, load
from reuseport.settings.table import DEFAULTS, FLAGS, Settings, spellings
from reuseport.settings.values import Value

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_APP = """APP is module:attribute; a dotted module alone, such as shop.web, means shop.web:app.
Without APP the built-in demo is served."""

_DOCTORS_ENDS = """\b
Exit codes:
  0  it starts, and nothing is wrong
  1  something is to be mended (warning)
  2  it would not start (error), or wrong usage"""

_SOURCES = """\b
Every setting can be given in four places; the first of these counts:
  1. a flag: --graceful-timeout 10s
  2. the environment: REUSEPORT_GRACEFUL_TIMEOUT=10s; for uvicorn's flags also UVICORN_<FLAG>;
     last WEB_CONCURRENCY, PORT (then the host is 0.0.0.0) and FORWARDED_ALLOW_IPS.
     Repeatable ones are separated by white space, REUSEPORT_BIND also by commas.
  3. a file: --config PATH (or REUSEPORT_CONFIG), else ./reuseport.toml,
     else [tool.reuseport] in ./pyproject.toml. Keys: graceful-timeout = "10s", app = "main:app".
     Repeatable ones are lists, by their plural: headers = ["X-Served-By:me"].
  4. the default

\b
DURATION is 30s, 5m, 1h30m, 250ms or a number of seconds.
SIZE is 512M, 1.5G or a number of bytes; K, M, G and T are powers of 1024."""

_SHELLS = ("bash", "zsh", "fish")
_CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@contextmanager
def _refusals(context: click.Context) -> Iterator[None]:
    """Our errors end the command with one line, the error's own status and no traceback."""
    try:
        yield
    except ReuseportError as error:
        # An application's error is its traceback: a prefix would only make it harder to read.
        text = str(error) if isinstance(error, ApplicationError) else f"Error: {error}"
        click.echo(text.rstrip("\n"), err=True)
        context.exit(error.exit_code)


class _Application(click.ParamType):  # type: ignore[type-arg]  # as above
    """APP, with a word for whoever meant a command."""

    name = "APP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if is_word(value):
            meant = words()[value]
            # With its settings, for click keeps the first --help option that it is asked for.
            pieces = meant.collect_usage_pieces(click.Context(meant, **meant.context_settings))
            arguments = " ".join([*pieces[1:], "[flags]"])  # without its [OPTIONS]
            self.fail(f"the command comes first: reuseport {value} {arguments}", param, ctx)
        try:
            return APPLICATION.parse(value)
        except ValueError as error:
            import difflib

            near = difflib.get_close_matches(value, words(), n=1)
            known = f"the commands are: {', '.join(words())}"
            hint = f"did you mean the command {near[0]!r}?" if near else known
            self.fail(f"{error}; {hint}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Commands, where one can stand, and the modules of this directory."""
        from click.shell_completion import CompletionItem

        del param
        known = list(words()) if ctx.command is cli else []
        modules = [f"{path.stem}:app" for path in sorted(Path().glob("*.py"))]
        return [CompletionItem(word) for word in (*known, *modules) if word.startswith(incomplete)]


_ALONE = {
    spelling: f"{spelling}={flag.kind.alone}"
    for name, flag in FLAGS.items()
    if flag.kind.alone is not None
    for spelling in spellings(name)
}
"""Flags that may do without a value. click would take the next word for it, which may be APP."""


class _Command(click.Command):
    """A command whose --help is grouped by the headings of the table."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, [_ALONE.get(word, word) for word in args])
        except click.NoSuchOption as error:
            from reuseport.settings.foreign import advised  # for who moves over

            raise advised(error) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = FLAGS[parameter.name].heading if parameter.name in FLAGS else "Command"
                groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class _Serve(_Command):
    """The command that needs no word; where the first argument is another command's, that one runs."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and is_word(args[0]):
            word, rest = args[0], args[1:]
            return words()[word].make_context(f"{info_name} {word}", rest, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        described = self.help or ""
        lines = [f"  {word:8} {command.get_short_help_str(90)}" for word, command in words().items()]
        known = "\n".join(("\b\nCommands, as the first word:", *lines))
        self.help = described.replace(_APP, f"{known}\n\n{_APP}")
        super().format_help_text(ctx, formatter)
        self.help = described

    def invoke(self, ctx: click.Context) -> Any:
        with _refusals(ctx):
            if ctx.command is self:
                return super().invoke(ctx)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
            return ctx.command.invoke(ctx)


def settings_of(context: click.Context) -> Settings:
    """The settings in force for a parsed command line. Raises ConfigurationError."""
    return load(_typed(context), os.environ, Path(), context.params["config"])


def _typed(context: click.Context) -> dict[str, Any]:
    """What the command line gives, by field name."""
    return {
        name: context.params[name]
        for name in FLAGS
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


@click.pass_context
def _serve(context: click.Context, /, **_: Any) -> None:
    """Serve an ASGI application from N workers on one port, balanced by the kernel."""
    # Here and not above: --help, --version and a mistyped flag need none of it.
    from reuseport.launcher import siginfo

    siginfo.hold()
    settings = settings_of(context)
    if surroundings.given.companions and settings.preload == "off":
        # They are not in what is forked.
        settings = replace(settings, mold=False)
    from reuseport.launcher.ahead import first_mold

    with first_mold(settings, context.obj) as mold:
        from reuseport.admin.front import admin
        from reuseport.launcher.serve import serve

        try:
            code = serve(settings, admin, mold)
        except HostError as error:
            raise HostError(f"{error}; `reuseport doctor` looks at the whole host") from error
    context.exit(code)


@click.pass_context
def _check(context: click.Context, /, **_: Any) -> None:
    """Validate the settings and import the application, without touching the port."""
    settings = settings_of(context)
    from reuseport.launcher.check import check

    click.echo(check(settings))


@click.pass_context
def _doctor(context: click.Context, /, **_: Any) -> None:
    """Look at host, settings and application: would it start, how well would it do, what is to be typed."""
    settings = settings_of(context)
    from reuseport.doctor.gathering import gather
    from reuseport.doctor.telling import document, judged, page, status

    lines = judged(gather(settings, application=settings.app != DEFAULTS.app))
    if context.params["as_json"]:
        click.echo(json.dumps(document(lines), indent=2))
    else:
        click.echo("\n".join(page(lines)))
    context.exit(status(lines))


@click.pass_context
def _generate(context: click.Context, /, **_: Any) -> None:
    """Print files that run us under somebody else's care: KIND is systemd, dockerfile, compose, kubernetes,
    nomad, haproxy or nginx. The flags that are typed here are carried over.
    """
    from reuseport.deploy.kinds import KINDS
    from reuseport.deploy.order import Order, checked_name, name_of
    from reuseport.deploy.rendering import listing, write

    typed = _typed(context)
    # Not the environment's: it is this shell's, and not that of whoever runs the service.
    settings = gathered(typed, {}, Path(), context.params["config"])
    name = context.params["name"]
    order = Order(
        name_of(settings.app) if name is None else checked_name(name),
        settings,
        typed,
        _command(),
        Path.cwd(),
    )
    files = KINDS[context.params["kind"]](order)
    if (output := context.params["output"]) is None:
        click.echo(listing(files), nl=False)
    else:
        for place in write(files, Path(output)):
            click.echo(place)


def _command() -> tuple[str, ...]:
    """What runs us here: the console script, else the interpreter, which looks not into the directory."""
    script = Path(sys.executable).with_name("reuseport")
    return (str(script),) if script.exists() else (sys.executable, "-P", "-m", "reuseport")


_KINDS = ("systemd", "dockerfile", "compose", "kubernetes", "nomad", "haproxy", "nginx")
"""As deploy/kinds.py has them, which nobody else needs."""
_GENERATING = (
    click.Argument(["kind"], type=click.Choice(_KINDS), metavar="KIND"),
    click.Option(["--name"], metavar="NAME", help="What the service is called; without it, as APP is."),
    click.Option(["--output"], metavar="DIR", help="Write the files here, over none that exists."),
)


@click.command("completion", context_settings=_CONTEXT)
@click.argument("shell", type=click.Choice(_SHELLS))
def _completion(shell: str) -> None:
    """Print what makes a shell complete our commands and flags: eval "$(reuseport completion bash)"."""
    from click.shell_completion import get_completion_class

    if (kind := get_completion_class(shell)) is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(cli, {}, "reuseport", "_REUSEPORT_COMPLETE").source())


@click.command("manual", context_settings=_CONTEXT)
@click.argument("topic", required=False)
def _manual(topic: str | None) -> None:
    """Show a topic of the manual; without one, which topics there are."""
    from reuseport.manual import text, topics

    known = topics()
    if topic is None:
        width = max(map(len, known))
        click.echo_via_pager("".join(f"{name:{width}}  {about}\n" for name, about in known.items()))
    elif topic in known:
        click.echo_via_pager(text(topic))
    else:
        import difflib

        near = difflib.get_close_matches(topic, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        raise click.UsageError(f"the manual has no topic {topic!r}; {hint}")


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        # The installed distribution's own word: the launcher never imports uvicorn.
        # Here: it takes a tenth of the time in which the launcher starts.
        import platform
        from importlib.metadata import version

        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"reuseport {__version__} (uvicorn {version('uvicorn')}, {python})")
        context.exit()


def _option(name: str) -> click.Option:
    flag = FLAGS[name]
    default = getattr(DEFAULTS, name)
    about = flag.about
    if default not in (None, (), "", False):
        shown = "on" if default is True else flag.kind.show(default)
        about = f"{about}  [default: {shown}]"
    if flag.kind.metavar is None:
        return click.Option([*spellings(name), name], is_flag=True, default=None, help=about)
    return click.Option(
        [*spellings(name), name],
        type=Value(flag.kind),
        metavar=flag.kind.metavar,
        multiple=flag.kind.separator is not None,
        help=about,
    )


def _parameters() -> list[click.Parameter]:
    own: list[click.Parameter] = [
        click.Argument(["app"], required=False, type=_Application(), metavar="[APP]"),
        click.Option(["-c", "--config"], metavar="PATH", help="Read settings from this TOML file."),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the versions of reuseport and uvicorn.",
        ),
    ]
    return [*own, *(_option(name) for name in FLAGS if name != "app")]


def _made(
    kind: type[_Command],
    name: str,
    callback: Callable[..., None],
    *about: str,
    more: Sequence[click.Parameter] = (),
) -> _Command:
    return kind(
        name,
        callback=callback,
        # Before APP: what stands first is typed first.
        params=[*more, *_parameters()],
        help="\n\n".join((callback.__doc__ or "", *about, _APP)),
        epilog=_SOURCES,
        context_settings=_CONTEXT,
    )


@functools.cache
def words() -> dict[str, click.Command]:
    """The commands, by what is typed as the first word.

    Imported when one may be meant, or is told of: who serves waits for the command line, and needs none.
    """
    from reuseport.client.commands import COMMANDS

    doctor = _made(
        _Command,
        "doctor",
        _doctor,
        _DOCTORS_ENDS,
        more=[click.Option(["--json", "as_json"], is_flag=True, help="Print it for programs.")],
    )
    check = _made(_Command, "check", _check)
    generate = _made(_Command, "generate", _generate, more=_GENERATING)
    own = {
        "check": check,
        "generate": generate,
        "completion": _completion,
        "doctor": doctor,
        "manual": _manual,
    }
    return {**own, **COMMANDS}


def is_word(text: str) -> bool:
    """Whether it is a command's, and no application's or flag's."""
    return ":" not in text and not text.startswith("-") and text in words()


cli = _made(_Serve, "reuseport", _serve)
