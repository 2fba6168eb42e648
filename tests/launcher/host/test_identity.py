"""Whom workers run as: names and numbers, what is refused, log files that change hands, powers laid down."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError
from reuseport.kernel.capabilities import Capability, held
from reuseport.launcher.host.identity import Identity, resolve
from reuseport.settings.table import Settings

ROOT = Path(__file__).parents[3]
ALL = {Capability.SETUID, Capability.SETGID, Capability.KILL, Capability.CHOWN}
privileged = pytest.mark.skipif(not held() >= ALL, reason="only root may give workers another identity")

UNNAMED = "3999999999"
"""A number that no user database has."""


def child(source: str, *arguments: object, command: tuple[str, ...] = ()) -> str:
    """What a process of our own prints: there is no way back from what it does."""
    done = subprocess.run(
        [*command, sys.executable, "-c", source, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# ── names and numbers ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_asked_is_nothing_to_change() -> None:
    assert resolve(Settings()) is None


@pytest.mark.parametrize("text", [str(os.geteuid()), pwd.getpwuid(os.geteuid()).pw_name])
def test_who_we_are_already_is_nothing_to_change(text: str) -> None:
    gid = str(os.getegid())
    assert resolve(Settings(user=text, group=gid)) is None
    assert resolve(Settings(group=gid)) is None


@privileged
@pytest.mark.parametrize("entry", pwd.getpwall(), ids=lambda entry: entry.pw_name)
def test_every_user_of_the_database_by_name(entry: pwd.struct_passwd) -> None:
    found = resolve(Settings(user=entry.pw_name))
    if (entry.pw_uid, entry.pw_gid) == (os.geteuid(), os.getegid()):
        assert found is None
        return
    assert found is not None
    assert (found.uid, found.gid, found.home) == (entry.pw_uid, entry.pw_gid, entry.pw_dir)
    listed = {group.gr_gid for group in grp.getgrall() if entry.pw_name in group.gr_mem}
    assert set(found.groups) == listed | {entry.pw_gid}
    assert found.environment() in (
        {},
        {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name},
    )


@privileged
def test_a_number_is_as_good_as_its_name() -> None:
    nobody = pwd.getpwnam("nobody")
    by_name = resolve(Settings(user="nobody"))
    assert by_name is not None
    assert by_name.name == "nobody"
    assert resolve(Settings(user=str(nobody.pw_uid))) == by_name


@privileged
def test_a_group_takes_the_place_of_the_users_own() -> None:
    nobody = pwd.getpwnam("nobody")
    found = resolve(Settings(user="nobody", group=UNNAMED))
    assert found is not None
    assert (found.uid, found.gid) == (nobody.pw_uid, int(UNNAMED))
    assert int(UNNAMED) in found.groups
    group = grp.getgrall()[-1]
    assert resolve(Settings(user="nobody", group=group.gr_name)) == resolve(
        Settings(user="nobody", group=str(group.gr_gid))
    )


@privileged
def test_a_group_alone_keeps_the_user_and_his_variables() -> None:
    found = resolve(Settings(group=UNNAMED))
    assert found is not None
    assert (found.uid, found.gid) == (os.geteuid(), int(UNNAMED))
    assert found.environment() == {}


@privileged
def test_a_number_without_a_name_has_one_group_and_no_home() -> None:
    found = resolve(Settings(user=UNNAMED, group=UNNAMED))
    assert found == Identity(int(UNNAMED), int(UNNAMED), (int(UNNAMED),), UNNAMED, "/")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(user="no-such-user"), "--user no-such-user: there is no such name; create it"),
        (Settings(group="no-such-group"), "--group no-such-group: there is no such name; create it"),
        (Settings(user=""), "--user : there is no such name"),
        (Settings(user="-1"), "--user -1: there is no such name"),
        (Settings(user="٣"), "--user ٣: there is no such name"),
        # The last number means "leave it as it is" to setreuid(2): workers would stay root.
        (Settings(user="4294967295"), "--user 4294967295: numbers end at 4294967294"),
        (Settings(group="4294967295"), "--group 4294967295: numbers end at 4294967294"),
        (Settings(user=UNNAMED), f"--user {UNNAMED}: the user database has no such number.*give --group too"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_what_names_nobody_is_refused(settings: Settings, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        resolve(settings)


WITHOUT = """
import sys
from reuseport.errors import ConfigurationError
from reuseport.kernel.capabilities import Capability, held, keep_only
from reuseport.launcher.host.identity import resolve
from reuseport.settings.table import Settings

keep_only(held() - {Capability[sys.argv[1]]})
try:
    resolve(Settings(**{sys.argv[2]: sys.argv[3], "group": "3999999999"}))
except ConfigurationError as error:
    print(error)
"""


@privileged
@pytest.mark.parametrize("name", ["SETUID", "SETGID", "KILL"])
def test_every_capability_that_is_needed_is_asked_for(name: str) -> None:
    """Without KILL the launcher could start workers and never end them."""
    said = child(WITHOUT, name, "user", UNNAMED)
    assert said.startswith(
        f"--user {UNNAMED} needs CAP_{name}, which we lack: start as root, or leave it out"
    )


@privileged
def test_a_group_needs_no_right_to_change_the_user() -> None:
    assert child(WITHOUT, "SETUID", "group", UNNAMED) == ""
    assert "needs CAP_SETGID" in child(WITHOUT, "SETGID", "group", UNNAMED)


# ── log files ─────────────────────────────────────────────────────────────────────────────────────────────

GIVE = """
import sys
from reuseport import logs
from reuseport.settings.table import Settings

logs.configure(Settings(log_file=sys.argv[1], access_log_file=sys.argv[2]), logs.LAUNCHER)
logs.give_files_to(int(sys.argv[3]))
"""


@privileged
def test_log_files_change_hands_and_keep_their_group(tmp_path: Path) -> None:
    log, access = tmp_path / "log", tmp_path / "access"
    log.touch(0o640)
    os.chown(log, -1, 54321)
    assert child(GIVE, log, access, 54322) == ""
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (log, access)] == [
        (54322, 54321),
        (54322, os.getegid()),
    ]
    assert log.stat().st_mode & 0o777 == 0o640


@privileged
def test_what_a_link_leads_to_is_not_given_away(tmp_path: Path) -> None:
    """Who may write to the directory of the log could otherwise be given any file of root's."""
    treasure, symbolic, hard = tmp_path / "treasure", tmp_path / "symbolic", tmp_path / "hard"
    treasure.touch()
    symbolic.symlink_to(treasure)
    hard.hardlink_to(treasure)
    assert child(GIVE, symbolic, hard, 54322) == ""
    assert treasure.stat().st_uid == os.geteuid()


@privileged
def test_what_is_somebody_elses_stays_theirs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    os.chown(log, 54321, -1)
    assert child(GIVE, log, "/dev/null", 54322) == ""
    assert log.stat().st_uid == 54321
    assert Path("/dev/null").stat().st_uid == 0


@privileged
def test_a_launcher_that_may_not_chown_leaves_them_as_they_are(tmp_path: Path) -> None:
    without = "from reuseport.kernel.capabilities import keep_only\nkeep_only([])\n"
    assert child(without + GIVE, tmp_path / "log", tmp_path / "access", 54322) == ""
    assert (tmp_path / "log").stat().st_uid == os.geteuid()


# ── powers ────────────────────────────────────────────────────────────────────────────────────────────────

GIVE_UP = """
import json, logging, sys
from reuseport.kernel.capabilities import Capability, held, keep_only
from reuseport.launcher.host.identity import Identity, give_up

logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
keep_only(held() - {Capability[name] for name in json.loads(sys.argv[1])})
identity = Identity(54321, 54321, (), "somebody") if sys.argv[3] == "somebody" else None
give_up(sys.argv[2] == "steering", identity)
print(*(capability.name for capability in sorted(held())))
"""
ALWAYS = {"NET_BIND_SERVICE", "KILL", "DAC_OVERRIDE"}
FOR_OTHERS = {"SETUID", "SETGID", "CHOWN"}


@pytest.mark.skipif(not held() >= set(Capability), reason="needs everything, to see what is left of it")
@pytest.mark.parametrize(
    ("lacking", "steering", "identity", "left"),
    [
        ([], "", "", ALWAYS),
        ([], "steering", "", ALWAYS | {"BPF"}),
        ([], "", "somebody", ALWAYS | FOR_OTHERS),
        ([], "steering", "somebody", ALWAYS | FOR_OTHERS | {"BPF"}),
        (["BPF"], "steering", "", ALWAYS | {"SYS_ADMIN"}),
        (["KILL", "DAC_OVERRIDE"], "", "", {"NET_BIND_SERVICE"}),
    ],
)
def test_what_is_left_is_what_is_needed(
    lacking: list[str], steering: str, identity: str, left: set[str]
) -> None:
    *said, kept = child(GIVE_UP, json.dumps(lacking), steering, identity).splitlines()
    assert set(kept.split()) == left
    if identity:
        assert said == ["workers run as user somebody (uid 54321, gid 54321)"]
    elif os.geteuid() == 0:
        assert said == ["workers run as root; --user gives them another identity"]
