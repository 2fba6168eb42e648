"""Capabilities laid down for good: in processes of their own, since there is no way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reuseport.kernel.capabilities import Capability, held

ROOT = Path(__file__).parents[2]
NONE = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), 0)

PRELUDE = """
import json, os, subprocess, sys
from reuseport.kernel.capabilities import Capability, held, keep_only

def sets():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return {name: int(lines[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}

"""


def sets_after(source: str, *command: str) -> dict[str, int]:
    """The sets of a process that has run this, or what it printed itself."""
    done = subprocess.run(
        [*command, sys.executable, "-c", f"{PRELUDE}{source}\nprint(json.dumps(sets()))"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout.splitlines()[0])
    return found


def bit(*capabilities: Capability) -> int:
    return sum(1 << capability for capability in capabilities)


@pytest.fixture
def privileged() -> None:
    wanted = {Capability.KILL, Capability.BPF, Capability.SETUID, Capability.SETGID}
    if not wanted <= held():
        pytest.skip("nothing to lay down: this test needs to begin as root")


def test_held_is_what_proc_shows() -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    assert held() == {capability for capability in Capability if effective & bit(capability)}


def test_both_halves_of_the_sets_are_kept_and_all_else_goes(privileged: None) -> None:
    kept = bit(Capability.KILL, Capability.BPF)
    left = sets_after("keep_only([Capability.KILL, Capability.BPF, Capability.KILL])")
    assert left == {**NONE, "CapPrm": kept, "CapEff": kept}


def test_what_is_laid_down_does_not_come_back(privileged: None) -> None:
    source = "keep_only({Capability.KILL})\nkeep_only(Capability)\nassert held() == {Capability.KILL}"
    assert sets_after(source)["CapPrm"] == bit(Capability.KILL)


def test_who_has_nothing_may_keep_anything_and_gets_nothing(privileged: None) -> None:
    source = "os.setgid(65534); os.setuid(65534); keep_only(Capability); assert not held()"
    assert sets_after(source) == NONE


def test_nothing_ambient_is_handed_on(privileged: None) -> None:
    number = f"+cap_{int(Capability.BPF)}"
    ambient = ("setpriv", f"--inh-caps={number}", f"--ambient-caps={number}")
    assert sets_after("", *ambient)["CapAmb"] == bit(Capability.BPF)
    left = sets_after("keep_only([Capability.BPF])", *ambient)
    assert left == {**NONE, "CapPrm": bit(Capability.BPF), "CapEff": bit(Capability.BPF)}


def test_another_user_is_not_given_them_again_and_root_is(privileged: None) -> None:
    show = "keep_only(Capability)\nsys.stdout.flush()\nsubprocess.run(['cat', '/proc/self/status']{as_whom})"
    effective = []
    for as_whom in ("", ", user=65534, group=65534, extra_groups=[]"):
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + show.format(as_whom=as_whom)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
            check=True,
        )
        status = dict(line.split(":", 1) for line in done.stdout.splitlines())
        effective.append(int(status["CapEff"], 16))
    if os.geteuid() == 0:
        assert effective[0] & bit(Capability.SETUID)
    assert effective[1] == 0


def test_the_sets_are_each_threads_own(privileged: None) -> None:
    """The reason for calling it early: what is laid down in one thread stays in the others."""
    source = """
import threading
thread = threading.Thread(target=keep_only, args=([],))
thread.start()
thread.join()
"""
    assert sets_after(source)["CapEff"] & bit(Capability.KILL)
