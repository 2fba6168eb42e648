"""The ring of records."""

from __future__ import annotations

from reuseport.history import History, Kind, Record


def test_records_are_numbered_and_kept_in_order() -> None:
    history = History(room=3)
    assert (history.last, history.after(0)) == (0, ([], 0))
    for number in range(1, 6):
        assert history.add(float(number), Kind.READY, f"text {number}", slot=number).seq == number
    records, lost = history.after(0)
    assert [record.seq for record in records] == [3, 4, 5]
    assert (lost, history.last) == (2, 5)
    assert [record.text for record in history.after(4)[0]] == ["text 5"]
    assert history.after(5) == ([], 0)
    assert history.after(99) == ([], 0)
    assert [record.seq for record in history.after(-7, limit=2)[0]] == [3, 4]


def test_who_watches_is_told_at_once_until_it_leaves() -> None:
    history, seen = History(), list[Record]()
    unwatch = history.watch(seen.append)
    first = history.add(1.0, Kind.CRASHED, "gone", level="error", slot=0, generation=2, cause="crash")
    unwatch()
    history.add(2.0, Kind.READY, "back")
    assert seen == [first]
    assert first.to_dict() == {
        "seq": 1,
        "time": 1.0,
        "kind": "crashed",
        "level": "error",
        "slot": 0,
        "generation": 2,
        "cause": "crash",
        "text": "gone",
    }


def test_a_watcher_may_leave_while_it_is_told() -> None:
    history, seen = History(), list[int]()

    def once(record: Record) -> None:
        seen.append(record.seq)
        unwatch()

    unwatch = history.watch(once)
    history.watch(lambda record: seen.append(-record.seq))
    history.add(1.0, Kind.READY, "one")
    history.add(2.0, Kind.READY, "two")
    assert seen == [1, -1, -2]


def test_long_texts_push_out_as_many_as_their_length() -> None:
    """Workers say why they cannot start at any length: a thousand of those are no gigabyte."""
    history = History(room=10, most_text=100)
    for text in ("a" * 30, "b" * 30, "c" * 30, "d" * 30):
        history.add(1.0, Kind.COULD_NOT_START, text)
    assert [record.text[0] for record in history.after(0)[0]] == ["b", "c", "d"]
    history.add(1.0, Kind.COULD_NOT_START, "e" * 1000)
    assert [record.text[0] for record in history.after(0)[0]] == ["e"]
    history.add(1.0, Kind.READY, "f")
    records, lost = history.after(0)
    assert [record.seq for record in records] == [6]
    assert lost == 5
    history.add(1.0, Kind.READY, "g" * 99)
    assert [record.seq for record in history.after(0)[0]] == [6, 7]
