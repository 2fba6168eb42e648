"""The assembler against golden bytes, made of the same lines by LLVM's assembler (llvm-mc, bpfel and bpfeb).

Modulo and fetch-and-add, which version 14 of that one cannot read, are from RFC 9669, sections 4.1 and 5.3.
"""

import hashlib
import sys
from collections.abc import Callable
from typing import get_args

import pytest

from reuseport.kernel import decision
from reuseport.kernel.assembler import Assembler, Op, Register, Size, When
from reuseport.kernel.plan import Maps, Plan, Policy, Words

R0, R1, R2, R3, R4 = Register.R0, Register.R1, Register.R2, Register.R3, Register.R4
R6, R7, R8, R10 = Register.R6, Register.R7, Register.R8, Register.R10

Line = Callable[[Assembler], None]

GOLDEN: list[tuple[str, Line, str, str]] = [
    ("r6 = r1", lambda a: a.compute(Op.MOVE, R6, R1), "bf16000000000000", "bf61000000000000"),
    ("r3 += 14", lambda a: a.compute(Op.ADD, R3, 14), "070300000e000000", "073000000000000e"),
    ("r3 += -1", lambda a: a.compute(Op.ADD, R3, -1), "07030000ffffffff", "07300000ffffffff"),
    ("r3 -= r7", lambda a: a.compute(Op.SUBTRACT, R3, R7), "1f73000000000000", "1f37000000000000"),
    ("r2 *= 768", lambda a: a.compute(Op.MULTIPLY, R2, 768), "2702000000030000", "2720000000000300"),
    ("r1 &= 18", lambda a: a.compute(Op.AND, R1, 18), "5701000012000000", "5710000000000012"),
    ("r3 |= r4", lambda a: a.compute(Op.OR, R3, R4), "4f43000000000000", "4f34000000000000"),
    ("r3 <<= 7", lambda a: a.compute(Op.SHIFT_LEFT, R3, 7), "6703000007000000", "6730000000000007"),
    ("r3 >>= 1", lambda a: a.compute(Op.SHIFT_RIGHT, R3, 1), "7703000001000000", "7730000000000001"),
    (
        "r4 s>>= 63",
        lambda a: a.compute(Op.SHIFT_RIGHT_SIGNED, R4, 63),
        "c70400003f000000",
        "c74000000000003f",
    ),
    ("r7 %= 8", lambda a: a.compute(Op.MODULO, R7, 8), "9707000008000000", "9770000000000008"),
    ("r4 ^= -1", lambda a: a.compute(Op.XOR, R4, -1), "a7040000ffffffff", "a7400000ffffffff"),
    ("r1 = -r1", lambda a: a.negate(R1), "8701000000000000", "8710000000000000"),
    (
        "r8 = 9223372036854775807 ll",
        lambda a: a.constant(R8, 9223372036854775807),
        "18080000ffffffff00000000ffffff7f",
        "18800000ffffffff000000007fffffff",
    ),
    (
        "r1 = map 7",
        lambda a: a.map(R1, 7),
        "18110000070000000000000000000000",
        "18110000000000070000000000000000",
    ),
    (
        "r1 = map 7, byte 8",
        lambda a: a.map_value(R1, 7, 8),
        "18210000070000000000000008000000",
        "18120000000000070000000000000008",
    ),
    (
        "r1 = *(u64 *)(r6 + 48)",
        lambda a: a.load(Size.WORD8, R1, R6, 48),
        "7961300000000000",
        "7916003000000000",
    ),
    (
        "r1 = *(u8 *)(r1 + 13)",
        lambda a: a.load(Size.BYTE, R1, R1, 13),
        "71110d0000000000",
        "7111000d00000000",
    ),
    (
        "r3 = *(u32 *)(r10 - 4)",
        lambda a: a.load(Size.WORD4, R3, R10, -4),
        "61a3fcff00000000",
        "613afffc00000000",
    ),
    (
        "*(u32 *)(r10 - 4) = r3",
        lambda a: a.store(Size.WORD4, R10, -4, R3),
        "633afcff00000000",
        "63a3fffc00000000",
    ),
    (
        "*(u64 *)(r10 - 16) = r3",
        lambda a: a.store(Size.WORD8, R10, -16, R3),
        "7b3af0ff00000000",
        "7ba3fff000000000",
    ),
    (
        "*(u64 *)(r10 - 16) = 1",
        lambda a: a.store(Size.WORD8, R10, -16, 1),
        "7a0af0ff01000000",
        "7aa0fff000000001",
    ),
    (
        "lock *(u64 *)(r0 + 56) += r4",
        lambda a: a.atomic_add(R0, 56, R4),
        "db40380000000000",
        "db04003800000000",
    ),
    (
        "r7 = fetch_add(r1 + 0, r7)",
        lambda a: a.atomic_fetch_add(R1, 0, R7),
        "db71000001000000",
        "db17000000000001",
    ),
    ("call 82", lambda a: a.call(82), "8500000052000000", "8500000000000052"),
    ("exit", lambda a: a.exit(), "9500000000000000", "9500000000000000"),
]


@pytest.mark.parametrize(("line", "little", "big"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN])
def test_each_instruction_has_its_golden_bytes(line: Line, little: str, big: str) -> None:
    asm = Assembler()
    line(asm)
    assert asm.assemble("little").hex() == little
    assert asm.assemble("big").hex() == big
    assert len(asm) * 8 == len(asm.assemble())


JUMPS: list[tuple[str, Line, str]] = [
    ("if r0 == 0 goto +1", lambda a: a.jump_when(When.EQUAL, R0, 0, "after"), "1500010000000000"),
    ("if r3 > r2 goto +1", lambda a: a.jump_when(When.ABOVE, R3, R2, "after"), "2d23010000000000"),
    ("if r1 >= 64 goto -1", lambda a: a.jump_when(When.AT_LEAST, R1, 64, "here"), "3501ffff40000000"),
    ("if r1 != 2 goto +0", lambda a: a.jump_when(When.DIFFERENT, R1, 2, "next"), "5501000002000000"),
    ("if r3 s> 0 goto +1", lambda a: a.jump_when(When.GREATER_SIGNED, R3, 0, "after"), "6503010000000000"),
    ("if r3 s< r1 goto +1", lambda a: a.jump_when(When.LESS_SIGNED, R3, R1, "after"), "cd13010000000000"),
    ("goto +1", lambda a: a.jump("after"), "0500010000000000"),
]


@pytest.mark.parametrize(("line", "golden"), [j[1:] for j in JUMPS], ids=[j[0] for j in JUMPS])
def test_a_jump_counts_from_the_next_instruction(line: Line, golden: str) -> None:
    asm = Assembler()
    asm.label("here")
    line(asm)
    asm.label("next")
    asm.exit()
    asm.label("after")
    asm.exit()
    assert asm.assemble("little")[:8].hex() == golden


def test_a_wide_constant_counts_as_two_for_jumps() -> None:
    asm = Assembler()
    asm.jump("end")
    asm.constant(R1, 1)
    asm.label("end")
    assert asm.assemble("little")[:8].hex() == "0500020000000000"


def test_labels_stand_once_and_are_all_known() -> None:
    asm = Assembler()
    asm.label("one")
    with pytest.raises(ValueError, match="'one' stands twice"):
        asm.label("one")
    asm.jump("two")
    with pytest.raises(ValueError, match="labelled 'two'"):
        asm.assemble()


@pytest.mark.parametrize(
    "line",
    [
        lambda a: a.compute(Op.ADD, R1, 1 << 31),
        lambda a: a.compute(Op.ADD, R1, -(1 << 31) - 1),
        lambda a: a.load(Size.WORD8, R1, R6, 1 << 15),
    ],
)
def test_numbers_that_do_not_fit_are_refused(line: Line) -> None:
    asm = Assembler()
    line(asm)
    with pytest.raises(ValueError, match="does not fit"):
        asm.assemble()


WORDS = Words(row=32, fence=5, serving_desk=6, assigned=7, heartbeat=0, load=1, accepted=7, desks=3)

# Changed on purpose? Then first run test_steering.py and test_decision.py where CAP_BPF lets it.
PROGRAMS = {
    ("least-loaded", 2): "d203bdc1d00fb69c",
    ("least-loaded", 65): "f9fc3aeef60389fe",
    ("round-robin", 2): "1bc6967b29e74b7e",
}


@pytest.mark.skipif(sys.byteorder == "big", reason="the golden programs are little-endian")
@pytest.mark.parametrize(("policy", "slots"), PROGRAMS)
def test_the_programs_are_those_the_kernel_tests_have_seen(policy: Policy, slots: int) -> None:
    code = decision.assemble(Plan(slots, policy, 25 * 10**6, 10**9, WORDS), Maps(3, 4, 5))
    assert hashlib.sha256(code).hexdigest()[:16] == PROGRAMS[policy, slots]


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_jump_reaches_the_end_of_the_longest_program(policy: Policy) -> None:
    code = decision.assemble(Plan(decision.EVERY_SLOT, policy, 25 * 10**6, 10**9, WORDS), Maps(3, 4, 5))
    assert code.endswith(bytes.fromhex("9500000000000000"))
