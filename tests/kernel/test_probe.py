"""The ladder, found by trying: as root, without rights, in user and network namespaces."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable

import pytest

from reuseport.kernel import probe
from reuseport.kernel.probe import Answer, Ladder, Level, Verdict
from tests.kernel.conftest import Run
from tests.kernel.steered import skip_without_maps

pytestmark = pytest.mark.usefixtures("no_leak")

YES, NO, UNKNOWN = (Answer(verdict, verdict.name) for verdict in Verdict)


@pytest.mark.parametrize(
    ("steers", "migrates", "level"),
    [
        (YES, NO, Level.STEERED),
        (YES, YES, Level.STEERED),
        (NO, YES, Level.MIGRATING),
        (UNKNOWN, YES, Level.MIGRATING),
        (NO, NO, Level.HASHED),
        (NO, UNKNOWN, Level.HASHED),
        (UNKNOWN, UNKNOWN, Level.HASHED),
    ],
)
def test_only_a_yes_lifts_us(steers: Answer, migrates: Answer, level: Level) -> None:
    ladder = Ladder(steers, migrates)
    assert ladder.level is level
    assert ladder.reason.startswith(level.name.lower())
    assert "\n" not in ladder.reason
    # What keeps us down is said.
    assert all(answer.reason in ladder.reason for answer in (steers, migrates)[: 2 - level])


@pytest.fixture
def allowed() -> None:
    skip_without_maps()


@pytest.mark.usefixtures("allowed")
def test_where_we_may_we_can() -> None:
    ladder = probe.climb()
    assert ladder.steers.verdict is Verdict.YES, ladder.steers
    assert ladder.level is Level.STEERED


@pytest.mark.usefixtures("allowed")
def test_at_a_limit_it_could_not_tell() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, hard))
    try:
        ladder = probe.climb()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ladder.steers == Answer(Verdict.UNKNOWN, "trying a steering program failed: Too many open files")
    assert ladder.level is Level.HASHED


CLIMB = """
from reuseport.kernel import probe
{before}
ladder = probe.climb()
answers = (ladder.steers, ladder.migrates)
print(ladder.level.name, *(answer.verdict.name for answer in answers), ladder.reason)
"""


@pytest.mark.usefixtures("as_root")
def test_without_rights_it_says_what_is_missing(own_network: Callable[[str], str]) -> None:
    said = own_network(CLIMB.format(before="become(65534)"))
    assert said.startswith("HASHED NO NO hashed: ")
    assert "CAP_BPF" in said
    assert said.endswith("net.ipv4.tcp_migrate_req is 0")


@pytest.mark.usefixtures("as_root")
def test_without_rights_but_with_the_sysctl_connections_migrate(own_network: Callable[[str], str]) -> None:
    sysctl = 'Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text("1"); become(65534)'
    said = own_network(CLIMB.format(before=sysctl))
    assert said.startswith("MIGRATING NO YES ")
    assert "CAP_BPF" in said


def test_root_of_a_user_namespace_may_not(run: Run) -> None:
    command = ("unshare", "--user", "--map-root-user")
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("user namespaces are not supported here")
    _, said = run(CLIMB.format(before=""), command=command)
    assert "user namespaces" in said


@pytest.mark.usefixtures("allowed", "as_root")
def test_cap_bpf_alone_is_enough(run: Run) -> None:
    """Without CAP_PERFMON the verifier also follows what a CPU may do speculatively, and is much stricter."""
    with contextlib.suppress(FileNotFoundError):
        only = ("setpriv", "--bounding-set=-all,+bpf", "--inh-caps=-all,+bpf", "--ambient-caps=-all")
        _, said = run(BOTH, command=only)
        assert said == "loaded"
        return
    pytest.skip("not supported: setpriv(1) is missing")


BOTH = """
from reuseport.kernel.plan import Words
from reuseport.kernel.steering import Steering
words = Words(row=32, fence=5, serving_desk=6, assigned=7, heartbeat=0, load=1, accepted=7)
for policy in ("least-loaded", "round-robin"):
    for slots in (1, 8, 64, 65):
        Steering.create(slots, slots, policy, 10**7, 10**9, words).close()
print("loaded")
"""


def test_a_group_prefers_the_listener_of_the_cpu_and_the_affinity_is_given_back() -> None:
    allowed = os.sched_getaffinity(0)
    answer = probe.prefers_cpu()
    assert os.sched_getaffinity(0) == allowed
    if answer.verdict is Verdict.NO:
        pytest.skip(f"not supported: {answer.reason}")
    assert answer.verdict is (Verdict.YES if len(allowed) > 1 else Verdict.UNKNOWN)


def test_one_cpu_has_nothing_to_prefer() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert probe.prefers_cpu().verdict is Verdict.UNKNOWN
    finally:
        os.sched_setaffinity(0, allowed)
