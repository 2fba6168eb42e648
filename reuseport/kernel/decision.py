"""What the steering program decides, and the program itself, assembled for the actual number of slots.

    least-loaded   up to 64 slots: of the live slots that are not late the one with the least load, ties in
                   turn; beyond: the better of two slots drawn at random
    round-robin    up to 64 slots: the live slots that are not late, in turn; beyond: the live slots in turn,
                   late or not

A slot is live if it is not fenced and its worker has a heartbeat. It is late if that is older than
`stale_ns`, or than `late_ns` while the worker has work. A late slot gets something only if all live ones are
late, and then by the same rule: with CPU-bound handlers that is a busy moment like any other, and the hash
would clump exactly then. A slot's load is what its worker has to do, and what it was given and has not
accepted yet:

    load + max(0, assigned - accepted)

The program adds one to `assigned` itself: so a burst does not run after a number the worker has yet to
write. If the best slot has no listener in this group, the next live one in turn gets the connection, late or
not. With no live slot at all (of 64, where there are more) the program passes without a choice, and the
kernel's hash takes over: never a refusal.
"""

from __future__ import annotations

from reuseport.kernel.assembler import Assembler, Op, Register, Size, When
from reuseport.kernel.plan import WORD_BYTES, Maps, Plan

EVERY_SLOT = 64
"""Up to here the program looks at every slot: a slot's number fits the 6 low bits of its key."""

R0, R1, R2, R3, R4, R5 = (Register(number) for number in range(6))
R10 = Register.R10

# What keeps its place. A call spoils ROW, which it also fills; the others stay through the whole program.
ROW = Register.R0
CONTEXT = Register.R6
START = Register.R7  # the slot whose turn it is, or the first one drawn
BEST = Register.R8  # the best key, or the second slot drawn
FRESH = Register.R9  # late_ns - now: what to add to a heartbeat to see whether it is negative

# struct sk_reuseport_md (include/uapi/linux/bpf.h).
_DATA, _DATA_END, _MIGRATING = 0, 8, 48

# RFC 9293, section 3.1: the flags are in byte 13 of a TCP header.
_FLAGS, _HEADER, _SYN, _SYN_ACK = 13, 14, 0x02, 0x12

_LOOKUP, _KTIME, _RANDOM, _SELECT = 1, 5, 7, 82
_PASS = 1  # SK_PASS. Without a selection: by hash.

# Places in the stack: the slot as a 4-byte key; 1 if this is a new connection; the first slot's key.
_SLOT, _COUNTED, _FIRST = -4, -16, -24

# A key: whether the slot is late, its load in 54 bits, and in 6 how far it is from START.
_LATE = 60
_DISTANCE = 6
_DEAD = (1 << 63) - 1  # above every key of a live slot


def assemble(plan: Plan, maps: Maps) -> bytes:
    """The program for one group, in the encoding of this machine."""
    return _Draft(plan, maps).whole()


class _Draft:
    """A program being written. Each method adds one part, in the order `whole` names them."""

    def __init__(self, plan: Plan, maps: Maps) -> None:
        self.plan = plan
        self.words = plan.words
        self.maps = maps
        self.asm = Assembler()

    def whole(self) -> bytes:
        self.is_it_new()
        if self.plan.slots <= EVERY_SLOT:
            self.take_a_turn()
            self.what_is_fresh()
            self.best_of_all()
        elif self.plan.policy == "least-loaded":
            self.draw_two()
            self.what_is_fresh()
            self.better_of_two()
        else:
            self.take_a_turn()
        self.search()
        self.account()
        return self.asm.assemble()

    def is_it_new(self) -> None:
        """COUNTED = 1 for a SYN without ACK and for a migration, which will be accepted; 0 for anything else.

        Segments of a closing connection, or an ACK that brings back a SYN cookie, ask for a listener too.
        """
        asm = self.asm
        asm.compute(Op.MOVE, CONTEXT, R1)
        asm.store(Size.WORD8, R10, _COUNTED, 0)
        # A whole queue migrates at once: not counted, it would all go to one slot.
        asm.load(Size.WORD8, R1, CONTEXT, _MIGRATING)
        asm.jump_when(When.DIFFERENT, R1, 0, "new")
        asm.load(Size.WORD8, R1, CONTEXT, _DATA)
        asm.load(Size.WORD8, R2, CONTEXT, _DATA_END)
        asm.compute(Op.MOVE, R3, R1)
        asm.compute(Op.ADD, R3, _HEADER)
        asm.jump_when(When.ABOVE, R3, R2, "decide")
        asm.load(Size.BYTE, R1, R1, _FLAGS)
        asm.compute(Op.AND, R1, _SYN_ACK)
        asm.jump_when(When.DIFFERENT, R1, _SYN, "decide")
        asm.label("new")
        asm.store(Size.WORD8, R10, _COUNTED, 1)
        asm.label("decide")

    def take_a_turn(self) -> None:
        """START = turn % slots, and the turn advances: in one step, so that no two CPUs have the same."""
        self.asm.map_value(R1, self.maps.turn, 0)
        self.asm.load(Size.WORD8, START, R10, _COUNTED)
        self.asm.atomic_fetch_add(R1, 0, START)
        self.asm.compute(Op.MODULO, START, self.plan.slots)

    def what_is_fresh(self) -> None:
        """FRESH = late_ns - now."""
        self.asm.call(_KTIME)
        self.asm.constant(FRESH, self.plan.late_ns)
        self.asm.compute(Op.SUBTRACT, FRESH, R0)

    def best_of_all(self) -> None:
        """Take the least key, which has in its 6 low bits how far the slot is from START."""
        asm = self.asm
        asm.constant(BEST, _DEAD)
        for slot in range(self.plan.slots):
            self.row(slot)
            self.row_key()
            asm.compute(Op.MOVE, R4, slot)
            asm.compute(Op.SUBTRACT, R4, START)
            asm.compute(Op.AND, R4, EVERY_SLOT - 1)
            asm.compute(Op.OR, R3, R4)
            # BEST += min(0, key - BEST); keys have 63 bits, so the difference's sign is right.
            asm.compute(Op.SUBTRACT, R3, BEST)
            asm.compute(Op.MOVE, R4, R3)
            asm.compute(Op.SHIFT_RIGHT_SIGNED, R4, 63)
            asm.compute(Op.AND, R3, R4)
            asm.compute(Op.ADD, BEST, R3)
        asm.compute(Op.MOVE, R1, BEST)
        self.go_if_dead(R1, "pass")
        asm.compute(Op.ADD, BEST, START)
        asm.compute(Op.AND, BEST, EVERY_SLOT - 1)
        self.select(BEST)

    def draw_two(self) -> None:
        """START and BEST = two different slots, at random."""
        asm, slots = self.asm, self.plan.slots
        asm.call(_RANDOM)
        asm.compute(Op.MOVE, START, R0)
        asm.compute(Op.MODULO, START, slots)
        asm.call(_RANDOM)
        asm.compute(Op.MOVE, BEST, R0)
        asm.compute(Op.MODULO, BEST, slots - 1)
        asm.compute(Op.ADD, BEST, START)
        asm.compute(Op.ADD, BEST, 1)
        asm.compute(Op.MODULO, BEST, slots)

    def better_of_two(self) -> None:
        """Take the slot with the lesser key; if both are dead, search from the first on."""
        asm = self.asm
        self.row(START)
        self.row_key()
        asm.store(Size.WORD8, R10, _FIRST, R3)
        self.row(BEST)
        self.row_key()
        asm.load(Size.WORD8, R1, R10, _FIRST)
        asm.jump_when(When.LESS_SIGNED, R3, R1, "second")
        asm.compute(Op.MOVE, BEST, START)
        asm.compute(Op.MOVE, R3, R1)
        asm.label("second")
        self.go_if_dead(R3, "search")
        self.select(BEST)

    def search(self) -> None:
        """Try the slots from START on until one is live and has a listener, 64 at most.

        No loop: without CAP_PERFMON the verifier also follows what a CPU may do speculatively, which is never
        to leave it ("infinite loop detected").
        """
        asm, slots = self.asm, self.plan.slots
        asm.label("search")
        for step in range(min(slots, EVERY_SLOT)):
            asm.compute(Op.MOVE, R3, START)
            asm.compute(Op.ADD, R3, step)
            asm.compute(Op.MODULO, R3, slots)
            self.row(R3)
            self.row_desk()
            self.row_dead()
            asm.jump_when(When.DIFFERENT, R1, 0, f"after {step}")
            self.select_key()
            asm.label(f"after {step}")
        asm.jump("pass")

    def account(self) -> None:
        """Reserve: add one to the slot's `assigned`. The turns of the slots that were skipped are over."""
        asm = self.asm
        asm.label("chosen")
        asm.load(Size.WORD8, R1, R10, _COUNTED)
        asm.jump_when(When.EQUAL, R1, 0, "pass")
        self.look_up()
        asm.compute(Op.MOVE, R4, 1)
        asm.atomic_add(ROW, self.words.assigned * WORD_BYTES, R4)
        # Otherwise the neighbour of a fenced slot would have its turn as well as its own.
        asm.load(Size.WORD4, R3, R10, _SLOT)
        asm.compute(Op.SUBTRACT, R3, START)
        asm.jump_when(When.EQUAL, R3, 0, "pass")
        asm.jump_when(When.GREATER_SIGNED, R3, 0, "skipped")
        asm.compute(Op.ADD, R3, self.plan.slots)
        asm.label("skipped")
        asm.map_value(R1, self.maps.turn, 0)
        asm.atomic_add(R1, 0, R3)
        asm.label("pass")
        asm.compute(Op.MOVE, R0, _PASS)
        asm.exit()

    def row(self, slot: Register | int) -> None:
        """ROW = the slot's words, its number in the stack."""
        self.asm.store(Size.WORD4, R10, _SLOT, slot)
        self.look_up()

    def look_up(self) -> None:
        """ROW = the words of the slot whose number is in the stack.

        The verifier takes the helper's word that the address is good. For an address we computed it would
        want to know every value of the number, and without CAP_PERFMON also what a CPU may do speculatively.
        """
        asm = self.asm
        asm.map(R1, self.maps.state)
        asm.compute(Op.MOVE, R2, R10)
        asm.compute(Op.ADD, R2, _SLOT)
        asm.call(_LOOKUP)
        asm.jump_when(When.EQUAL, R0, 0, "pass")

    def row_desk(self) -> None:
        """R2 = the words of the slot, moved on to the serving desk: `desk` reads its words from there.

        Whatever is written there as its number, it is one of those that the slot has.
        """
        asm = self.asm
        found = f"desk {len(asm)}"
        asm.load(Size.WORD8, R1, ROW, self.words.serving_desk * WORD_BYTES)
        asm.compute(Op.MOVE, R2, ROW)
        for number in range(self.words.desks - 1):
            asm.jump_when(When.EQUAL, R1, number, found)
            asm.compute(Op.ADD, R2, self.words.row_bytes)
        asm.label(found)

    def desk(self, target: Register, word: int) -> None:
        """Target = a word of the serving desk."""
        self.asm.load(Size.WORD8, target, R2, self.words.row_bytes + word * WORD_BYTES)

    def row_dead(self) -> None:
        """R1 = 0 for a live slot, _DEAD for one that is fenced or not ready. Spoils R4.

        Either makes a number negative: -fence, heartbeat - 1.
        """
        asm = self.asm
        self.desk(R1, self.words.heartbeat)
        asm.compute(Op.ADD, R1, -1)
        asm.load(Size.WORD8, R4, ROW, self.words.fence * WORD_BYTES)
        asm.negate(R4)
        asm.compute(Op.OR, R1, R4)
        asm.compute(Op.SHIFT_RIGHT_SIGNED, R1, 63)
        asm.compute(Op.SHIFT_RIGHT, R1, 1)

    def row_late(self) -> None:
        """R3 = 0, or 1 in bit _LATE for a late slot. Spoils R4.

        Late is what makes heartbeat + limit - now negative; just after the machine has started, now - limit
        would underflow.
        """
        asm = self.asm
        # load - 1 is negative for who has no work: then the difference of the limits is added.
        # The load is read before the heartbeat, because it is written after it.
        self.desk(R3, self.words.load)
        asm.compute(Op.ADD, R3, -1)
        asm.compute(Op.SHIFT_RIGHT_SIGNED, R3, 63)
        asm.constant(R4, self.plan.stale_ns - self.plan.late_ns)
        asm.compute(Op.AND, R3, R4)
        asm.compute(Op.ADD, R3, FRESH)
        self.desk(R4, self.words.heartbeat)
        asm.compute(Op.ADD, R3, R4)
        asm.compute(Op.SHIFT_RIGHT, R3, 63)
        asm.compute(Op.SHIFT_LEFT, R3, _LATE)

    def row_load(self) -> None:
        """R5 = the load in its place in the key. Spoils R4."""
        asm = self.asm
        asm.load(Size.WORD8, R5, ROW, self.words.assigned * WORD_BYTES)
        self.desk(R4, self.words.accepted)
        asm.compute(Op.SUBTRACT, R5, R4)
        # max(0, R5): who accepted by hash or for a sibling has accepted more than was assigned.
        asm.compute(Op.MOVE, R4, R5)
        asm.compute(Op.SHIFT_RIGHT_SIGNED, R4, 63)
        asm.compute(Op.XOR, R4, -1)
        asm.compute(Op.AND, R5, R4)
        self.desk(R4, self.words.load)
        asm.compute(Op.ADD, R5, R4)
        # Whatever is written there must not reach the bits above: that would be late, or dead.
        asm.compute(Op.SHIFT_LEFT, R5, 64 - _LATE + _DISTANCE)
        asm.compute(Op.SHIFT_RIGHT, R5, 64 - _LATE)

    def row_key(self) -> None:
        """R3 = the slot's key, with no distance in it; _DEAD for a dead slot. Spoils R1, R2, R4, R5."""
        asm = self.asm
        self.row_desk()
        self.row_dead()
        self.row_late()
        if self.plan.policy == "least-loaded":
            self.row_load()
            asm.compute(Op.OR, R3, R5)
        asm.compute(Op.OR, R3, R1)

    def go_if_dead(self, key: Register, label: str) -> None:
        """Go to the label if even the least key is a dead slot's. Spoils the key."""
        self.asm.compute(Op.ADD, key, 1)
        self.asm.jump_when(When.LESS_SIGNED, key, 0, label)

    def select(self, slot: Register) -> None:
        """Choose the slot's listener and go to "chosen"; without one, go on."""
        self.asm.store(Size.WORD4, R10, _SLOT, slot)
        self.select_key()

    def select_key(self) -> None:
        """The same, for the slot whose number is in the stack."""
        asm = self.asm
        asm.compute(Op.MOVE, R1, CONTEXT)
        asm.map(R2, self.maps.sockets)
        asm.compute(Op.MOVE, R3, R10)
        asm.compute(Op.ADD, R3, _SLOT)
        asm.compute(Op.MOVE, R4, 0)
        asm.call(_SELECT)
        asm.jump_when(When.EQUAL, R0, 0, "chosen")
