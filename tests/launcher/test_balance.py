"""What `--balance` comes to on each rung, in plain sentences; and what the launcher writes for the kernel."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from reuseport.errors import ConfigurationError, HostError
from reuseport.kernel import probe
from reuseport.kernel.probe import Answer, Ladder, Level, Verdict
from reuseport.launcher.balance import Balance, choose, chosen
from reuseport.scoreboard import SlotWord
from reuseport.settings.table import Settings

YES, NO, UNKNOWN = (Answer(verdict, f"the {verdict.name} reason") for verdict in Verdict)
STEERED = Ladder(YES, NO)
HASHED = Ladder(NO, NO)
UNTOLD = Ladder(UNKNOWN, YES)


@pytest.mark.parametrize(
    ("asked", "ladder", "rule"),
    [
        ("auto", STEERED, "least-loaded"),
        ("least-loaded", STEERED, "least-loaded"),
        ("round-robin", STEERED, "round-robin"),
        ("hash", STEERED, "hash"),
        ("auto", HASHED, "hash"),
        ("hash", HASHED, "hash"),
        ("auto", UNTOLD, "hash"),
    ],
)
def test_what_is_asked_for_is_had_and_auto_takes_what_there_is(asked: str, ladder: Ladder, rule: str) -> None:
    choice = choose(asked, ladder, UNKNOWN)
    assert (choice.rule, choice.level) == (rule, ladder.level)
    assert f"level {ladder.level.value}" in choice.reason


@pytest.mark.parametrize("asked", ["least-loaded", "round-robin"])
@pytest.mark.parametrize("ladder", [HASHED, UNTOLD])
def test_what_cannot_be_had_is_refused_with_the_reason(asked: str, ladder: Ladder) -> None:
    with pytest.raises(
        HostError, match=f"--balance {asked} cannot be had: the {ladder.steers.verdict.name} "
    ):
        choose(asked, ladder, UNKNOWN)


def test_cpu_is_refused_only_by_a_kernel_that_is_known_not_to_heed_it() -> None:
    with pytest.raises(HostError, match="--balance cpu cannot be had: the NO reason"):
        choose("cpu", STEERED, NO)
    assert choose("cpu", HASHED, YES).rule == choose("cpu", HASHED, UNKNOWN).rule == "cpu"


@pytest.mark.parametrize("asked", ["least-loaded", "round-robin", "cpu"])
def test_one_listener_for_all_has_no_rule(asked: str) -> None:
    with (
        pytest.raises(ConfigurationError, match=f"--balance {asked} needs a TCP address"),
        chosen(Settings(balance=asked), 2, 4, 0),  # type: ignore[arg-type]
    ):
        pytest.fail("it was not refused")


@pytest.fixture(params=["auto", "hash"])
def balance(request: pytest.FixtureRequest) -> Iterator[Balance]:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    with chosen(Settings(balance=request.param), 2, 4, 1) as made:
        yield made
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left"  # noqa: PTH208 - a count


def test_a_slot_is_fenced_until_somebody_serves_it(balance: Balance) -> None:
    words = [balance.scoreboard.slot(slot) for slot in range(4)]
    steers = probe.can_steer().verdict is Verdict.YES
    assert balance.choice.level == probe.climb().level
    assert steers is (probe.climb().level is Level.STEERED)
    assert [word[SlotWord.FENCE] for word in words] == [1] * 4
    with contextlib.closing(socket.create_server(("127.0.0.1", 0), reuse_port=True)) as listener:
        balance.steer(1, 1, [listener])
        assert [word[SlotWord.FENCE] for word in words] == [1, 0, 1, 1]
        assert words[1][SlotWord.SERVING_DESK] == 1
        balance.steer(1, 0, [listener])
        assert words[1][SlotWord.SERVING_DESK] == 0
        balance.steer(1, None, [listener])
        assert words[1][SlotWord.FENCE] == 1
        balance.resize(4, [listener])
        balance.steer(3, 0, [])
    del words


def test_what_a_worker_wrote_over_is_said_again(balance: Balance) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0), reuse_port=True)) as listener:
        balance.steer(1, 1, [listener])
        words = [balance.scoreboard.slot(slot) for slot in range(4)]
        for scribbled in (0, 1, 2**64 - 1):
            for word in words:
                word[SlotWord.FENCE] = word[SlotWord.SERVING_DESK] = scribbled
            balance.tell_again()
            assert [word[SlotWord.FENCE] for word in words] == [1, 0, 1, 1]
            assert words[1][SlotWord.SERVING_DESK] == 1
        del words, word


def test_slots_share_the_cpus_in_turn() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    with chosen(Settings(pin_cpus=True), 2, 64, 1) as pinned:
        assert [pinned.cpu(slot) for slot in range(64)] == (cpus * 64)[:64]
    with chosen(Settings(), 2, 64, 1) as free:
        assert free.cpu(0) is None
