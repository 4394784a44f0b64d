from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from headrace_asgi import tally as tally_module
from headrace_asgi.tally import Tally, TallyBatch


def amounts(batch: TallyBatch | None) -> dict[str, int]:
    assert batch is not None
    return batch.amounts


def in_a_child(act: object) -> None:
    """Fork, let the child do something, and end it with SIGKILL, as nobody has told it to end."""
    assert callable(act)
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_was_counted_is_told_once() -> None:
    tally = Tally()
    assert tally.unwritten() is None
    tally.add("work", "taken", 3)
    tally.add("work", "taken", -1)
    tally.add("work", "done")
    batch = tally.unwritten()
    assert amounts(batch) == {"work|taken": 2, "work|done": 1}
    assert not tally.is_known
    tally.written()
    assert tally.is_known
    assert tally.unwritten() is None


def test_a_batch_without_an_answer_is_told_again_as_it_was() -> None:
    tally = Tally()
    tally.add("work", "done")
    first = tally.unwritten()
    tally.add("work", "done", 5)
    assert tally.unwritten() == first
    tally.written()
    second = tally.unwritten()
    assert amounts(second) == {"work|done": 5}
    assert first is not None
    assert second is not None
    assert second.number == first.number + 1


def test_channels_with_random_names_are_not_counted() -> None:
    tally = Tally()
    tally.add("http.request.body?x", "taken")
    tally.add("hr1.0.feed!a", "taken")
    assert tally.unwritten() is None


def test_what_came_back_in_the_meantime_is_nothing_to_tell() -> None:
    tally = Tally()
    tally.add("work", "taken")
    tally.add("work", "taken", -1)
    assert tally.is_known
    assert tally.unwritten() is None


def test_more_names_than_there_is_room_for_cost_nothing_but_their_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally_module, "SLOTS", 2)
    tally = Tally()
    for name in ("a", "b", "c", "d", "c", "a"):
        tally.add(name, "taken")
    assert amounts(tally.unwritten()) == {"a|taken": 2, "b|taken": 1}


def test_threads_count_together() -> None:
    tally = Tally()

    def count() -> None:
        for _ in range(20_000):
            tally.add("work", "done")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    told = 0
    while any(thread.is_alive() for thread in threads):
        batch = tally.unwritten()
        if batch is not None:
            told += batch.amounts["work|done"]
            tally.written()
        time.sleep(0.001)
    batch = tally.unwritten()
    told += batch.amounts["work|done"] if batch else 0
    assert told == 80_000


def test_a_parent_reads_what_a_killed_child_had_counted() -> None:
    tally = Tally(shared=True)
    in_a_child(lambda: [tally.add("work", "done") for _ in range(7)])
    tally.add("work", "lost")
    assert amounts(tally.unwritten()) == {"work|done": 7, "work|lost": 1}


def test_a_parent_tells_again_what_a_child_was_telling_when_it_was_killed() -> None:
    tally = Tally(shared=True)

    def tell() -> None:
        tally.add("work", "done", 3)
        tally.unwritten()
        tally.add("work", "done", 4)

    in_a_child(tell)
    batch = tally.unwritten()
    assert batch is not None
    assert (batch.number, batch.amounts) == (1, {"work|done": 3})
    tally.written()
    assert amounts(tally.unwritten()) == {"work|done": 4}


def test_a_forked_child_leaves_the_counts_of_its_parent_alone() -> None:
    tally = Tally()
    tally.add("work", "done")
    reading, writing = os.pipe()

    def count() -> None:
        tally.add("work", "done", 10)
        os.write(writing, repr(amounts(tally.unwritten())).encode() + b" " + tally.id.encode())

    in_a_child(count)
    said, _, name = os.read(reading, 1000).decode().rpartition(" ")
    os.close(reading)
    os.close(writing)
    assert said == "{'work|done': 10}"
    assert name != tally.id
    assert amounts(tally.unwritten()) == {"work|done": 1}
