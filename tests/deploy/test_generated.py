"""What `reuseport generate` prints: each file by its consumer's own checker, and saying what was typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from reuseport.cli import cli
from reuseport.deploy.carried import for_systemd, words
from reuseport.deploy.kinds import KINDS
from reuseport.deploy.order import Order, Stop, name_of
from reuseport.settings.table import DEFAULTS, Settings
from tests.conftest import Launch
from tests.papers import blocks, read

BIN = Path(sys.executable).parent
TYPED = (
    *("shop.web:app", "--workers", "4", "--bind", "0.0.0.0:8123", "--graceful-timeout", "20s"),
    *("--shutdown-timeout", "7s", "--header", 'X-Served-By:us "all"', "--no-access-log", "--mold"),
    *("--worker-max-rss", "512M", "--admin", "127.0.0.1:9123", "--agent-check", "127.0.0.1:9124"),
)
"""One of each kind."""
ORDERS = {"plain": ("shop.web:app",), "typed": TYPED}


def generate(*arguments: str, code: int = 0) -> str:
    """What the real command prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "reuseport", "generate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={
            name: value for name, value in os.environ.items() if not name.startswith(("REUSEPORT_", "PORT"))
        },
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def files(kind: str, place: Path, *arguments: str) -> list[Path]:
    """The same as files."""
    told = generate(kind, *arguments, "--name", "shop", "--output", str(place))
    return [Path(line) for line in told.splitlines()]


def checked(*command: str, cwd: Path | None = None) -> str:
    """What a checker says that is satisfied."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def debians(program: str) -> str:
    """Its path. Skips where it is missing, but not in CI."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return path


def understood(arguments: list[str]) -> Settings:
    """The settings that our own command line makes of it."""
    with cli.make_context("reuseport", list(arguments)) as context:
        typed = {
            name: value
            for name, value in context.params.items()
            if name != "config" and context.get_parameter_source(name).name == "COMMANDLINE"  # type: ignore[union-attr]
        }
    return Settings(**typed)


# ── each by its checker ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("typed", ORDERS.values(), ids=ORDERS)
def test_dockerfile(typed: tuple[str, ...], tmp_path: Path) -> None:
    dockerfile, ignored = files("dockerfile", tmp_path, *typed)
    assert checked(str(BIN / "hadolint"), "--failure-threshold", "style", str(dockerfile)) == ""
    text = dockerfile.read_text()
    assert ".venv" in ignored.read_text()
    # Exec form: no shell between a signal and us.
    for instruction in ("ENTRYPOINT", "CMD"):
        (last,) = re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)
        assert isinstance(json.loads(last), list)
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert int(user) > 0
    (probe,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    compile(json.loads(probe)[2], "probe", "exec")
    arguments = json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0])
    assert understood(arguments).app == "shop.web:app"


@pytest.mark.parametrize("typed", ORDERS.values(), ids=ORDERS)
def test_compose(typed: tuple[str, ...], tmp_path: Path) -> None:
    (file,) = files("compose", tmp_path, *typed)
    told = checked(str(BIN / "docker-compose"), "-f", str(file), "config", "--format", "json", cwd=tmp_path)
    service = json.loads(told)["services"]["shop"]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert seconds(service["stop_grace_period"]) > understood(service["command"]).graceful_timeout
    assert service["healthcheck"]["test"][0] == "CMD"


def seconds(text: str) -> int:
    """1m7s, as Go has it."""
    found = re.fullmatch(r"(?:(\d+)m)?(\d+)s", text)
    assert found is not None, text
    return int(found[1] or 0) * 60 + int(found[2])


@pytest.mark.parametrize("typed", ORDERS.values(), ids=ORDERS)
def test_kubernetes(typed: tuple[str, ...], tmp_path: Path) -> None:
    (file,) = files("kubernetes", tmp_path, *typed)
    assert checked(str(BIN / "kubernetes-validate"), "--strict", str(file)).count(" passed ") == 3
    # A Service called reuseport would set REUSEPORT_PORT to a URL.
    assert "\n      enableServiceLinks: false\n" in file.read_text()
    deployment, service, budget = yaml.safe_load_all(file.read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = understood(container["args"])
    assert settings.shutdown_delay > 0  # who sends clients hears of our end beside us
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.bind == (f"0.0.0.0:{ports['http']}",)
    assert settings.admin == f"0.0.0.0:{ports['admin']}"
    assert settings.admin_open
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/startupz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {probe["port"] for probe in probes.values()} == {"admin"}
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= settings.startup_timeout
    assert pod["terminationGracePeriodSeconds"] == Stop.of(settings).total
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("typed", ORDERS.values(), ids=ORDERS)
def test_nomad(typed: tuple[str, ...], tmp_path: Path) -> None:
    """No checker that works without a server: the language's own parser, and what must be there."""
    (file,) = files("nomad", tmp_path, *typed)
    job = plain(hcl2.loads(file.read_text()))["job"][0]["shop"]
    task = job["group"][0]["shop"]["task"][0]["shop"]
    settings = understood(task["config"][0]["args"])
    assert int(task["kill_timeout"].removesuffix("s")) == Stop.of(settings).total
    assert settings.shutdown_delay > 0
    ports = {
        name: port["to"]
        for each in job["group"][0]["shop"]["network"][0]["port"]
        for name, port in each.items()
        if not name.startswith("__")
    }
    assert settings.bind == (f"0.0.0.0:{ports['http']}",)
    assert task["user"] == "10001:10001"


def plain(parsed: Any) -> Any:
    """The parser leaves quotes around strings."""
    if isinstance(parsed, dict):
        return {plain(name): plain(value) for name, value in parsed.items()}
    if isinstance(parsed, list):
        return [plain(each) for each in parsed]
    if isinstance(parsed, str) and parsed.startswith('"'):
        return parsed[1:-1].replace('\\"', '"')
    return parsed


@pytest.mark.parametrize("typed", ORDERS.values(), ids=ORDERS)
def test_haproxy(typed: tuple[str, ...], tmp_path: Path) -> None:
    (file,) = files("haproxy", tmp_path, *typed)
    assert "Configuration file is valid" in checked(debians("haproxy"), "-c", "-f", str(file))


@pytest.mark.parametrize("typed", [*ORDERS.values(), ("shop.web:app", "--uds", "/run/shop/app.sock")])
def test_nginx(typed: tuple[str, ...], tmp_path: Path) -> None:
    (file,) = files("nginx", tmp_path, *typed)
    around = tmp_path / "nginx.conf"
    around.write_text(f"pid {tmp_path}/pid; events {{}} http {{ include {file}; }}")
    told = checked(debians("nginx"), "-t", "-e", "stderr", "-c", str(around))
    assert "is successful" in told
    assert "[warn]" not in told


# ── what was typed ────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_typed_is_what_our_own_command_line_reads() -> None:
    typed = understood([*TYPED])
    for kind in ("compose", "kubernetes"):
        parsed: Any = next(iter(yaml.safe_load_all(generate(kind, *TYPED, "--name", "shop"))))
        arguments = (
            parsed["services"]["shop"]["command"]
            if kind == "compose"
            else parsed["spec"]["template"]["spec"]["containers"][0]["args"]
        )
        found = understood(arguments)
        changed = {name for name in Settings.__slots__ if getattr(found, name) != getattr(typed, name)}
        # Its own loopback is a container's secret.
        assert changed <= {"admin", "admin_open", "shutdown_delay"}


def test_every_flag_can_be_carried() -> None:
    """As it is typed, so it is read again."""
    samples: dict[str, Any] = {
        "workers": "auto", "mold": False, "worker_max_rss": 512 * 2**20, "graceful_timeout": 90.5,
        "headers": ("A:b c", "D:e"), "ws_per_message_deflate": False, "use_colors": False,
        "bind": ("[::]:80",), "log_level": "debug", "timeout_keep_alive": 9, "reload_delay": 0.5, "fd": 3,
    }  # fmt: skip
    assert understood(words(samples)) == Settings(**samples)
    assert words({"join": False}) == []  # there is no word for it, and it is the default


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("a b", '"a b"'),
        ("100%", "100%%"),
        ("$HOME", "$$HOME"),
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\'s"'),
        ("back\\slash", "back\\\\slash"),
        ("", '""'),
        (";", '";"'),
    ],
)
def test_words_for_systemd(word: str, written: str) -> None:
    assert for_systemd([word]) == written


def test_the_unit_carries_what_was_typed_but_who_we_are(tmp_path: Path) -> None:
    service = files("systemd", tmp_path, *TYPED, "--user", "shop")[0].read_text()
    (start,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    command, *arguments = shlex.split(start)
    assert Path(command).is_absolute()
    assert understood(arguments) == understood([*TYPED])
    assert "\nUser=shop\n" in service


@pytest.mark.parametrize(("place", "told"), [("/tmp/try", True), ("/srv/shop", False)])
def test_the_unit_says_that_it_cannot_see_what_lies_in_tmp(place: str, *, told: bool) -> None:
    order = Order("shop", Settings(app="shop:app"), {}, ("/usr/bin/reuseport",), Path(place))
    assert ("Not from here" in KINDS["systemd"](order)[0].text) is told


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("systemd", "a:b", "--ssl-keyfile-password", "secret"), "everybody could read it there"),
        (("systemd", "a:b", "--reload"), "it is for development"),
        (("systemd", "a:b", "--name", "Not A Name"), "small letters, digits and hyphens"),
        (("kubernetes", "a:b", "--uds", "/run/s"), "give a port"),
        (("haproxy", "a:b", "--admin", "unix:/run/a"), "give HOST:PORT"),
        (("upstart", "a:b"), "'upstart' is not one of"),
        (("systemd", "a:b", "--workers", "0"), "no number of workers"),
    ],
)
def test_what_has_no_place_in_a_file_is_refused(arguments: tuple[str, ...], word: str) -> None:
    assert word in generate(*arguments, code=2)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    files("systemd", tmp_path, "a:b")
    (tmp_path / "shop.service").unlink()
    told = generate("systemd", "a:b", "--name", "shop", "--output", str(tmp_path), code=2)
    assert "is there already" in told
    assert not (tmp_path / "shop.service").exists()


def test_the_environment_of_this_shell_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    monkeypatch.setenv("UVICORN_PORT", "1")
    assert "8000:8000" in generate("compose", "a:b")


@pytest.mark.parametrize(
    ("app", "name"),
    [("shop.web:app", "shop-web"), ("My_App:x", "my-app"), ("_:x", "reuseport")],
)
def test_a_service_is_called_as_its_module(app: str, name: str) -> None:
    assert name_of(app) == name


def test_the_kinds_of_the_command_line_are_those_there_are() -> None:
    (told,) = re.findall(r"is not one of (.*)\.", generate("x", "a:b", code=2))
    assert set(re.findall(r"'(\w+)'", told)) == set(KINDS)


def test_what_the_manual_shows_works(tmp_path: Path) -> None:
    shown = [
        line.split()[4:]
        for topic in ("systemd", "containers")
        for block in blocks(read(topic), "sh")
        for line in block.splitlines()
        if line.startswith("python -m reuseport generate ")
    ]
    assert {typed[0] for typed in shown} == set(KINDS)
    for typed in shown:
        assert generate(*(str(tmp_path) if word == "units" else word for word in typed))
    assert (tmp_path / "shop.service").exists()


# ── times ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_time_for_a_stop_adds_up() -> None:
    stop = Stop.of(DEFAULTS)
    assert stop.total == 0 + 30 + 30 + 10
    assert "which has no limit of ours" in stop.sum()
    stop = Stop.of(Settings(shutdown_delay=2.5, graceful_timeout=20.0, shutdown_timeout=3.0))
    assert stop.total == 36
    assert stop.sum() == (
        "2.5 --shutdown-delay + 20 --graceful-timeout + 3 --shutdown-timeout + 10 for who does not go"
    )


def test_a_stop_is_over_within_that_time(launch: Launch) -> None:
    """Whatever hangs: a stream that never ends, and a lifespan shutdown that never does."""
    settings = Settings(shutdown_delay=0.5, graceful_timeout=1.0, shutdown_timeout=1.0)
    flags = ("--shutdown-delay", "0.5", "--graceful-timeout", "1", "--shutdown-timeout", "1")
    server = launch("plain:app", *flags, env={"TEST_SHUTDOWN_SECONDS": "600"}).ready(1)
    with subprocess.Popen([debians("curl"), "-sN", f"{server.url}/sse"], stdout=subprocess.PIPE) as streaming:
        assert streaming.stdout is not None
        assert streaming.stdout.read(1)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 1
        assert time.monotonic() - began < Stop.of(settings).total
