"""Entries of the process queue, good and bad. What arrives over a real Redis is tested with the port."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, cast

import pytest

from headrace_asgi import control
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.envelope import PLAIN, Codec, encode, pack_message
from headrace_asgi.layers.redis.memory_watch import MemoryWatch
from headrace_asgi.layers.redis.twisted.executor import TwistedExecutor
from headrace_asgi.layers.redis.twisted.groups import Groups
from headrace_asgi.layers.redis.twisted.reader import QueueReader
from headrace_asgi.sealing import sealing_codec
from tests.support.interfaces import plan_for
from tests.support.links import ScriptedLink

PLAN, _ = plan_for("redis://localhost")
PROCESS = "hr1.0.5f!"


class Bench:
    """An inbox and everybody who hears from it."""

    def __init__(self, codec: Codec = PLAIN) -> None:
        self.link = ScriptedLink()
        self.receiver = Recorder()
        self.counters: Counter[str] = Counter()
        self.answers: list[tuple[Any, ...]] = []
        executor = TwistedExecutor(cast(Any, {"0": self.link}), MemoryWatch("here", "nothing"))
        self.groups = Groups(PLAN, executor, lambda seconds, command: None, lambda: 0.0)
        self.groups.process = PROCESS
        self.reader = QueueReader(
            self.receiver,
            self.groups,
            lambda *answer: self.answers.append(answer),
            lambda: self.answers.append(("forgotten", ())),
            self.counters,
            codec,
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


def test_what_was_pushed_and_neither_waits_nor_was_read_is_lost_and_told_once(bench: Bench) -> None:
    reply = encode(pack_message({"text": "x"}), channel="hr1.0.p!abc")
    bench.reader.read([reply] * 3)
    assert bench.reader.lost(7, 4) == 0
    bench.reader.read([reply] * 2)
    assert bench.reader.lost(9, 1) == 3
    assert bench.reader.lost(9, 1) == 0


def test_the_note_that_a_process_is_forgotten_was_pushed_nowhere_and_hides_no_loss(bench: Bench) -> None:
    bench.note(control.FORGOTTEN)
    bench.note(control.MEMBERS, group="g", answer="a?b")
    assert bench.reader.lost(2, 0) == 1


def test_nothing_is_lost_where_the_counting_began_anew_or_somebody_emptied_the_queue(bench: Bench) -> None:
    reply = encode(pack_message({"text": "x"}), channel="hr1.0.p!abc")
    bench.reader.read([reply] * 5)
    assert bench.reader.lost(1, 0) == 0
    bench.reader.read([reply])
    assert bench.reader.lost(4, 0) == 2
    bench.reader.flushed()
    assert bench.reader.lost(9, 0) == 0
    assert bench.reader.lost(10, 0) == 1


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


def test_who_would_miss_a_reply_that_only_a_newer_process_can_read_gets_an_error_rt21(bench: Bench) -> None:
    newer = [
        b"\x02" + encode(*args, **options)[1:]  # type: ignore[arg-type]
        for args, options in (
            ((TEXT,), {"channel": PROCESS + "abc"}),
            ((TEXT,), {"channel": "hr1.0.77!other"}),
            ((TEXT,), {}),
            ((pack_message(control.note(control.RUNNING, local="abc")),), {"control": True}),
        )
    ]
    bench.reader.read([*newer, encode(TEXT, channel=PROCESS + "next")])
    note = control.note(control.CLOSE, local="abc", code=1011)
    assert bench.receiver.of("control") == [(control.CLOSE, "abc", note)]
    assert [local for local, _ in bench.receiver.of("reply")] == ["next"]
    assert bench.counters == {"unreadable": 4}


def test_a_message_for_a_group_without_members_raises_suspicion(bench: Bench) -> None:
    bench.note(control.GROUP, group="g", packed=pack_message({"text": "x"}))
    assert bench.counters["group_without_members"] == 1
    assert bench.receiver.heard == []
    assert len(bench.link.sent) == 1


def test_a_message_for_several_groups_is_one_for_whoever_is_in_one_of_them(bench: Bench) -> None:
    bench.receiver.sockets.update(dict.fromkeys("abc", "/"))
    for group, local in (("g", "a"), ("g", "b"), ("h", "b"), ("h", "c")):
        bench.note(control.ADD, group=group, local=local)
    bench.note(control.GROUP, group="g", more=["h", "of nobody"], packed=pack_message({"n": 1}))
    bench.note(control.GROUP, group="of nobody", more=["h"], packed=pack_message({"n": 2}))
    assert bench.receiver.of("group") == [
        ("g", ("a", "b", "c"), {"n": 1}),
        ("of nobody", ("b", "c"), {"n": 2}),
    ]
    bench.note(control.GROUP, group="g", more="h", packed=pack_message({"n": 3}))
    bench.note(control.GROUP, group="g", more=[3], packed=pack_message({"n": 3}))
    assert bench.counters == {"unreadable": 2}
    bench.note(control.GROUP, group="of nobody", more=["nor of them"], packed=pack_message({"n": 4}))
    assert bench.counters["group_without_members"] == 1


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


# With keys


OURS = sealing_codec([b"the key of this process"])
TEXT = pack_message({"text": "x"})


def sealed(codec: Codec = OURS, local: str = "abc", **options: Any) -> bytes:
    return codec.encode(TEXT, channel=PROCESS + local, queue=PROCESS, **options)


def test_sealed_replies_and_notes_are_heard_st13() -> None:
    bench = Bench(OURS)
    bench.receiver.sockets["a"] = "/"
    add = pack_message(control.note(control.ADD, group="g", local="a"))
    group = pack_message(control.note(control.GROUP, group="g", packed=TEXT))
    bench.reader.read(
        [
            sealed(),
            OURS.encode(add, control=True, queue=PROCESS),
            OURS.encode(group, 1, control=True, counted=True, queue=PROCESS),
            control.FORGOTTEN_ENTRY,
        ]
    )
    assert bench.receiver.of("reply") == [("abc", {"text": "x"})]
    assert bench.receiver.of("group") == [("g", ("a",), {"text": "x"})]
    assert bench.answers == [("forgotten", ())]
    assert bench.counters == {}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            sealed(sealing_codec([b"the key of another one"])),
            "another process uses other symmetric_encryption_keys",
        ),
        (sealed()[:-1], "changed or cut short"),
        (sealed().replace(b"!abc", b"!abd"), "cannot be decrypted"),
        (sealed().replace(PROCESS.encode(), b"hr1.0.5e!"), "made for another channel"),
        (OURS.encode(TEXT, channel="hr1.0.5e!abc", queue="hr1.0.5e!"), "made for another channel"),
        (OURS.encode(TEXT, control=True, queue="hr1.0.5e!"), "made for another channel"),
        (PLAIN.encode(TEXT, channel=PROCESS + "abc"), "is not encrypted"),
        (
            PLAIN.encode(pack_message(control.note(control.CLOSE, local="abc", code=1000)), control=True),
            "is not",
        ),
    ],
)
def test_what_was_not_sealed_for_this_process_is_counted_and_the_next_is_heard_st13(
    entry: bytes, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(OURS)
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        bench.reader.read([entry, entry, sealed(local="next")])
    assert bench.counters == {"unreadable": 2}
    assert bench.receiver.heard == [("reply", "next", {"text": "x"})]
    assert len(caplog.records) == 1
    assert text in caplog.text


def test_without_keys_sealed_entries_are_counted_and_the_log_names_the_option_st13(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        bench.reader.read([sealed(), PLAIN.encode(TEXT, channel=PROCESS + "next")])
    assert bench.counters == {"unreadable": 1}
    assert bench.receiver.of("reply") == [("next", {"text": "x"})]
    assert "this layer has no symmetric_encryption_keys" in caplog.text
