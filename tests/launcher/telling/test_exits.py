"""How the end of a worker is told: from real processes, and for every signal there is."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reuseport.launcher.telling.exits import explain, oom_kills

V2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("pass", "exited cleanly"),
        ("raise SystemExit(1)", "exited with status 1"),
        ("raise SystemExit(255)", "exited with status 255"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL, perhaps out of memory"),
        ("import os; os.kill(os.getpid(), 11)", "crashed with SIGSEGV: an invalid memory access"),
        ("import os; os.kill(os.getpid(), 15)", "was ended by SIGTERM, which something other than reuseport"),
        ("import os; os.abort()", "was aborted by SIGABRT: a stall past --worker-timeout, or"),
        ("import os; os.kill(os.getpid(), 34)", "was killed by SIGRTMIN"),
        ("import os; os.kill(os.getpid(), 36)", "was killed by SIGRTMIN+2"),
        ("import os; os.kill(os.getpid(), 64)", "was killed by SIGRTMAX"),
    ],
)
def test_real_ends(code: str, words: str) -> None:
    no_core = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", no_core + code], check=False)
    assert explain(3, 17, ended.returncode).startswith(f"worker in slot 3 (pid 17) {words}")


def test_sigkill_with_and_without_the_kernels_word_on_memory() -> None:
    assert explain(0, 1, -9, "yes").endswith("out of memory: the cgroup's oom_kill counter rose")
    assert explain(0, 1, -9, "no").endswith("somebody sent: the cgroup's oom_kill counter did not rise")
    assert explain(0, 1, -9, "unknown").endswith("perhaps out of memory")


def test_every_signal_has_its_name() -> None:
    for number in signal.valid_signals():
        text = explain(0, 1, -number)
        assert "SIG" in text
        assert "\n" not in text
        assert not text.endswith(".")
    # The C library keeps 32 and 33 for its threads; Python has no name for them.
    assert explain(0, 1, -33) == "worker in slot 0 (pid 1) was killed by signal 33"


def memory_cgroup(root: Path, cgroup: str, mounts: str, file: str, text: str) -> Path:
    for name, content in (("proc/self/cgroup", cgroup), ("proc/self/mountinfo", mounts), (file, text)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


EVENTS = "low 0\nhigh 4\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "file", "text", "kills"),
    [
        ("0::/app\n", V2, "sys/fs/cgroup/app/memory.events", EVENTS, 2),
        ("0::/hidden\n", V2, "sys/fs/cgroup/memory.events", EVENTS, 2),
        ("4:memory:/app\n0::/\n", V1, "sys/fs/cgroup/memory/app/memory.oom_control", CONTROL, 5),
        ("0::/app\n", V2, "sys/fs/cgroup/app/memory.current", "1\n", None),
        ("0::/app\n", V2, "sys/fs/cgroup/app/memory.events", "oom_kill many\n", None),
        ("0::/app\n", V2, "sys/fs/cgroup/app/memory.events", "", None),
        ("garbage\n", V2, "sys/fs/cgroup/memory.events", EVENTS, None),
        ("0::/app\n", "", "sys/fs/cgroup/app/memory.events", EVENTS, None),
        ("", V2, "sys/fs/cgroup/app/memory.events", EVENTS, None),
    ],
)
def test_oom_kills(tmp_path: Path, cgroup: str, mounts: str, file: str, text: str, kills: int | None) -> None:
    assert oom_kills(memory_cgroup(tmp_path, cgroup, mounts, file, text)) == kills
