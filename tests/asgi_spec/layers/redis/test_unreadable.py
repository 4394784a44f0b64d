"""What something else wrote into Redis: it costs no process and no good message, and none of it is run.

HEADRACE_FULL=1 takes a million entries for each kind of list.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from headrace_asgi import control
from headrace_asgi.contract import Control, Delivery, Finish, Out, Outcome, Send
from headrace_asgi.envelope import encode, pack_message
from headrace_asgi.errors import KeySpoilt, LayerUnavailable
from headrace_asgi.layers.redis.blocking import reader as channel_reader
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.blocking.reaper import Reaper
from headrace_asgi.layers.redis.blocking.worker_port import RedisWorkerPort
from tests.support.interfaces import InterfaceSide, interface_side
from tests.support.reactors import hand_reactor
from tests.support.redis_process import RedisProcess, let_leases_lapse
from tests.support.rubbish import EXECUTED, Rubbish

FULL = bool(os.environ.get("HEADRACE_FULL"))
#: Entries of rubbish in each list, and how many are put there at once.
ENTRIES = 1_000_000 if FULL else 1_000
AT_ONCE = 500
#: Rounds of rubbish in the keys that are no lists.
ROUNDS = 200 if FULL else 4
NEVER = 2**60


class Scene:
    """A layer, a worker's port, and a plain client that writes what it likes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.layer = RedisPlaceLayer([url], capacity=1_000_000)
        self.plan = self.layer.plan
        self.client = redis.Redis.from_url(url.partition("?")[0])
        self.refused: list[tuple[Out, Outcome]] = []
        self.port = RedisWorkerPort(self.layer, lambda item, outcome: self.refused.append((item, outcome)))

    def key(self, kind: str, name: str = "") -> str:
        return self.plan.key("0", kind, name)

    def put(self, key: str, blobs: list[bytes]) -> None:
        self.client.rpush(key, *blobs)

    def process(self) -> RedisProcess:
        return RedisProcess(self.layer)

    def close(self) -> None:
        self.port.close()
        self.layer.close()
        self.client.close()


@pytest.fixture
def scene(redis_url: str) -> Iterator[Scene]:
    made = Scene(redis_url)
    yield made
    made.close()
    assert EXECUTED == []


def good(number: int, channel: str | None = None) -> bytes:
    return encode(pack_message({"good": number}), NEVER, channel=channel)


def mixed(rubbish: Rubbish, start: int, channel: str | None = None) -> tuple[list[bytes], list[int]]:
    """One portion of rubbish with good messages in it, and what those say."""
    blobs: list[bytes] = []
    numbers = []
    for number, blob in enumerate(rubbish.blobs(AT_ONCE), start):
        blobs.append(blob)
        if number % 10 == 9:
            blobs.append(good(number, channel))
            numbers.append(number)
    return blobs, numbers


# Lists


@pytest.mark.seeds(1)
def test_a_worker_takes_good_messages_among_rubbish_and_counts_the_rest_st12(scene: Scene, seed: int) -> None:
    channels = ["websocket.receive", "test"]
    rubbish = Rubbish(seed)
    delivered = 0
    for start in range(0, ENTRIES, AT_ONCE):
        blobs, numbers = mixed(rubbish, start)
        scene.put(scene.key("c", channels[start // AT_ONCE % 2]), blobs)
        taken = all_taken(scene, channels)
        assert [one.message["good"] for one in taken if "good" in one.message] == numbers
        delivered += len(taken)
        put_back(scene, [one for one in taken if "good" not in one.message][:3], channels)
    counted = scene.port.counters
    total = {
        what: sum(count for name, count in counted.items() if name.endswith(what))
        for what in ("|taken", "|unreadable", "|expired")
    }
    assert total["|unreadable"] > ENTRIES // 2
    assert total["|taken"] - total["|unreadable"] - total["|expired"] >= delivered
    assert set(counted) <= {f"{channel}{what}" for channel in channels for what in total}
    scene.layer.send("test", {"last": True})
    assert [one.message for one in all_taken(scene, channels)] == [{"last": True}]


def all_taken(scene: Scene, channels: list[str]) -> list[Delivery]:
    taken: list[Delivery] = []
    while any(scene.client.exists(scene.key("c", channel)) for channel in channels):
        taken += scene.port.turn([], channels, 100, 0)
    return taken


def put_back(scene: Scene, odd: list[Delivery], channels: list[str]) -> None:
    """Whatever passed for a message can be asked for, renewed, given back and requeued like any other."""
    for one in odd:
        scene.port.may_start(one, time.monotonic() + 100)
        scene.port.renew(one)
        scene.port.requeue(one)
    scene.port.give_back(odd)
    again = all_taken(scene, channels)
    assert len(again) <= 2 * len(odd)


@pytest.mark.seeds(1)
@pytest.mark.parametrize(
    ("queue", "channel"), [("test", None), ("test.single?x", None), ("test.process!", "test.process!me")]
)
def test_a_receiver_gets_the_good_messages_among_rubbish(
    scene: Scene, queue: str, channel: str | None, seed: int
) -> None:
    rubbish = Rubbish(seed)
    for start in range(0, ENTRIES, AT_ONCE):
        blobs, numbers = mixed(rubbish, start, channel)
        scene.put(scene.key("c", queue), blobs)
        received: list[tuple[str, dict[str, Any]]] = []
        while scene.client.exists(scene.key("c", queue)):
            received += scene.layer.receive_many([queue], 100)
        assert [message["good"] for _, message in received if "good" in message] == numbers
        assert {name for name, message in received if "good" in message} == {channel or queue}


@pytest.mark.seeds(1)
def test_an_interface_server_hears_the_good_replies_among_rubbish_st12(
    scene: Scene, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    with hand_reactor() as reactor, interface_side(reactor, scene.url) as side:
        rubbish = Rubbish(seed, side.port.process)
        side.receiver.sockets["a"] = "/"
        heard = 0
        for start in range(0, ENTRIES, AT_ONCE):
            blobs, numbers = mixed(rubbish, start, f"{side.port.process}good")
            scene.put(side.key("q", side.port.process), blobs)
            reactor.until(lambda: not scene.client.exists(side.key("q", side.port.process)))
            reactor.until(lambda: good_replies(side)[-1:] == [start + AT_ONCE - 1])  # noqa: B023 - called now
            assert good_replies(side) == numbers
            heard += len(side.receiver.heard)
            side.receiver.heard.clear()
        assert side.port.counters["failed"] == 0
        assert side.port.counters["unreadable"] > ENTRIES // 4
        assert heard >= ENTRIES // 10
        assert scene.layer.send_many([(f"{side.port.process}good", {"good": -1})]) == [Outcome.SENT]
        reactor.until(lambda: good_replies(side) == [-1])
        assert len(caplog.records) < 10


def good_replies(side: InterfaceSide) -> list[int]:
    return [message["good"] for local, message in side.receiver.of("reply") if local == "good"]


@pytest.mark.seeds(1)
@pytest.mark.parametrize("drain", [False, True], ids=["in order", "drained"])
def test_a_mailbox_gives_out_the_good_frames_among_rubbish(scene: Scene, seed: int, drain: bool) -> None:
    process, rubbish = scene.process(), Rubbish(seed)
    channels = ["websocket.connect", "websocket.receive", "websocket.disconnect"]
    for round_ in range(ROUNDS):
        local, socket = f"s{round_}", f"{process.process}s{round_}"
        message = {"reply_channel": socket, "path": "/", "mine": 0}
        assert process.connect(local, "/", message) is Outcome.SENT
        for order in (1, 2, 3):
            # Such as a number of no list, and nothing at all.
            scene.put(scene.key("m", socket), [*rubbish.blobs(20), b"", b"\x00" * 40, b"\x09" * 40])
            assert process.frame(local, {**message, "mine": order}, order) is Outcome.BOXED
        given_out: list[Any] = []
        finishes: list[Out] = []
        for _ in range(1000):
            if given_out[-1:] == [3]:
                break
            taken = scene.port.turn(finishes, channels, 100, 0)
            given_out += [one.message["mine"] for one in taken if "mine" in one.message]
            finishes = [Finish(socket, one.order, one.place, drain) for one in taken if one.order is not None]
            if not taken and not scene.client.exists(*lists(scene, channels)):
                # What only looked like an ordered message holds its socket up until its lease has lapsed.
                let_leases_lapse(scene.layer)
                scene.layer.ask(scene.plan.kick(socket, "0", told=True))
        assert given_out == [0, 1, 2, 3]
    assert scene.refused == []


def lists(scene: Scene, channels: list[str]) -> list[str]:
    return [scene.key("c", channel) for channel in channels]


# Everything else that a process reads


@pytest.mark.seeds(2)
def test_rubbish_in_tables_and_slots_stops_no_process(scene: Scene, seed: int) -> None:
    rubbish = Rubbish(seed)
    with hand_reactor() as reactor, interface_side(reactor, scene.url) as side:
        side.connect("a")
        for _ in range(ROUNDS):
            fill_with_rubbish(scene, rubbish, side)
            exercise(scene, side)
            side.port._registration.beat()
            side.port._groups.remove_stale_members()
            side.port.beaten()
            reactor.turn(0.05)
        assert side.port._registration.is_here
        scene.layer.send(f"{side.port.process}a", {"text": "still here"})
        reactor.until(lambda: ("a", {"text": "still here"}) in side.receiver.of("reply"))
        scene.layer.send("test", {"good": 1})
        assert {"good": 1} in [one.message for one in all_taken(scene, ["test"])]


def fill_with_rubbish(scene: Scene, rubbish: Rubbish, side: InterfaceSide) -> None:
    """Fields, members and values that none of us would write; what is ours stays, and so do the types."""
    client, process = scene.client, side.port.process
    score = rubbish.random.random() * 1e13
    for kind, name in (
        ("procs", ""), ("dead", ""), ("s", process), ("f", process), ("g", "group"), ("n", ""), ("beat", ""),
    ):  # fmt: skip
        client.hset(scene.key(kind, name), mapping={rubbish.blob(): rubbish.blob() for _ in range(5)})
    client.hset(scene.key("beat"), process, rubbish.blob())
    client.hset(scene.key("g", "group"), process, rubbish.blob())
    client.hset(scene.key("n"), mapping={"test|sent": rubbish.blob(), "websocket.receive|sent": b"no"})
    client.sadd(scene.key("gq", process), *rubbish.blobs(5))
    for kind, name in (("w", ""), ("takers", ""), ("gp", "group")):
        client.zadd(scene.key(kind, name), {rubbish.blob(): score for _ in range(5)})
    client.set(scene.key("o", f"{process}a"), rubbish.blob())
    client.set(scene.key("flushes"), rubbish.blob())
    client.set(scene.key("reaper"), rubbish.blob())


def exercise(scene: Scene, side: InterfaceSide) -> None:
    """Use all that is written there; what cannot be done says so in the one way that callers expect."""
    layer, process = scene.layer, side.port.process
    for act in (
        lambda: layer.send_group("group", {"text": "x"}),
        lambda: layer.group_add("group", f"{process}a"),
        lambda: layer.group_discard("group", f"{process}a"),
        lambda: layer.group_add("group", "test.member"),
        lambda: layer.announce(["test"]),
        lambda: layer.statistics("test"),
        lambda: layer.send("test", {"text": "x"}),
        layer.reap,
        lambda: side.frame("a", 1),
        lambda: side.frame("a", 2, ordered=True),
    ):
        with contextlib.suppress(LayerUnavailable):
            act()
    finish: list[Out] = [Finish(f"{process}a", 1, "0"), Send(f"{process}a", pack_message({"text": "x"}))]
    scene.port.turn(finish, ["test"], 10, 0)


@pytest.mark.seeds(2)
def test_the_dead_are_found_among_rubbish_and_their_disconnects_told_st12(scene: Scene, seed: int) -> None:
    rubbish, now = Rubbish(seed), [100.0]
    for _ in range(ROUNDS):
        process = scene.process()
        reaper = Reaper(scene.plan, scene.layer, lambda: now[0])
        scene.client.delete(scene.key("reaper"))
        for local in ("one", "two"):
            process.connect(local, f"/{local}", {"reply_channel": process.process + local, "path": "/"})
        scene.layer.receive_many(["websocket.connect"], 100)
        for table, name in (("beat", ""), ("dead", ""), ("procs", ""), ("s", process.process)):
            key = scene.key(table, name)
            scene.client.hset(key, mapping={rubbish.blob(): rubbish.blob() for _ in range(5)})
        scene.client.sadd(scene.key("gq", process.process), *rubbish.blobs(5))
        scene.client.hset(scene.key("beat"), process.process, rubbish.blob())
        for _ in range(6):
            now[0] += 5
            reaper.look()
        told = scene.layer.receive_many(["websocket.disconnect"], 100)
        # A single letter among the rubbish may pass for a socket.
        paths = [message["path"] for _, message in told if message["reply_channel"].endswith(("one", "two"))]
        assert sorted(paths) == ["/one", "/two"]
        assert not scene.client.exists(scene.key("s", process.process), scene.key("gq", process.process))


# Keys of another type


def spoil(scene: Scene, key: str, value: str = "mine now") -> None:
    scene.client.delete(key)
    scene.client.set(key, value)


def test_a_channel_whose_key_is_no_list_is_named_and_keeps_nobody_from_the_others(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(scene, scene.key("c", "test.spoilt"))
    scene.layer.send("test.good", {"n": 1})
    channels = ["test.spoilt", "test.good"]
    connection = scene.port._connection
    reply = Send("test.answers?1", pack_message({"n": 0}))
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        taken = scene.port.turn([reply], channels, 1, 1)
    assert [one.message for one in taken] == [{"n": 1}]
    assert scene.layer.receive(["test.answers?1"])[1] == {"n": 0}
    assert scene.layer.receive(["test.answers?1"])[1] is None
    assert scene.key("c", "test.spoilt") in caplog.text
    assert "holds a string" in caplog.text
    assert scene.port._connection is connection
    assert connection.is_open
    scene.layer.send("test.good", {"n": 2})
    assert [one.message for one in scene.port.turn([], channels, 1, 0)] == [{"n": 2}]
    assert len(caplog.records) == 1


def test_a_channel_is_taken_from_again_when_its_key_was_deleted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_reader, "LEFT_OUT_SECONDS", 0.2)
    spoil(scene, scene.key("c", "test.spoilt"))
    channels = ["test.spoilt", "test.good"]
    assert scene.port.turn([], channels, 1, 0) == []
    scene.client.delete(scene.key("c", "test.spoilt"))
    scene.layer.send("test.spoilt", {"n": 1})
    assert scene.port.turn([], channels, 1, 0) == []
    time.sleep(0.2)
    assert [one.message for one in scene.port.turn([], channels, 1, 0)] == [{"n": 1}]


def test_a_worker_with_nothing_but_spoilt_channels_is_told_which(scene: Scene) -> None:
    spoil(scene, scene.key("c", "test.spoilt"))
    with pytest.raises(KeySpoilt, match=r"delete it: hr1:.*c:test\.spoilt"):
        scene.port.turn([], ["test.spoilt"], 1, 0.1)
    # What was said with the take is not said again.
    out: list[Out] = [Send("test.answers?1", pack_message({"n": 0}))]
    assert scene.port.turn(out, ["test.spoilt"], 1, 0.1) == []
    assert len(scene.layer.receive_many(["test.answers?1"], 5)) == 1


def test_receive_and_send_say_which_key_is_spoilt_and_receive_takes_from_the_others(scene: Scene) -> None:
    spoil(scene, scene.key("c", "test.spoilt"))
    with pytest.raises(KeySpoilt, match=r"c:test\.spoilt"):
        scene.layer.receive(["test.spoilt"])
    with pytest.raises(KeySpoilt, match=r"c:test\.spoilt"):
        scene.layer.send("test.spoilt", {})
    assert scene.layer.send_many([("test.spoilt", {}), ("test.good", {"n": 1})]) == [
        Outcome.UNAVAILABLE,
        Outcome.SENT,
    ]
    assert scene.layer.receive_many(["test.spoilt", "test.good"], 5, 1) == [("test.good", {"n": 1})]


def test_spoilt_keys_of_one_socket_stop_no_turn_and_are_named_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    process = scene.process()
    for kind in ("o", "m"):
        scene.client.rpush(scene.key(kind, f"{process.process}bad"), "x")
    spoil(scene, scene.key("m", f"{process.process}bad"))
    out: list[Out] = [
        Finish(f"{process.process}bad", 1, "0"),
        Send(f"{process.process}a", pack_message({"text": "x"})),
    ]
    scene.layer.send_many([("test", {"n": number}) for number in range(3)])
    taken = [one.message["n"] for _ in range(3) for one in scene.port.turn(list(out), ["test"], 1, 0)]
    assert taken == [0, 1, 2]
    assert scene.refused == [(out[0], Outcome.UNAVAILABLE)] * 3
    assert [one.local for one in process.heard()] == ["a"] * 3
    assert caplog.text.count("refused finish: WRONGTYPE") == 1


def test_a_spoilt_socket_costs_those_finished_in_the_same_turn_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    process = scene.process()
    names = [f"{process.process}{local}" for local in ("good", "bad", "late")]
    for name in names:
        process.connect(name[-4:], "/", {"reply_channel": name, "path": "/"})
    scene.client.set(scene.key("o", names[0]), 0)
    scene.client.delete(scene.key("o", names[1]))
    scene.client.rpush(scene.key("o", names[1]), "x")
    out: list[Out] = [Finish(name, 0, "0") for name in names]
    scene.client.set(scene.key("o", names[2]), 5)
    scene.port.turn(out, [], 1, 0)
    assert scene.refused == [(out[1], Outcome.UNAVAILABLE), (out[2], Outcome.STALE)]
    assert caplog.text.count("refused finish: WRONGTYPE") == 1
    assert scene.client.get(scene.key("o", names[0])) != b"0"


def test_a_spoilt_socket_costs_those_that_speak_in_the_same_turn_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    with hand_reactor() as reactor, interface_side(reactor, scene.url) as side:
        for local in ("a", "b", "c"):
            assert side.connect(local) is Outcome.SENT
        scene.client.delete(side.key("o", f"{side.port.process}b"))
        scene.client.rpush(side.key("o", f"{side.port.process}b"), "x")
        outcomes: dict[str, list[Outcome]] = {local: [] for local in "abc"}
        for local, told in outcomes.items():
            message = {"reply_channel": side.port.process + local, "path": "/", "text": "x"}
            side.port.frame(local, message, 1, True, told.append)
        reactor.until(lambda: all(outcomes.values()))
    assert outcomes == {"a": [Outcome.BOXED], "b": [Outcome.UNAVAILABLE], "c": [Outcome.BOXED]}
    assert "frames_ordered: WRONGTYPE" in caplog.text


def test_what_is_owed_for_a_spoilt_socket_is_not_tried_for_ever(scene: Scene) -> None:
    scene.client.rpush(scene.key("o", "hr1.0.feed!a"), "x")
    expired = encode(pack_message({"reply_channel": "hr1.0.feed!a"}), 1, order=7)
    scene.put(scene.key("c", "test"), [expired])
    assert scene.port.turn([], ["test"], 1, 0) == []
    assert [command.name for command in scene.port._owed] == ["push", "finish"]
    scene.port.turn([], ["test"], 1, 0)
    assert scene.port._owed == []


def test_an_interface_server_removes_what_stands_where_its_queue_should_be(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    with hand_reactor() as reactor, interface_side(reactor, scene.url) as side:
        queue = side.key("q", side.port.process)
        scene.client.set(queue, "mine now")
        side.port._take_link.drop(LayerUnavailable("so that it takes anew"))
        reactor.until(lambda: not scene.client.exists(queue))
        reactor.until(lambda: scene.layer.send_many([(f"{side.port.process}a", {"n": 1})]) == [Outcome.SENT])
        reactor.until(lambda: side.receiver.of("reply") == [("a", {"n": 1})])


def test_spoilt_tables_keep_the_heart_beating_and_the_dead_are_cleaned_up(scene: Scene) -> None:
    now = [100.0]
    reaper = Reaper(scene.plan, scene.layer, lambda: now[0])
    broken, fine = scene.process(), scene.process()
    fine.connect("a", "/a", {"reply_channel": f"{fine.process}a", "path": "/a"})
    assert len(scene.layer.receive_many(["websocket.connect"], 10)) == 1
    for table, name in (("takers", ""), ("s", broken.process), ("gq", broken.process), ("q", broken.process)):
        spoil(scene, scene.key(table, name))
    for table in ("flushes", "reaper"):
        scene.client.delete(scene.key(table))
        scene.client.rpush(scene.key(table), "x")
    assert fine.taken_channels == frozenset()
    scene.layer.announce(["test"])
    assert fine.taken_channels == {"test"}
    for _ in range(6):
        now[0] += 5
        reaper.look()
    told = scene.layer.receive_many(["websocket.disconnect"], 10)
    assert [message["path"] for _, message in told] == ["/a"]
    names = [process.process for process in (broken, fine)]
    assert not scene.client.exists(*(scene.key(table, name) for name in names for table in ("s", "gq", "q")))
    assert not scene.client.exists(scene.key("dead"))


def test_a_spoilt_table_of_processes_is_told_to_who_looks_for_the_dead(scene: Scene) -> None:
    spoil(scene, scene.key("beat"))
    with pytest.raises(KeySpoilt, match=r"hr1:.*:beat"):
        scene.layer.reap()


def test_a_counter_that_is_no_number_costs_no_message_and_counts_anew(scene: Scene) -> None:
    scene.client.hset(scene.key("n"), "test|sent", "many")
    scene.layer.send("test", {"n": 1})
    assert scene.layer.statistics("test")["sent"] == 1
    assert scene.layer.receive_many(["test"], 5) == [("test", {"n": 1})]
    spoil(scene, scene.key("n"))
    scene.layer.send("test", {"n": 2})
    assert scene.layer.receive_many(["test"], 5) == [("test", {"n": 2})]


def test_nothing_but_the_members_is_read_from_the_answers_to_who_is_in_a_group(scene: Scene) -> None:
    process = scene.process()
    scene.layer.group_add("group", f"{process.process}a")
    process.heard()
    queue = scene.layer.new_channel("headrace.members?")
    scene.layer.new_channel = lambda pattern: queue  # type: ignore[method-assign]
    for members in (7, ["te st", f"{process.process}a", 1]):
        scene.put(scene.key("c", queue), [encode(pack_message({"members": members}), NEVER)])
    started = time.monotonic()
    assert set(scene.layer.group_channels("group")) <= {f"{process.process}a"}
    assert time.monotonic() - started < 4


def test_a_note_in_a_turn_for_a_name_that_nobody_can_have_costs_no_other(scene: Scene) -> None:
    process = scene.process()
    note = Control("hr1..x.feed!a", control.note(control.RUNNING, local="a"))
    scene.port.turn([note, Send(f"{process.process}a", pack_message({"n": 1}))], [], 1, 0)
    assert [one.local for one in process.heard()] == ["a"]


# Values that something else wrote


@pytest.mark.parametrize("several", [False, True])
def test_the_number_of_one_socket_that_is_none_costs_no_frame_of_another(scene: Scene, several: bool) -> None:
    process = scene.process()
    for local in ("bad", "good"):
        assert process.connect(local, "/", {"path": "/"}) is Outcome.SENT
    scene.client.hset(scene.key("f", process.process), "bad", b"many")
    entry = encode(pack_message({"text": "x"}), NEVER)
    bad, good = ("bad", 1, entry), ("good", 1, entry)
    if several:
        outcomes = scene.layer.ask(scene.plan.frames("0", process.process, (*bad, *good))).outcomes
    else:
        outcomes = [process.frame(local, {"text": "x"}, 1, ordered=False) for local in ("bad", "good")]
    assert outcomes == [Outcome.GONE, Outcome.SENT]
    assert process.frame("bad", {"text": "x"}, 2) is Outcome.GONE


def test_a_count_that_is_none_names_its_keys(scene: Scene) -> None:
    process = scene.process()
    scene.client.hset(scene.key("g", "group"), process.process, b"many")
    with pytest.raises(KeySpoilt, match=r"not an integer.*delete it: .*:g:group"):
        scene.layer.group_add("group", f"{process.process}a")


@pytest.fixture
def keeping(redis_url: str) -> Iterator[Scene]:
    """A scene whose layer has an acknowledged channel."""
    made = Scene(redis_url)
    made.layer.close()
    made.layer = RedisPlaceLayer([redis_url], acknowledged=["kept"], acknowledged_attempts=1)
    made.plan = made.layer.plan
    yield made
    made.close()


def test_a_number_of_tries_that_is_none_counts_anew_and_costs_no_message(keeping: Scene) -> None:
    layer = keeping.layer
    for number in range(3):
        layer.send("kept", {"n": number})
    message_id = keeping.client.lindex(keeping.key("r", "kept"), 1)
    keeping.client.hset(keeping.key("tries"), message_id, b"many")
    assert [message["n"] for _, message in layer.receive_many(["kept"], 3)] == [0, 1, 2]
    assert keeping.client.hlen(keeping.key("body")) == 0


def test_what_waits_acknowledged_and_is_no_entry_is_counted_and_removed(keeping: Scene) -> None:
    layer = keeping.layer
    for number in range(4):
        layer.send("kept", {"n": number})
    first, second, third, _ = keeping.client.lrange(keeping.key("r", "kept"), 0, -1)
    body = keeping.key("body")
    keeping.client.hset(body, mapping={first: b"", second: b"kept short"})
    keeping.client.hdel(body, third)
    assert layer.receive_many(["kept"], 4) == [("kept", {"n": 3})]
    assert keeping.client.hget(keeping.key("n"), "kept|unreadable") == b"3"
    assert keeping.client.hlen(body) == 0


def test_what_is_due_and_no_entry_is_counted_removed_and_costs_no_other(keeping: Scene) -> None:
    values = [b"test", b"", b" ", b" x", b"a\xffb x", b"hr1.0.xyz! x", b"a b c", b"x" * 300 + b" x"]
    names = [f"0.bad{number}" for number in range(len(values))]
    keeping.client.hset(keeping.key("body"), mapping=dict(zip(names, values, strict=True)))
    for kind in ("d", "a", "?"):
        keeping.client.zadd(keeping.key("due"), {kind + name: 1 for name in names})
    keeping.client.zadd(keeping.key("due"), {b"": 1, b"d": 1, b"\xff": 1, b"dnone": 1})
    keeping.layer.send_later("test", {"n": 1}, delay=0)
    assert keeping.layer.move_due() > 0
    assert keeping.layer.receive_many(["test"]) == [("test", {"n": 1})]
    assert not keeping.client.exists(keeping.key("due"), keeping.key("body"))
    counted = keeping.client.hget(keeping.key("n"), "headrace.due|unreadable")
    assert counted is not None
    assert int(counted) >= len(values)
    left = {key.decode().rpartition("}:")[2] for key in keeping.client.scan_iter(keeping.key("c", "*"))}
    assert left <= {"c:headrace.due", "c:a"}


def test_dead_letters_over_which_something_else_wrote_are_listed_replayed_and_dropped(keeping: Scene) -> None:
    layer = keeping.layer
    ids = [b"0.none", b"0.short", b"0.entry", b"\xff"]
    keeping.client.rpush(keeping.key("x", "kept"), *ids)
    keeping.client.hset(keeping.key("body"), mapping={b"0.short": b"kept", b"0.entry": b"kept \xff"})
    keeping.client.hset(keeping.key("tries"), mapping=dict.fromkeys(ids, b"many"))
    keeping.client.hset(keeping.key("why"), mapping=dict.fromkeys(ids, b"\xff"))
    letters = layer.dead_letters("kept")
    assert [(letter.message, letter.attempts) for letter in letters] == [({}, 0)] * 4
    assert layer.replay("kept", [letters[1].id]) == 1
    assert layer.drop_dead_letters("kept") == 3
    assert layer.receive_many(["kept"], 5) == []
