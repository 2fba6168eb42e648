"""A small assembler for eBPF: instructions in the order they are written, jumps to names.

The encoding is RFC 9669 (BPF Instruction Set Architecture). Nothing here talks to the kernel, so what it
makes can be compared byte for byte without privilege.
"""

from __future__ import annotations

import enum
import struct
import sys
from typing import Literal

from reuseport.records import record


class Register(enum.IntEnum):
    """R0 is a helper's answer and the verdict, R1 to R5 its arguments, which it spoils; R10 is the stack."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


class Op(enum.IntEnum):
    """Arithmetic on 64 bits (RFC 9669, section 4.1). A negative constant is extended with its sign."""

    ADD = 0x00
    SUBTRACT = 0x10
    MULTIPLY = 0x20
    OR = 0x40
    AND = 0x50
    SHIFT_LEFT = 0x60
    SHIFT_RIGHT = 0x70
    MODULO = 0x90
    XOR = 0xA0
    MOVE = 0xB0
    SHIFT_RIGHT_SIGNED = 0xC0


class When(enum.IntEnum):
    """Comparisons of 64 bits (RFC 9669, section 4.3), without sign unless it is in the name."""

    EQUAL = 0x10
    ABOVE = 0x20
    AT_LEAST = 0x30
    DIFFERENT = 0x50
    GREATER_SIGNED = 0x60
    LESS_SIGNED = 0xC0


class Size(enum.IntEnum):
    """Widths of a load or store (RFC 9669, section 5)."""

    WORD4 = 0x00
    BYTE = 0x10
    WORD8 = 0x18


# Instruction classes (RFC 9669, section 3.2) and the bits that go with them.
_LD, _LDX, _ST, _STX, _JMP, _ALU64 = 0x00, 0x01, 0x02, 0x03, 0x05, 0x07
_MEM, _ATOMIC = 0x60, 0xC0
_FROM_REGISTER = 0x08
_ALWAYS, _NEGATE, _CALL, _EXIT = 0x00, 0x80, 0x80, 0x90
_ATOMIC_ADD, _ATOMIC_FETCH_ADD = 0x00, 0x01

# Sources of a 64-bit constant that the kernel fills in (RFC 9669, section 5.4): a map, an address in one.
_MAP, _MAP_VALUE = 1, 2


@record(frozen=True)
class _Instruction:
    code: int
    target: int = 0
    source: int = 0
    offset: int = 0
    constant: int = 0
    label: str | None = None


class Assembler:
    """Collects instructions; `assemble()` resolves the labels. Targets come first, as in `a = b`."""

    def __init__(self) -> None:
        self._instructions: list[_Instruction] = []
        self._labels: dict[str, int] = {}

    def __len__(self) -> int:
        """Slots of 8 bytes so far: what the kernel counts as instructions."""
        return len(self._instructions)

    def label(self, name: str) -> None:
        """Name the next instruction. Raises ValueError for a name that is taken."""
        if name in self._labels:
            raise ValueError(f"label {name!r} stands twice")
        self._labels[name] = len(self._instructions)

    def compute(self, op: Op, target: Register, operand: Register | int) -> None:
        """Such as `target += operand`; a number must fit 32 bits with sign."""
        self._with_operand(_ALU64 | op, target, operand)

    def negate(self, target: Register) -> None:
        """`target = -target`."""
        self._add(_Instruction(_ALU64 | _NEGATE, target))

    def constant(self, target: Register, value: int) -> None:
        """All 64 bits of a value, 0 to 2**64 - 1. Two slots."""
        self._wide(target, 0, value & 0xFFFFFFFF, value >> 32)

    def map(self, target: Register, fd: int) -> None:
        """The map, for a helper. Two slots."""
        self._wide(target, _MAP, fd, 0)

    def map_value(self, target: Register, fd: int, offset: int) -> None:
        """The address of byte `offset` in the only element of an array map. Two slots."""
        self._wide(target, _MAP_VALUE, fd, offset)

    def load(self, size: Size, target: Register, base: Register, offset: int) -> None:
        """Read memory at base + offset, zero-extended; the offset has 16 bits with sign."""
        self._add(_Instruction(_LDX | _MEM | size, target, base, offset))

    def store(self, size: Size, base: Register, offset: int, operand: Register | int) -> None:
        """Write memory at base + offset."""
        if isinstance(operand, Register):
            self._add(_Instruction(_STX | _MEM | size, base, operand, offset))
        else:
            self._add(_Instruction(_ST | _MEM | size, base, 0, offset, operand))

    def atomic_add(self, base: Register, offset: int, amount: Register) -> None:
        """Add to the 8 bytes at base + offset, in one step for all CPUs."""
        self._add(_Instruction(_STX | _ATOMIC | Size.WORD8, base, amount, offset, _ATOMIC_ADD))

    def atomic_fetch_add(self, base: Register, offset: int, amount: Register) -> None:
        """The same; the amount's register gets what was there before. Linux 5.12 and later."""
        self._add(_Instruction(_STX | _ATOMIC | Size.WORD8, base, amount, offset, _ATOMIC_FETCH_ADD))

    def jump(self, label: str) -> None:
        """Go to the label."""
        self._add(_Instruction(_JMP | _ALWAYS, label=label))

    def jump_when(self, when: When, one: Register, other: Register | int, label: str) -> None:
        """Go to the label if the comparison holds, `one` on its left."""
        self._with_operand(_JMP | when, one, other, label)

    def call(self, helper: int) -> None:
        """Call a helper of the kernel by its number; R1 to R5 are lost."""
        self._add(_Instruction(_JMP | _CALL, constant=helper))

    def exit(self) -> None:
        """Return R0."""
        self._add(_Instruction(_JMP | _EXIT))

    def assemble(self, byteorder: Literal["little", "big"] = sys.byteorder) -> bytes:
        """The program, 8 bytes a slot. Raises ValueError for an unknown label or a number out of range."""
        return b"".join(
            _encode(instruction, self._distance(at, instruction), byteorder)
            for at, instruction in enumerate(self._instructions)
        )

    def _add(self, instruction: _Instruction) -> None:
        self._instructions.append(instruction)

    def _wide(self, target: Register, kind: int, low: int, high: int) -> None:
        self._add(_Instruction(_LD | Size.WORD8, target, kind, constant=_signed(low)))
        self._add(_Instruction(0, constant=_signed(high)))

    def _with_operand(
        self, code: int, target: Register, operand: Register | int, label: str | None = None
    ) -> None:
        if isinstance(operand, Register):
            self._add(_Instruction(code | _FROM_REGISTER, target, operand, label=label))
        else:
            self._add(_Instruction(code, target, constant=operand, label=label))

    def _distance(self, at: int, instruction: _Instruction) -> int:
        if instruction.label is None:
            return instruction.offset
        if instruction.label not in self._labels:
            raise ValueError(f"no instruction is labelled {instruction.label!r}")
        # A jump counts from the instruction after it.
        return self._labels[instruction.label] - at - 1


def _signed(bits: int) -> int:
    """The 32-bit pattern as the signed number the encoding wants."""
    return bits - (1 << 32) if bits >= 1 << 31 else bits


def _encode(instruction: _Instruction, offset: int, byteorder: Literal["little", "big"]) -> bytes:
    # The two registers share a byte as C bit fields do, so their halves change places with the byte order.
    first, second = instruction.target, instruction.source
    if byteorder == "big":
        first, second = second, first
    layout = "<BBhi" if byteorder == "little" else ">BBhi"
    try:
        return struct.pack(layout, instruction.code, second << 4 | first, offset, instruction.constant)
    except struct.error as error:
        raise ValueError(f"an offset or a constant does not fit: {instruction}, offset {offset}") from error
