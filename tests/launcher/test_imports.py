"""What a launcher has imported when its workers start: everybody waits for it, and it is held for months."""

from __future__ import annotations

import json
import subprocess
import sys

_LAUNCHER = "reuseport.cli", "reuseport.launcher.ahead", "reuseport.admin.front", "reuseport.launcher.serve"
_OURS_BEFORE_THE_MOLD = {
    "reuseport",
    "reuseport.launcher",
    "reuseport.launcher.becoming",
    "reuseport.launcher.headstart",
    "reuseport.signals",
    "reuseport.surroundings",
}
_FOR_SOME = {
    "argparse",
    "configparser",  # --log-config
    "decimal",  # a duration or a size that was given
    "email",
    "fractions",
    "hashlib",  # --sticky, only_one, a token, and OpenSSL with it
    "hmac",
    "importlib.metadata",  # --version
    "logging.config",  # --log-config
    "logging.handlers",
    "multiprocessing",
    "pickle",
    "secrets",
    "socketserver",
    "tempfile",
    "tomllib",  # a file of settings
    "unittest",
    "urllib.request",
    "zipfile",
}


def imported(*modules: str) -> set[str]:
    """By an interpreter that imports these."""
    script = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before = subprocess.run(
        [sys.executable, "-c", "import json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout)) - set(json.loads(before.stdout))


def test_a_launcher_imports_no_package_but_click_and_nothing_that_only_some_need() -> None:
    found = imported(*_LAUNCHER)
    packages = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)
    assert packages == {"click", "reuseport"}
    assert found & _FOR_SOME == set()


def test_a_mold_waits_for_next_to_none_of_our_modules() -> None:
    found = imported("reuseport.launcher.headstart")
    assert {name for name in found if name.partition(".")[0] == "reuseport"} == _OURS_BEFORE_THE_MOLD
    assert (
        found & {"asyncio", "click", "dataclasses", "inspect", "json", "socket", "subprocess", "typing"}
        == set()
    )


def test_what_shows_and_steers_it_needs_neither_archives_nor_a_second_way_to_be_served() -> None:
    found = imported("reuseport.admin.service")
    assert found & {"http.server", "importlib.metadata", "importlib.resources", "wsgiref", "zipfile"} == set()
    assert found & {"prometheus_client", "psutil", "urllib.request"} == set()
