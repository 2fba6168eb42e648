"""--user and --group: workers of another user, and a launcher of few powers that can still do its work."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from reuseport.kernel.capabilities import Capability
from tests.conftest import APPS, PATIENCE, Launch
from tests.whole.clients import client, environment, kept_port, meet_all
from tests.whole.lines import settled, wait_until
from tests.whole.reachable import ROOT, reachable
from tests.whole.test_orphans import all_of, wait_until_gone
from tests.whole.traffic import Traffic

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = ("--user", "nobody")
IS_NOBODY = rf"workers run as user nobody \(uid {NOBODY.pw_uid}, gid {NOBODY.pw_gid}\)"
QUIET = ("--lifespan", "off", "--no-access-log")


@pytest.fixture(scope="module")
def anybody() -> list[str]:
    """A wrapper under which every user can execute this interpreter."""
    return reachable()


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A directory that others can enter: pytest's own are ours alone."""
    path = Path(tempfile.mkdtemp(prefix="reuseport-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def status(pid: int) -> dict[str, str]:
    """/proc/<pid>/status (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def capabilities(pid: int, name: str = "CapEff") -> set[int]:
    mask = int(status(pid)[name], 16)
    return {number for number in range(64) if mask >> number & 1}


def assert_nobody(pids: dict[int, int]) -> None:
    for pid in pids.values():
        seen = status(pid)
        assert set(seen["Uid"].split()) == {str(NOBODY.pw_uid)}
        assert set(seen["Gid"].split()) == {str(NOBODY.pw_gid)}
        assert set(map(int, seen["Groups"].split())) == set(os.getgrouplist("nobody", NOBODY.pw_gid))
        assert not any(capabilities(pid, name) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))


def variables(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").rstrip("\0").split("\0")
    return dict(pair.split("=", 1) for pair in pairs)


# ── who they are ──────────────────────────────────────────────────────────────────────────────────────────


def test_workers_are_the_user_and_the_launcher_keeps_what_it_needs(
    launch: Launch, anybody: list[str]
) -> None:
    server = launch("plain:app", "--workers", "2", *AS_NOBODY, wrapper=anybody)
    rule = server.wait_for(r"balance: (\S+)")[1]
    server.wait_for(IS_NOBODY)
    server.ready(2)
    assert_nobody(server.workers())
    assert set(status(server.pid)["Uid"].split()) == {"0"}
    kept = {Capability.NET_BIND_SERVICE, Capability.KILL, Capability.DAC_OVERRIDE}
    kept |= {Capability.SETUID, Capability.SETGID, Capability.CHOWN}
    if rule != "hash":
        kept.add(Capability.BPF)
    assert capabilities(server.pid) == capabilities(server.pid, "CapPrm") == kept
    seen = variables(server.workers()[0])
    assert (seen["HOME"], seen["USER"], seen["LOGNAME"]) == (NOBODY.pw_dir, "nobody", "nobody")
    with client() as asking:
        meet_all(asking, server.url, 2)
    assert server.stop() == 0


def test_a_group_alone(launch: Launch, anybody: list[str]) -> None:
    server = launch("plain:app", "--group", "54321", wrapper=anybody).ready(1)
    seen = status(server.workers()[0])
    assert (set(seen["Uid"].split()), set(seen["Gid"].split())) == ({"0"}, {"54321"})
    assert "54321" in seen["Groups"].split()
    assert variables(server.workers()[0])["HOME"] == os.environ["HOME"]
    assert server.stop() == 0


def test_numbers_without_names(launch: Launch, anybody: list[str]) -> None:
    server = launch("plain:app", "--user", "54321", "--group", "54322", wrapper=anybody).ready(1)
    seen = status(server.workers()[0])
    assert set(seen["Uid"].split()) == {"54321"}
    assert set(seen["Gid"].split()) == set(seen["Groups"].split()) == {"54322"}
    assert variables(server.workers()[0])["HOME"] == "/"
    assert server.stop() == 0


def test_without_a_user_root_is_told_so(launch: Launch, anybody: list[str]) -> None:
    server = launch("plain:app")
    server.wait_for("INFO .* workers run as root; --user gives them another identity")
    server.ready(1)
    assert Capability.SETUID not in capabilities(server.pid)
    assert server.stop() == 0


def test_capabilities_of_an_unprivileged_launcher_are_its_own(launch: Launch, anybody: list[str]) -> None:
    given = f"+cap_{int(Capability.BPF)}"
    unit = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--init-groups"]
    wrapper = [*anybody, *unit, f"--inh-caps={given}", f"--ambient-caps={given}"]
    server = launch("plain:app", "--workers", "2", wrapper=wrapper, cwd=Path("/"))
    steered = server.wait_for(r"balance: (\S+)")[1] != "hash"
    server.ready(2)
    assert capabilities(server.pid) == ({Capability.BPF} if steered else set())
    assert not capabilities(server.pid, "CapAmb")
    assert_nobody(server.workers())
    # Executed before the launcher has laid down what it does not need.
    assert_nobody({mold.pid: mold.pid for mold in server.molds()})
    assert server.count("workers run as") == 0
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 2 is ready")
    assert server.stop() == 0
    assert server.count("steering goes on with") == 0


# ── what the launcher can still do ────────────────────────────────────────────────────────────────────────


def test_every_later_worker_is_the_same_user(launch: Launch, anybody: list[str]) -> None:
    server = launch("plain:app", "--workers", "2", *AS_NOBODY, *QUIET, wrapper=anybody).ready(2)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready .*reason: crash")
    os.kill(server.workers()[1], signal.SIGTERM)
    server.wait_for(r"slot 1 is ready")
    for slot in (2, 3):
        server.signal(signal.SIGTTIN)
        server.wait_for(rf"slot {slot} is ready")
    with Traffic(server.port) as traffic:
        traffic.wait_until(lambda answers: {answer["slot"] for answer in answers} == set("0123"))
        server.signal(signal.SIGHUP)
        server.wait_for("generation 2 serves in every slot")
        settled(server, 4)
    assert not traffic.failures
    assert_nobody(server.workers())
    server.signal(signal.SIGTTOU)
    settled(server, 3)
    assert server.stop() == 0
    assert server.count("steering goes on with") == 0


def test_who_hangs_is_ended(launch: Launch, anybody: list[str]) -> None:
    server = launch("diary:app", *AS_NOBODY, "--worker-timeout", "1s", wrapper=anybody).ready(1)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as stuck:
        stuck.sendall(b"GET /block?s=600 HTTP/1.1\r\nHost: test\r\n\r\n")
        server.wait_for("in sit_on_the_loop")
        server.wait_for(r"slot 0 is ready")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as stuck:
        stuck.sendall(b"GET /block?s=600 HTTP/1.1\r\nHost: test\r\n\r\n")
        server.wait_for("/block begins")
        server.signal(signal.SIGQUIT)
        server.wait()


def test_who_imports_dies_with_the_launcher(launch: Launch, anybody: list[str], shared_path: Path) -> None:
    (shared_path / "slow.py").write_text(
        "import sys, time\nsys.stderr.write('importing\\n')\ntime.sleep(600)\n"
    )
    server = launch("slow:app", "--app-dir", str(shared_path), *AS_NOBODY, wrapper=anybody)
    server.wait_for("importing")
    pidfds = all_of(server)
    server.signal(signal.SIGKILL)
    wait_until_gone(pidfds)
    server.wait()


def test_who_serves_drains_without_the_launcher(launch: Launch, anybody: list[str]) -> None:
    server = launch("plain:app", *AS_NOBODY, wrapper=anybody).ready(1)
    pidfds = all_of(server)
    server.signal(signal.SIGKILL)
    wait_until_gone(pidfds)
    server.wait()
    assert server.count("lifespan shutdown in slot 0") == 1


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2) for the loopback interface")
def test_a_privileged_port(launch: Launch, anybody: list[str]) -> None:
    network = ["unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh"]
    server = launch("plain:app", "--port", "80", *AS_NOBODY, wrapper=[*anybody, *network]).ready(1)
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 1 is ready")
    assert_nobody(server.workers())
    asking = (
        "import sys, urllib.request as u; sys.stdout.write(u.urlopen('http://127.0.0.1/').read().decode())"
    )
    inside = ["nsenter", f"--net=/proc/{server.pid}/ns/net", sys.executable, "-c", asking]
    answer = subprocess.run(inside, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert '"slot"' in answer
    assert server.stop() == 0


def test_log_files_are_the_users_also_after_rotation(
    launch: Launch, anybody: list[str], shared_path: Path
) -> None:
    log, access = shared_path / "log", shared_path / "access"
    files = ("--log-file", str(log), "--access-log-file", str(access))
    with kept_port() as port:
        listen = ("--port", str(port), "--join")
        server = launch("plain:app", *AS_NOBODY, *files, *listen, "--lifespan", "off", wrapper=anybody)
        wait_until(
            lambda: log.exists() and "all 1 workers are ready" in log.read_text(), lambda: server.output
        )
        for path in (log, access):
            assert path.stat().st_uid == NOBODY.pw_uid
            path.rename(f"{path}.1")
        server.signal(signal.SIGUSR1)

        def written() -> bool:
            assert httpx.get(f"http://127.0.0.1:{port}").status_code == 200
            return access.exists() and "GET / " in access.read_text()

        wait_until(written)
        assert {path.stat().st_uid for path in (log, access)} == {NOBODY.pw_uid}
        assert server.stop() == 0
    assert "slot 0: Shutting down" in log.read_text()
    assert "goes on in the old file" not in log.read_text()
    assert server.lines == []


def test_a_unix_socket_and_the_pid_file_are_removed(
    launch: Launch, anybody: list[str], shared_path: Path
) -> None:
    theirs = shared_path / "theirs"
    theirs.mkdir(0o755)
    os.chown(theirs, 54321, 54321)
    unix, pid_file = theirs / "app.sock", theirs / "pid"
    server = launch("plain:app", *AS_NOBODY, "--uds", str(unix), "-p", str(pid_file), wrapper=anybody).ready(
        1
    )
    with client(uds=str(unix)) as asking:
        assert asking.get("http://test/").status_code == 200
    assert server.stop() == 0
    assert list(theirs.iterdir()) == []


# ── what is refused, at once and in one sentence ──────────────────────────────────────────────────────────


def refused(*arguments: str, wrapper: list[str], python: str = sys.executable, cwd: Path = Path("/")) -> str:
    """The message; fails when it is not the only line or the exit code is not 2."""
    done = subprocess.run(
        [*wrapper, python, "-m", "reuseport", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("Error: "), done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("Error: ")


SERVED = ("plain:app", "--app-dir", str(APPS), "--port", "0")


@pytest.mark.parametrize("command", [(), ("check",)])
def test_a_key_that_the_user_may_not_read(
    anybody: list[str], shared_path: Path, command: tuple[str, ...]
) -> None:
    issued = trustme.CA().issue_cert("localhost")
    key, chain = shared_path / "key.pem", shared_path / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(chain)
    key.chmod(0o600)
    tls = ("--ssl-keyfile", str(key), "--ssl-certfile", str(chain))
    said = refused(*command, *SERVED, *AS_NOBODY, *tls, wrapper=anybody)
    assert said.startswith(
        f"user nobody (uid {NOBODY.pw_uid}, gid {NOBODY.pw_gid}) may not read --ssl-keyfile {key}:"
    )
    assert "namei -l" in said


def test_an_application_in_a_closed_directory(anybody: list[str], shared_path: Path) -> None:
    home = shared_path / "home"
    shutil.copytree(APPS, home / "apps")
    home.chmod(0o700)
    said = refused("plain:app", "--app-dir", f"{home}/apps", *AS_NOBODY, "--port", "0", wrapper=anybody)
    assert f"may not read --app-dir {home}/apps: " in said
    # The current directory, and a file of it.
    said = refused("plain:app", *AS_NOBODY, "--port", "0", wrapper=anybody, cwd=home / "apps")
    assert f"may not read --app-dir {home}/apps: " in said
    home.chmod(0o755)
    (home / "apps" / "plain.py").chmod(0o640)
    said = refused("plain:app", *AS_NOBODY, "--port", "0", wrapper=anybody, cwd=home / "apps")
    assert f"may not read APP {home}/apps/plain.py: " in said


def test_an_installed_application_needs_no_current_directory(
    launch: Launch, anybody: list[str], tmp_path: Path
) -> None:
    server = launch("--app-dir=", *AS_NOBODY, wrapper=anybody, cwd=tmp_path).ready(1)
    assert server.stop() == 0


def test_a_log_file_that_the_user_may_not_write(anybody: list[str], shared_path: Path) -> None:
    log = shared_path / "log"
    log.touch(0o600)
    os.chown(log, 54321, 54321)  # somebody else's, whom we do not take it from
    said = refused("check", *SERVED, *AS_NOBODY, "--log-file", str(log), wrapper=anybody)
    assert f"may not write log file {log}: " in said
    assert log.stat().st_uid == 54321


def test_an_interpreter_that_the_user_may_not_execute(anybody: list[str], shared_path: Path) -> None:
    closed = shared_path / "home"
    closed.mkdir(mode=0o700)
    python = closed / "python"
    python.symlink_to(Path(sys.executable).resolve())
    packages = [str(ROOT), *site.getsitepackages()]
    wrapper = [*anybody, "env", f"PYTHONPATH={':'.join(packages)}"]
    said = refused(*SERVED, *AS_NOBODY, wrapper=wrapper, python=str(python))
    assert said.startswith(f"{python} does not run as user nobody")
    assert "Permission denied" in said


def test_an_interpreter_that_is_closed_later(launch: Launch, anybody: list[str], shared_path: Path) -> None:
    python = shared_path / "python"
    python.symlink_to(Path(sys.executable).resolve())
    packages = [str(ROOT), *site.getsitepackages()]
    # The launcher's interpreter is the one in its argument list, not the fixture's.
    wrapper = [
        *anybody,
        "env",
        f"PYTHONPATH={':'.join(packages)}",
        "sh",
        "-c",
        f'shift; exec {python} "$@"',
        "sh",
    ]
    server = launch("plain:app", "--no-mold", *AS_NOBODY, wrapper=wrapper).ready(1)
    shared_path.chmod(0o700)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(rf"slot 0 could not start: {python} does not run as user nobody .*: Permission denied;")
    shared_path.chmod(0o755)
    server.wait_for("slot 0 is ready")
    assert_nobody(server.workers())
    assert server.stop() == 0


def test_an_unprivileged_launcher_cannot_change_the_user(anybody: list[str]) -> None:
    unprivileged = [*anybody, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    said = refused(*SERVED, "--user", "root", wrapper=unprivileged)
    assert said.startswith("--user root needs CAP_KILL, CAP_SETGID, CAP_SETUID, which we lack: start as root")
    assert "systemd: User=" in said
    said = refused(*SERVED, "--group", "root", wrapper=unprivileged)
    assert said.startswith("--group root needs CAP_SETGID, which we lack")


def test_root_of_a_user_namespace_is_told_so(anybody: list[str]) -> None:
    namespace = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this host allows no user namespace")
    said = refused(*SERVED, *AS_NOBODY, wrapper=[*anybody, *namespace])
    assert "does not run as user nobody" in said
    assert "this user namespace" in said


def test_the_check_runs_as_the_user(anybody: list[str], shared_path: Path) -> None:
    (shared_path / "application.py").write_text("import os\nraise RuntimeError(f'as {os.getresuid()}')\n")
    done = subprocess.run(
        [*anybody, sys.executable, "-m", "reuseport", "check", "application:app", *AS_NOBODY],
        capture_output=True,
        text=True,
        cwd=shared_path,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1] == f"RuntimeError: as {(NOBODY.pw_uid,) * 3}"
