"""Entries of the process queue, good and bad. What arrives over a real Redis is tested with the port."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from headrace_asgi import control
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.layers.redis.memory_watch import MemoryWatch
from headrace_asgi.layers.redis.twisted.executor import TwistedExecutor
from headrace_asgi.layers.redis.twisted.groups import Groups
from headrace_asgi.layers.redis.twisted.reader import QueueReader
from tests.support.interfaces import plan_for
from tests.support.links import ScriptedLink

PLAN, _ = plan_for("redis://localhost")


class Bench:
    """An inbox and everybody who hears from it."""

    def __init__(self) -> None:
        self.link = ScriptedLink()
        self.receiver = Recorder()
        self.counters: Counter[str] = Counter()
        self.answers: list[tuple[Any, ...]] = []
        executor = TwistedExecutor(cast(Any, {"0": self.link}), MemoryWatch("here", "nothing"))
        self.groups = Groups(PLAN, executor, lambda seconds, command: None, lambda: 0.0)
        self.reader = QueueReader(
            self.receiver,
            self.groups,
            lambda *answer: self.answers.append(answer),
            lambda: self.answers.append(("forgotten", ())),
            self.counters,
        )

    def note(self, kind: Any, **values: Any) -> None:
        """Read one control entry."""
        self.reader.read([encode(pack_message({"control": kind, **values}), control=True)])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_reply_goes_to_its_local_part(bench: Bench) -> None:
    bench.reader.read([encode(pack_message({"text": "x"}), channel="hr1.0.p!abc")])
    assert bench.receiver.of("reply") == [("abc", {"text": "x"})]


def test_only_clients_that_are_there_become_members(bench: Bench) -> None:
    bench.receiver.sockets["a"] = "/"
    bench.note(control.ADD, group="g", local="a")
    bench.note(control.ADD, group="g", local="closed")
    assert bench.groups.membership.members("g") == ("a",)
    bench.note(control.GROUP, group="g", packed=pack_message({"text": "x"}))
    assert bench.receiver.of("group") == [("g", ("a",), {"text": "x"})]
    bench.note(control.MEMBERS, group="g", answer="answers?1")
    bench.note(control.MEMBERS, group="g", answer="answers?2", count=True)
    assert bench.answers == [("answers?1", ("a",), False), ("answers?2", ("a",), True)]
    bench.note(control.DISCARD, group="g", local="a")
    assert bench.groups.membership.members("g") == ()


def test_a_message_for_a_group_without_members_raises_suspicion(bench: Bench) -> None:
    bench.note(control.GROUP, group="g", packed=pack_message({"text": "x"}))
    assert bench.counters["group_without_members"] == 1
    assert bench.receiver.heard == []
    assert len(bench.link.sent) == 1


def test_a_group_message_that_is_none_is_counted_and_the_next_is_delivered(bench: Bench) -> None:
    bench.receiver.sockets["a"] = "/"
    bench.note(control.ADD, group="g", local="a")
    bench.note(control.GROUP, group="g", packed=b"\xc1")
    bench.note(control.GROUP, group="g", packed=pack_message({"n": 1}))
    assert bench.counters == {"unreadable": 1}
    assert bench.receiver.of("group") == [("g", ("a",), {"n": 1})]


def test_a_note_that_the_process_is_forgotten_concerns_no_client(bench: Bench) -> None:
    bench.note(control.FORGOTTEN)
    assert bench.answers == [("forgotten", ())]
    assert bench.receiver.heard == []


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (None, {}),
        (7, {}),
        (control.ADD, {}),
        (control.ADD, {"group": "g", "local": 1}),
        (control.GROUP, {"group": "g"}),
        (control.GROUP, {"group": "g", "packed": "text"}),
        (control.MEMBERS, {"group": "g"}),
        (control.MEMBERS, {"group": "g", "answer": "http.request"}),
        (control.MEMBERS, {"group": "g", "answer": "no name?x"}),
        (control.VERDICT, {"ordered": True}),
    ],
)
def test_an_incomplete_note_is_counted_and_changes_nothing(
    bench: Bench, kind: Any, values: dict[str, Any]
) -> None:
    bench.note(kind, **values)
    assert bench.counters == {"unreadable": 1}
    assert bench.receiver.heard == []
    assert bench.groups.membership.groups() == []
