"""Records are dataclasses to everybody who has one; and what a dataclass refuses, they refuse."""

from __future__ import annotations

import dataclasses
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from reuseport.records import record


@record(frozen=True, slots=True)
class Place:
    name: str
    secret: str = field(repr=False)
    slots: tuple[int, ...] = ()
    held: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Compiled:
    name: str
    secret: str = field(repr=False)
    slots: tuple[int, ...] = ()
    held: list[int] = field(default_factory=list)


@record(frozen=True)
class Bound:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("upside down")

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


@record(frozen=True)
class Named(Bound):
    name: str = "nobody's"

    def __repr__(self) -> str:
        return f"{self.name} {self}"


@record(frozen=True, slots=True, kw_only=True)
class Settled:
    port: int = 8000
    host: str


GIVEN: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a", "b"), {}),
    (("a", "b", (1, 2), [3]), {}),
    (("a",), {"secret": "b", "held": [1]}),
    ((), {"slots": (1,), "name": "a", "secret": "b"}),
]
REFUSED: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("a",), {}),
    (("a", "b"), {"name": "c"}),
    (("a", "b"), {"other": 1}),
    (("a", "b", (), [], 5), {}),
]


@pytest.mark.parametrize(("given", "named"), GIVEN)
def test_it_is_made_and_shown_and_taken_apart_as_a_dataclass(
    given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    ours, theirs = Place(*given, **named), Compiled(*given, **named)
    assert repr(ours) == repr(theirs).replace("Compiled", "Place")
    assert asdict(ours) == asdict(theirs)
    assert [each.name for each in fields(ours)] == [each.name for each in fields(theirs)]
    assert replace(ours, name="c") == Place("c", ours.secret, ours.slots, ours.held)
    match ours:
        case Place(name, secret, slots, held):
            assert Compiled(name, secret, slots, held) == theirs
    assert not hasattr(ours, "__dict__")


@pytest.mark.parametrize(("given", "named"), REFUSED)
def test_what_does_not_fit_is_refused(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Compiled, Place):
        with pytest.raises(TypeError):
            kind(*given, **named)


def test_each_has_a_default_of_its_own() -> None:
    assert Place("a", "b").held is not Place("a", "b").held


def test_it_stays_as_it_is() -> None:
    one: Any = Bound(1, 2)
    with pytest.raises(FrozenInstanceError):
        one.low = 2
    with pytest.raises(FrozenInstanceError):
        del one.low
    with pytest.raises(FrozenInstanceError):
        one.other = 2
    assert one == Bound(1, 2)


def test_those_with_the_same_values_are_equal_if_they_are_of_one_kind() -> None:
    assert Bound(1, 2) == Bound(1, 2) != Bound(1, 3)
    assert hash(Bound(1, 2)) == hash(Bound(1, 2))
    assert Bound(1, 2) != Named(1, 2)
    other: object = (1, 2)
    assert Bound(1, 2) != other
    assert {Bound(1, 2), Bound(1, 2), Named(1, 2)} == {Named(1, 2), Bound(1, 2)}


def test_what_a_class_says_itself_holds() -> None:
    assert str(Bound(1, 2)) == "1 to 2"
    with pytest.raises(ValueError, match="upside down"):
        Named(2, 1)
    assert repr(Named(1, 2)) == "nobody's 1 to 2"
    assert Settled(host="here").port == 8000
    settled: Any = Settled
    with pytest.raises(TypeError):
        settled("here")


def test_what_cannot_be_a_record_is_a_dataclass() -> None:
    with pytest.raises(TypeError, match="what changes"):
        record(frozen=False)
    with pytest.raises(TypeError, match="is not given"):

        @record(frozen=True)
        class _Counted:
            number: int = field(init=False)


def test_none_is_compiled() -> None:
    assert {vars(kind)["__init__"] for kind in (Place, Bound, Settled)} == {Bound.__init__}
    assert dataclasses.is_dataclass(Place)
    # What is not said takes long to be made up.
    assert Bound.__doc__ == "Bound"
