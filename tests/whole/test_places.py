"""Where it is started: jails that lack what elsewhere is always there, and a directory that moves."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.admin.asking import Control
from tests.conftest import Launch, Launched
from tests.whole.clients import client
from tests.whole.lines import wait_until
from tests.whole.modules import FRESH
from tests.whole.reachable import reachable

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces everywhere")


def inside(script: str, *flags: str) -> list[str]:
    """A wrapper that does this first, in namespaces of its own; "$@" is the command."""
    return ["unshare", *flags, "sh", "-ec", f'{script}\nexec "$@"', "sh"]


# ── what may be missing ───────────────────────────────────────────────────────────────────────────────────

JAILS = {
    "no /proc": inside("mount -t tmpfs tmpfs /proc", "-m"),
    "hidepid": inside("mount -t proc -o hidepid=2 proc /proc", "-m"),
    "read-only /run": inside("mount -t tmpfs -o ro tmpfs /run", "-m"),
    "no HOME": ["env", "-u", "HOME", "-u", "XDG_RUNTIME_DIR"],
    "no IPv6": inside("ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6", "-n"),
    "no passwd entry": [
        *("setpriv", "--reuid", "123456", "--regid", "123456", "--clear-groups"),
        *("env", "-u", "HOME", "-u", "XDG_RUNTIME_DIR"),
    ],
}


@root_only
@pytest.mark.parametrize("user", [(), ("--user", "nobody")], ids=["root", "nobody"])
@pytest.mark.parametrize("jail", JAILS)
def test_it_starts_is_seen_is_reloaded_and_stops(jail: str, user: tuple[str, ...], launch: Launch) -> None:
    if jail == "no passwd entry" and user:
        pytest.skip("that one may not change who it is")
    others = bool(user) or jail == "no passwd entry"
    wrapper = [*(reachable() if others else ()), *JAILS[jail]]
    server = launch(
        "plain:app", "--workers", "2", "--host", "localhost", *user, cwd=Path("/"), wrapper=wrapper
    )
    server.ready(2)
    control = Control(server)
    assert control.status()["ready"] == 2
    # Not by HTTP: from another network namespace nobody connects.
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves")
    victim = control.slot(0)["pid"]
    os.kill(victim, signal.SIGKILL)
    server.wait_for("slot 0 is ready")
    assert server.stop() == 0
    assert "Traceback" not in server.output


# ── a directory that moves ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """`current` is a link to the first of two."""
    for name in ("one", "two"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "shop.py").write_text(
            "import os, wares\n"
            "async def app(scope, receive, send):\n"
            "    if scope['type'] != 'http':\n"
            "        return\n"
            f"    text = f'{name} {{wares.OF}} {{os.getcwd()}} {{os.environ.get(\"STAGE\")}}'\n"
            "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
            "    await send({'type': 'http.response.body', 'body': text.encode()})\n"
        )
        (tmp_path / name / "lib" / "wares.py").write_text(f"OF = {name!r}\n")
        (tmp_path / name / "env").write_text(f"STAGE={name}\n")
    (tmp_path / "current").symlink_to("one")
    return tmp_path


def turn(link: Path, target: str) -> None:
    """At once, as deployments do it."""
    new = link.with_name("new")
    new.symlink_to(target)
    new.rename(link)


def entering(name: str) -> list[str]:
    """A wrapper that goes where a shell's cd goes, and so has it in $PWD."""
    return ["bash", "-c", f'cd {name} && exec "$@"', "bash"]


def said(server: Launched) -> str:
    with client() as asking:
        return asking.get(server.url).text


def reload(server: Launched) -> None:
    """Return when nobody of the old generation accepts any more."""
    server.signal(signal.SIGHUP)
    server.wait_for("exited cleanly")


def test_a_reload_serves_what_the_link_leads_to_by_then(launch: Launch, releases: Path) -> None:
    server = launch(
        *("shop:app", "--app-dir", "", "--env-file", "env", "--access-log-file", "access"),
        env={**FRESH, "PYTHONPATH": "lib"},
        wrapper=entering("current"),
    ).ready(1)
    assert said(server) == f"one one {releases}/one one"
    turn(releases / "current", "two")
    reload(server)
    assert said(server) == f"two two {releases}/two two"
    # Who dies is restarted there, too: once its line is written, which may be after its answer.
    log = releases / "one" / "access"
    wait_until(lambda: log.read_text().count("GET / HTTP/1.1") == 2)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for("slot 0 is ready")
    assert said(server) == f"two two {releases}/two two"
    assert server.stop() == 0
    # The log is one file, and the launcher's to place.
    assert log.read_text().count("GET / HTTP/1.1") == 3
    assert not (releases / "two" / "access").exists()


def test_a_link_in_app_dir_is_enough(launch: Launch, releases: Path) -> None:
    """Where $PWD is not told, as by systemd's WorkingDirectory=."""
    current = str(releases / "current")
    env = {**FRESH, "PYTHONPATH": f"{current}/lib"}
    server = launch("shop:app", "--app-dir", current, env=env, cwd=releases).ready(1)
    assert said(server) == f"one one {releases} None"
    turn(releases / "current", "two")
    reload(server)
    assert said(server) == f"two two {releases} None"
    assert server.stop() == 0


def test_a_directory_that_is_gone_is_told_and_what_was_there_is_served(
    launch: Launch, releases: Path
) -> None:
    server = launch("plain:app", "--workers", "1", cwd=releases, wrapper=entering("two")).ready(1)
    shutil.rmtree(releases / "two")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(rf"slot 0: {releases}/two: No such file or directory; serving from what was there")
    server.wait_for("slot 0 is ready")
    assert server.stop() == 0


def test_a_variable_that_names_another_place_is_not_believed(launch: Launch, releases: Path) -> None:
    """sudo, su and cron hand on the $PWD of somebody who stood elsewhere."""
    env = {**FRESH, "PWD": str(releases / "two"), "PYTHONPATH": "lib"}
    server = launch("shop:app", "--app-dir", "", cwd=releases / "one", env=env).ready(1)
    assert said(server) == f"one one {releases}/one None"
    assert server.stop() == 0
