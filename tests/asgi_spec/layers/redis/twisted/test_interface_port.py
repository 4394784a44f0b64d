"""The interface port against a real server: what is sent, heard, and survives."""

from __future__ import annotations

import logging
import time
import unittest
from collections.abc import Iterator
from typing import Any

import pytest

from headrace_asgi import control
from headrace_asgi.backoff import Backoff
from headrace_asgi.conformance.interface_port import InterfacePortConformance
from headrace_asgi.conformance.receiver import Recorder
from headrace_asgi.contract import InterfacePort, Outcome, Send
from headrace_asgi.envelope import decode, encode, pack_message, unpack_message
from headrace_asgi.errors import LayerUnavailable
from headrace_asgi.layers.redis.blocking.layer import RedisPlaceLayer
from headrace_asgi.layers.redis.memory_watch import OVER_SECONDS
from headrace_asgi.layers.redis.plan.membership import LEAVE_DELAY_SECONDS
from headrace_asgi.layers.redis.twisted.interface_port import TAKE_LIMIT
from headrace_asgi.layers.redis.twisted.registration import BEAT_SECONDS
from tests.support.conformance import AsTheLeastUser, OnCluster, OnRedis, OnValkey, OverSentinel
from tests.support.interfaces import InterfaceSide, interface_side
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.services import RedisServer


class RedisConformance(InterfacePortConformance):
    capacity_limit = 5
    expiry_delay = 1.1
    options: dict[str, Any] = {}
    url: str
    reactor: HandReactor
    channel_layer: RedisPlaceLayer

    def setUp(self) -> None:
        self.reactor = self.enterContext(hand_reactor())
        self.ports: list[Any] = []
        self.channel_layer = RedisPlaceLayer([self.url], expiry=1, capacity=5, **self.options)
        self.addCleanup(self.channel_layer.close)
        super().setUp()

    def turn_reactor(self) -> None:
        self.reactor.iterate(0.005)

    def open_port(self, receiver: Recorder) -> InterfacePort:
        port = super().open_port(receiver)
        self.ports.append(port)
        return port

    def lose_layer(self) -> None:
        for port in self.ports:
            for link in (*port._links.values(), port._take_link):
                link.drop("a test's own outage")  # and tries again at once


class TestOnValkey(OnValkey, RedisConformance, unittest.TestCase):
    pass


class TestOnRedis(OnRedis, RedisConformance, unittest.TestCase):
    pass


class TestEncrypted(OnValkey, RedisConformance, unittest.TestCase):
    options = {"symmetric_encryption_keys": ["the key of the conformance tests"]}


class TestAsTheLeastUser(AsTheLeastUser, RedisConformance, unittest.TestCase):
    pass


class TestOnCluster(OnCluster, RedisConformance, unittest.TestCase):
    pass


class TestOverSentinel(OverSentinel, RedisConformance, unittest.TestCase):
    pass


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as reactor:
        yield reactor


@pytest.fixture
def side(reactor: HandReactor, redis_url: str) -> Iterator[InterfaceSide]:
    with interface_side(reactor, redis_url) as side:
        yield side


@pytest.fixture
def private_side(reactor: HandReactor, private_redis_server: RedisServer) -> Iterator[InterfaceSide]:
    with interface_side(reactor, private_redis_server.url) as side:
        yield side


def push(side: InterfaceSide, local: str, message: dict[str, Any]) -> list[Outcome]:
    """Reply as a worker does."""
    channel = side.port.process + local
    entry = encode(pack_message(message), channel=channel)
    outcomes: list[Outcome] = side.ask(side.plan.push(side.port.process, [entry], [False]))
    return outcomes


def note(side: InterfaceSide, kind: str, **values: Any) -> None:
    """Send a control entry as a worker does."""
    entry = encode(pack_message(control.note(kind, **values)), control=True)
    assert side.ask(side.plan.push(side.port.process, [entry], [True])) == [Outcome.SENT]


def group_add(side: InterfaceSide, group: str, local: str) -> None:
    """Make a client a member as a worker does."""
    assert side.ask(side.plan.group_add(group, side.port.process)) >= 1
    note(side, control.ADD, group=group, local=local)


def beat(side: InterfaceSide) -> None:
    """Beat now instead of in some seconds."""
    side.port._registration.beat()


# Sending


def test_a_connect_registers_the_socket_and_holds_its_order_slot(side: InterfaceSide) -> None:
    assert side.connect("a", "/chat") is Outcome.SENT
    [raw] = side.channel("websocket.connect")
    entry = decode(raw)
    assert entry.order == 0
    assert unpack_message(entry.payload) == {"reply_channel": side.port.process + "a", "path": "/chat"}
    assert side.client.hgetall(side.key("s", side.port.process)) == {b"a": b"/chat"}
    assert side.client.hgetall(side.key("f", side.port.process)) == {b"a": b"0"}
    assert side.client.get(side.key("o", side.port.process + "a")) == b"0"
    now_ms = side.ask(side.plan.time("0"))
    assert 5_000 < entry.expiry_ms - now_ms <= 10_000


def test_a_full_channel_refuses_a_connect(reactor: HandReactor, redis_url: str) -> None:
    with interface_side(reactor, redis_url, capacity=1) as side:
        assert side.connect("a") is Outcome.SENT
        assert side.connect("b") is Outcome.FULL
        assert side.client.hkeys(side.key("s", side.port.process)) == [b"a"]


def test_frames_of_an_ordered_socket_wait_in_its_mailbox(side: InterfaceSide) -> None:
    side.connect("a")
    assert side.frame("a", 1, ordered=True) is Outcome.BOXED
    assert side.outcome(side.disconnect("a")) is Outcome.BOXED
    assert side.client.llen(side.key("m", side.port.process + "a")) == 2
    assert side.channel("websocket.receive") == []


def test_frames_of_plain_sockets_of_one_turn_travel_in_one_command(side: InterfaceSide) -> None:
    for local in "abc":
        side.connect(local)
    before = side.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    outcomes: list[Outcome] = []
    for order in range(1, 11):
        for local in "abc":
            side.port.frame(local, {"text": f"{local}{order}"}, order, False, outcomes.append)
    assert outcomes == []
    side.outcome(outcomes, 30)
    assert set(outcomes) == {Outcome.SENT}
    assert side.client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    texts = [unpack_message(decode(raw).payload)["text"] for raw in side.channel("websocket.receive")]
    assert texts == [f"{local}{order}" for order in range(1, 11) for local in "abc"]
    assert decode(side.channel("websocket.receive")[0]).order is None


def test_sends_of_one_turn_to_one_channel_travel_in_one_command(side: InterfaceSide) -> None:
    before = side.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    outcomes: list[Outcome] = []
    for number in range(120):
        side.port.send("http.request", {"n": number}, 30, outcomes.append)
    side.outcome(outcomes, 120)
    assert outcomes == [Outcome.SENT] * 100 + [Outcome.FULL] * 20
    assert side.client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    assert [unpack_message(decode(raw).payload)["n"] for raw in side.channel("http.request")] == list(
        range(100)
    )


def test_frames_of_a_turn_come_before_the_disconnect_of_that_turn(side: InterfaceSide) -> None:
    side.connect("a")
    side.ask(side.plan.finish(side.port.process + "a", 0, "0", drain=True))
    outcomes: list[Outcome] = []
    side.port.frame("a", {"text": "last words"}, 1, False, outcomes.append)
    told = side.disconnect("a", 2)
    side.outcome(told)
    assert outcomes == [Outcome.SENT]
    assert told == [Outcome.SENT]


def test_ordered_frames_of_a_turn_go_in_one_command_before_the_plain_ones(side: InterfaceSide) -> None:
    for local in ("a", "b"):
        side.connect(local)
        side.ask(side.plan.finish(side.port.process + local, 0, "0"))
    before = side.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    outcomes: list[Outcome] = []
    # In the middle of a turn the worker's verdict came: b is not ordered.
    for local, order, ordered in (("a", 1, True), ("b", 1, True), ("a", 2, True), ("b", 2, False)):
        side.port.frame(local, {"text": f"{local}{order}"}, order, ordered, outcomes.append)
    side.outcome(outcomes, 4)
    assert outcomes == [Outcome.SENT, Outcome.SENT, Outcome.BOXED, Outcome.SENT]
    assert side.client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 2
    sent = [unpack_message(decode(raw).payload)["text"] for raw in side.channel("websocket.receive")]
    assert sent == ["a1", "b1", "b2"]


def break_take(side: InterfaceSide, pushed: int, stolen: int) -> None:
    """Redis gives what is stolen to a connection that is broken by then: here somebody else takes it."""
    heard = len(side.receiver.of("reply"))
    side.port._take_link._backoff = Backoff(0.3, 0.3, lambda: 1.0)
    side.port._take_link.drop(LayerUnavailable("by the test"))
    side.reactor.until(lambda: side.client.info("clients")["blocked_clients"] == 0)
    for number in range(pushed):
        push(side, "a", {"n": number})
    side.client.lpop(side.key("q", side.port.process), stolen)
    side.reactor.until(lambda: len(side.receiver.of("reply")) == heard + pushed - stolen)


def test_how_much_was_lost_with_a_broken_connection_is_known_to_the_last_entry(side: InterfaceSide) -> None:
    break_take(side, pushed=3, stolen=0)
    assert side.receiver.of("entries lost") == []
    break_take(side, pushed=5, stolen=2)
    break_take(side, pushed=1, stolen=0)
    assert side.receiver.of("entries lost") == [(2,)]
    assert side.port.counters["entries_lost"] == 2


def test_losses_are_known_where_redis_began_to_count_anew(side: InterfaceSide) -> None:
    break_take(side, pushed=5, stolen=0)
    side.client.delete(side.key("up", side.port.process))
    beat(side)
    side.reactor.until(lambda: side.port._reader.compares)
    push(side, "a", {"n": 9})
    side.reactor.until(lambda: side.port._reader.read_count == 1)
    break_take(side, pushed=4, stolen=3)
    assert side.receiver.of("entries lost") == [(3,)]


def test_what_somebody_flushed_on_purpose_is_not_lost(side: InterfaceSide) -> None:
    side.ask(side.plan.flushed())
    beat(side)
    break_take(side, pushed=5, stolen=2)
    assert side.receiver.of("entries lost") == []
    break_take(side, pushed=5, stolen=3)
    assert side.receiver.of("entries lost") == [(3,)]


def test_a_disconnect_is_told_once_and_never_expires(side: InterfaceSide) -> None:
    side.connect("a")
    side.ask(side.plan.finish(side.port.process + "a", 0, "0"))
    assert side.outcome(side.disconnect("a", 1)) is Outcome.SENT
    side.receiver.sockets["a"] = "/chat"
    assert side.outcome(side.disconnect("a", 1)) is Outcome.TOLD
    [raw] = side.channel("websocket.disconnect")
    assert (decode(raw).order, decode(raw).expiry_ms) == (1, 0)


def test_a_forgotten_socket_is_owed_no_disconnect_s8(side: InterfaceSide) -> None:
    side.connect("a")
    del side.receiver.sockets["a"]
    side.port.forget("a")
    side.reactor.until(lambda: not side.client.exists(side.key("s", side.port.process)))
    assert side.channel("websocket.disconnect") == []


def test_a_frame_of_a_socket_that_somebody_told_is_gone(side: InterfaceSide) -> None:
    side.connect("a")
    side.ask(side.plan.disconnect(side.port.process + "a", 9, encode(pack_message({}), order=9)))
    assert side.frame("a", 1) is Outcome.GONE
    assert side.frame("a", 2, ordered=True) is Outcome.GONE


def test_a_message_that_is_too_large_is_refused_and_logged(
    side: InterfaceSide, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Outcome] = []
    with caplog.at_level(logging.ERROR, "headrace.layer"):
        side.port.send("http.request", {"body": b"x" * 3_000_000}, 30, outcomes.append)
        assert side.outcome(outcomes) is Outcome.UNSENDABLE
    assert "over the limit" in caplog.text


def test_redis_out_of_memory_sheds_messages_but_not_disconnects_and_says_so_once(
    private_side: InterfaceSide, caplog: pytest.LogCaptureFixture
) -> None:
    side = private_side
    side.connect("a")
    side.ask(side.plan.finish(side.port.process + "a", 0, "0"))
    side.client.config_set("maxmemory", "1")
    outcomes: list[Outcome] = []
    side.port.send("http.request", {}, 30, outcomes.append)
    assert side.outcome(outcomes) is Outcome.FULL
    assert side.connect("b") is Outcome.FULL
    assert side.outcome(side.disconnect("a", 1)) is Outcome.SENT
    [record] = caplog.records
    assert "out of memory: new requests get 503" in record.getMessage()
    assert "raise its maxmemory" in record.getMessage()
    side.client.config_set("maxmemory", "0")
    side.port._executor._memory._trouble.last_at -= OVER_SECONDS
    assert side.connect("c") is Outcome.SENT
    assert len(caplog.records) == 2
    assert "has memory again" in caplog.text


def test_forgotten_scripts_are_sent_whole(side: InterfaceSide) -> None:
    side.client.script_flush()
    assert side.connect("a") is Outcome.SENT
    assert side.frame("a", 1) is Outcome.SENT
    assert side.frame("a", 2) is Outcome.SENT


# Hearing


def test_replies_are_heard_in_order(side: InterfaceSide) -> None:
    for number in range(250):
        assert push(side, "a", {"text": str(number)}) == [Outcome.SENT]
    side.reactor.until(lambda: len(side.receiver.of("reply")) == 250)
    assert side.receiver.of("reply") == [("a", {"text": str(number)}) for number in range(250)]


def test_notes_reach_the_receiver(side: InterfaceSide) -> None:
    note(side, control.VERDICT, local="a", ordered="slight")
    note(side, "from.the.future", local="a", new=1)
    side.reactor.until(lambda: len(side.receiver.of("control")) == 2)
    (kind, local, body), future = side.receiver.of("control")
    assert (kind, local, body["ordered"]) == ("verdict", "a", "slight")
    assert future[0] == "from.the.future"


def test_broken_entries_are_counted_and_the_next_is_delivered(
    side: InterfaceSide, caplog: pytest.LogCaptureFixture
) -> None:
    queue = side.key("q", side.port.process)
    side.client.rpush(queue, b"", b"\xff" * 40, b"\x01\x00", encode(b"\xc1"), encode(pack_message({})))
    side.client.rpush(queue, encode(pack_message({"control": 7}), control=True))
    side.client.rpush(queue, encode(pack_message({"control": "add", "group": "g"}), control=True))
    push(side, "a", {"text": "fine"})
    side.reactor.until(lambda: side.receiver.of("reply"))
    assert side.receiver.of("reply") == [("a", {"text": "fine"})]
    assert side.port.counters["unreadable"] == 6
    assert side.port.counters["misdirected"] == 1
    assert len([record for record in caplog.records if record.name == "headrace.layer"]) == 2


def test_a_receiver_that_fails_costs_no_other_entry(
    side: InterfaceSide, caplog: pytest.LogCaptureFixture
) -> None:
    real = side.receiver.reply

    def reply(local: str, message: dict[str, Any]) -> None:
        if local == "bad":
            raise ZeroDivisionError
        real(local, message)

    side.receiver.reply = reply  # type: ignore[method-assign]
    side.port._reader._receiver = side.receiver
    push(side, "bad", {})
    push(side, "good", {})
    side.reactor.until(lambda: side.receiver.of("reply"))
    assert side.port.counters["failed"] == 1
    assert "ZeroDivisionError" in caplog.text


# Groups


def test_a_group_message_reaches_all_members_as_one(side: InterfaceSide) -> None:
    for local in "ab":
        side.connect(local)
        group_add(side, "room", local)
    group_add(side, "room", "closed already")
    note(side, control.GROUP, group="room", packed=pack_message({"text": "hi"}))
    side.reactor.until(lambda: side.receiver.of("group"))
    assert side.receiver.of("group") == [("room", ("a", "b"), {"text": "hi"})]


def test_the_members_of_a_group_are_told_by_their_full_names(side: InterfaceSide) -> None:
    side.connect("a")
    group_add(side, "room", "a")
    note(side, control.MEMBERS, group="room", answer="answers?x")
    side.reactor.until(lambda: side.channel("answers?x"))
    [raw] = side.channel("answers?x")
    assert unpack_message(decode(raw).payload) == {"members": [side.port.process + "a"]}


def test_the_process_leaves_a_group_after_its_last_member(side: InterfaceSide) -> None:
    side.connect("a")
    group_add(side, "room", "a")
    group_add(side, "room", "a")
    side.reactor.until(lambda: side.port._groups.membership.members("room"))
    assert side.client.hgetall(side.key("g", "room")) == {side.port.process.encode(): b"2"}
    side.disconnect("a")
    side.reactor.turn(0.05)
    assert side.client.exists(side.key("g", "room"))
    side.reactor.until(lambda: not side.client.exists(side.key("g", "room")), LEAVE_DELAY_SECONDS + 5)
    assert not side.client.exists(side.key("gq", side.port.process))


def test_a_request_that_ended_is_in_no_group(side: InterfaceSide) -> None:
    side.receiver.sockets["poll"] = "/"  # anything that is_open
    group_add(side, "room", "poll")
    side.reactor.until(lambda: side.port._groups.membership.members("room"))
    side.port.leave_groups("poll")
    assert side.port._groups.membership.members("room") == ()


# Processes


def test_a_process_is_in_the_table_and_beats(side: InterfaceSide) -> None:
    assert side.client.exists(side.key("up", side.port.process))
    assert b'"kind": "interface"' in (side.client.hget(side.key("procs"), side.port.process) or b"")
    beat(side)
    side.reactor.until(lambda: side.client.hget(side.key("beat"), side.port.process))


def test_each_beat_tells_of_lapsed_leases_and_moves_on_the_mailboxes_behind_them(
    reactor: HandReactor, redis_url: str
) -> None:
    with interface_side(reactor, redis_url, expiry=1, ordering_lease_seconds=0.3) as side:
        side.connect("a")
        assert side.frame("a", 1, ordered=True) is Outcome.BOXED
        reactor.turn(0.4)
        beat(side)
        reactor.until(lambda: side.channel("websocket.receive"))
        reactor.until(lambda: side.receiver.of("control"))
        assert [(kind, local) for kind, local, _ in side.receiver.of("control")] == [(control.LAPSED, "a")]


def test_the_process_of_a_lapsed_socket_is_told_whoever_finds_the_lapse(
    reactor: HandReactor, redis_url: str
) -> None:
    with interface_side(reactor, redis_url) as side, interface_side(reactor, redis_url) as other:
        side.connect("a")
        side.frame("a", 1, ordered=True)
        socket = side.port.process + "a"
        side.client.delete(side.key("o", socket))
        side.client.zadd(side.key("w"), {socket: 1})
        beat(other)
        reactor.until(lambda: side.receiver.of("control"))
        reactor.until(lambda: side.channel("websocket.receive"))
        assert not other.receiver.of("control")


def test_a_mailbox_of_a_process_that_ended_moves_on_too(reactor: HandReactor, redis_url: str) -> None:
    with interface_side(reactor, redis_url) as side, interface_side(reactor, redis_url) as other:
        side.connect("a")
        assert side.outcome(side.disconnect("a")) is Outcome.BOXED
        socket = side.port.process + "a"
        side.stop()
        other.client.delete(other.key("o", socket))
        other.client.zadd(other.key("w"), {socket: 1})
        beat(other)
        reactor.until(lambda: other.channel("websocket.disconnect"))


def test_a_process_that_was_declared_dead_takes_a_new_name(side: InterfaceSide) -> None:
    side.connect("a")
    group_add(side, "room", "a")
    former = side.port.process
    side.client.hdel(side.key("procs"), former)
    side.client.delete(side.key("up", former))
    side.client.set(side.key("fenced", former), 1)
    outcomes: list[Outcome] = []
    side.port.connect("b", "/", {"reply_channel": former + "b", "path": "/"}, 10, outcomes.append)
    assert side.outcome(outcomes) is Outcome.GONE
    side.until_back(2)
    assert side.receiver.of("fenced") == [()]
    assert side.port.process != former
    assert push(side, "x", {"text": "to the new name"}) == [Outcome.SENT]
    side.reactor.until(lambda: side.receiver.of("reply"))
    # What is owed is told under the name that was registered.
    assert side.outcome(side.disconnect("a", 1)) in (Outcome.SENT, Outcome.BOXED)
    assert not side.client.hkeys(side.key("s", former))


def test_stopping_withdraws_everything_of_the_process(side: InterfaceSide) -> None:
    side.connect("a")
    group_add(side, "room", "a")
    side.reactor.until(lambda: side.port._groups.membership.members("room"))
    told = side.disconnect("a")
    side.stop()
    assert told == [Outcome.BOXED]
    process = side.port.process
    for kind in ("up", "s", "q", "gq"):
        assert not side.client.exists(side.key(kind, process))
    assert not side.client.hexists(side.key("procs"), process)
    assert not side.client.exists(side.key("g", "room"))
    outcomes: list[Outcome] = []
    side.port.send("http.request", {}, 1, outcomes.append)
    assert side.outcome(outcomes) is Outcome.UNAVAILABLE


# Outages


def test_without_redis_the_port_says_so_and_goes_on_trying(
    reactor: HandReactor, private_redis_server: RedisServer
) -> None:
    private_redis_server.kill()
    side = InterfaceSide(reactor, private_redis_server.url)
    side.port.start(side.receiver)
    reactor.until(lambda: side.receiver.of("lost"))
    outcomes: list[Outcome] = []
    side.port.send("http.request", {}, 1, outcomes.append)
    assert outcomes == []
    assert side.outcome(outcomes) is Outcome.UNAVAILABLE
    private_redis_server.start()
    side.until_back(1)
    assert len(side.receiver.of("lost")) == 1
    side.close()


def test_an_empty_redis_after_an_outage_gets_sockets_and_groups_again(
    private_side: InterfaceSide, private_redis_server: RedisServer
) -> None:
    side, process = private_side, private_side.port.process
    for local in "ab":
        side.connect(local, f"/{local}")
        group_add(side, "room", local)
    side.reactor.until(lambda: len(side.port._groups.membership.members("room")) == 2)
    private_redis_server.kill()
    side.reactor.until(lambda: side.receiver.of("lost"))
    told = side.disconnect("b", 7)  # owed through the outage
    private_redis_server.start()
    side.until_back(2)
    assert side.port.process == process
    assert side.outcome(told) is Outcome.SENT
    assert side.client.hgetall(side.key("s", process)) == {b"a": b"/a"}
    assert side.client.hget(side.key("g", "room"), process) == b"1"
    assert len(side.channel("websocket.disconnect")) == 1
    kinds = [what[0] for what in side.receiver.heard if what[0] in ("lost", "data lost", "back")]
    assert kinds == ["back", "lost", "data lost", "back"]
    note(side, control.GROUP, group="room", packed=pack_message({"text": "after"}))
    side.reactor.until(lambda: side.receiver.of("group"))
    assert side.receiver.of("group") == [("room", ("a",), {"text": "after"})]


def test_flushall_closes_no_socket(private_side: InterfaceSide) -> None:
    side = private_side
    side.connect("a")
    side.connect("b")
    side.receiver.ordered.add("b")
    side.client.flushall()
    assert side.frame("a", 1) is Outcome.SENT
    assert side.frame("b", 1, ordered=True) is Outcome.SENT
    assert side.client.hkeys(side.key("s", side.port.process)) == [b"b", b"a"]


def test_a_request_sent_after_flushall_reaches_a_worker_at_once(private_side: InterfaceSide) -> None:
    side = private_side
    side.client.flushall()
    outcomes: list[Outcome] = []
    started = time.monotonic()
    for number in range(3):
        side.port.send("http.request", {"n": number}, 30, outcomes.append)
        side.port.send("http.request.body?x", {"n": number}, 30, outcomes.append)
    side.outcome(outcomes, 6)
    assert time.monotonic() - started < 1
    assert outcomes == [Outcome.SENT] * 6
    assert len(side.channel("http.request")) == 3
    assert side.client.exists(side.key("up", side.port.process))
    assert side.receiver.of("data lost") == [()]


def test_what_is_sent_while_everything_is_registered_again_waits_for_it(private_side: InterfaceSide) -> None:
    side = private_side
    side.connect("a")
    side.client.flushall()
    outcomes: list[Outcome] = []
    beat(side)
    side.reactor.until(lambda: side.port._registration.is_coming)
    side.port.send("http.request", {}, 30, outcomes.append)
    side.receiver.sockets["b"] = "/b"
    message = {"reply_channel": side.port.process + "b", "path": "/b"}
    side.port.connect("b", "/b", message, 10, outcomes.append)
    side.outcome(outcomes, 2)
    assert outcomes == [Outcome.SENT] * 2
    assert side.receiver.of("lost") == []


def test_the_answer_of_a_view_that_ran_through_flushall_arrives(
    private_side: InterfaceSide, private_redis_server: RedisServer
) -> None:
    side = private_side
    layer = RedisPlaceLayer([private_redis_server.url])
    refused: list[tuple[Any, Outcome]] = []
    worker = layer.open_worker_port(lambda item, outcome: refused.append((item, outcome)))
    outcomes: list[Outcome] = []
    side.port.send("http.request", {"reply_channel": side.port.process + "a"}, 30, outcomes.append)
    assert side.outcome(outcomes) is Outcome.SENT
    [delivery] = worker.turn([], ["http.request"], 1, 5)
    side.client.flushall()
    started = time.monotonic()
    worker.turn([Send(delivery.message["reply_channel"], pack_message({"status": 200}))], [], 1, 0)
    [(send, outcome)] = refused
    assert outcome is Outcome.FORGOTTEN
    side.reactor.until(lambda: side.receiver.of("data lost") and side.port._registration.is_here)
    worker.turn([send], [], 1, 0)
    side.reactor.until(lambda: side.receiver.of("reply"))
    assert time.monotonic() - started < 1
    assert side.receiver.of("reply") == [("a", {"status": 200})]
    assert len(refused) == 1
    worker.close()
    layer.close()


def test_a_process_that_a_full_redis_forgot_is_known_again(private_side: InterfaceSide) -> None:
    side = private_side
    side.receiver.sockets["poll"] = "/"  # anything that is_open
    group_add(side, "room", "poll")
    side.reactor.until(lambda: side.port._groups.membership.members("room"))
    del side.receiver.sockets["poll"]
    side.client.config_set("maxmemory", "1")
    side.client.flushall()
    assert push(side, "poll", {"text": "?"}) == [Outcome.GONE]
    side.reactor.until(lambda: side.client.hexists(side.key("g", "room"), side.port.process))
    side.reactor.until(lambda: side.port._registration.is_here)
    assert push(side, "poll", {"text": "?"}) == [Outcome.SENT]
    side.reactor.until(lambda: side.receiver.of("reply"))


def test_a_process_whose_mark_expired_is_marked_again_by_its_next_beat(side: InterfaceSide) -> None:
    """As after a weekend asleep."""
    side.connect("a")
    side.client.delete(side.key("up", side.port.process))
    beat(side)
    side.reactor.until(lambda: side.client.exists(side.key("up", side.port.process)))
    assert push(side, "a", {"text": "again"}) == [Outcome.SENT]
    side.reactor.until(lambda: side.receiver.of("reply"))
    assert side.receiver.of("data lost") == []
    assert side.client.hgetall(side.key("s", side.port.process)) == {b"a": b"/chat"}


def test_an_add_still_queued_across_a_reconnect_is_counted_once(side: InterfaceSide) -> None:
    side.connect("a")
    group_add(side, "room", "a")
    side.reactor.until(lambda: side.port._groups.membership.members("room"))
    # The second worker has registered, and its entry comes only after the reconnect.
    side.ask(side.plan.group_add("room", side.port.process))
    for link in side.port._links.values():
        link.drop("the test says so")
    side.until_back(2)
    note(side, control.ADD, group="room", local="a")
    side.disconnect("a")
    side.reactor.until(lambda: not side.client.exists(side.key("g", "room")), LEAVE_DELAY_SECONDS + 5)


def test_a_beat_tells_what_workers_take(side: InterfaceSide) -> None:
    assert side.port.taken_channels == frozenset()
    side.ask(side.plan.announce(["http.request"]))
    beat(side)
    side.reactor.until(lambda: side.port.taken_channels)
    assert side.port.taken_channels == {"http.request"}


def test_a_flush_of_the_layer_brings_the_groups_back(side: InterfaceSide) -> None:
    side.connect("a")
    group_add(side, "room", "a")
    side.reactor.until(lambda: side.port._groups.membership.members("room"))
    side.client.delete(side.key("g", "room"), side.key("gq", side.port.process))
    side.ask(side.plan.flushed())
    beat(side)
    side.reactor.until(lambda: side.client.hexists(side.key("g", "room"), side.port.process))


def test_a_registered_socket_that_is_not_open_is_told(side: InterfaceSide) -> None:
    """A failover forgot that its disconnect was told."""
    side.client.hset(side.key("s", side.port.process), "stray", "/there")
    for link in side.port._links.values():
        link.drop("the test says so")
    side.until_back(2)
    side.reactor.until(lambda: side.channel("websocket.disconnect"))
    [raw] = side.channel("websocket.disconnect")
    message = unpack_message(decode(raw).payload)
    assert (message["reply_channel"], message["code"], message["path"]) == (
        side.port.process + "stray",
        1006,
        "/there",
    )


def test_an_unknown_outcome_of_a_frame_is_said_and_of_a_connect_repeated(
    private_side: InterfaceSide, private_redis_server: RedisServer
) -> None:
    side = private_side
    side.connect("a")
    private_redis_server.pause()
    frames: list[Outcome] = []
    connects: list[Outcome] = []
    side.port.frame("a", {"text": "?"}, 1, True, frames.append)
    side.receiver.sockets["b"] = "/b"
    side.port.connect(
        "b", "/b", {"reply_channel": side.port.process + "b", "path": "/b"}, 10, connects.append
    )
    side.reactor.turn(0.02)
    for link in side.port._links.values():
        link.drop("the test says so")
    side.outcome(frames)
    assert frames == [Outcome.UNKNOWN]
    assert connects == []
    private_redis_server.resume()
    side.outcome(connects)
    assert connects[0] in (Outcome.SENT, Outcome.DUPLICATE)
    assert len(side.channel("websocket.connect")) == 2
    assert sorted(side.client.hkeys(side.key("s", side.port.process))) == [b"a", b"b"]


def test_frames_with_an_unknown_outcome_are_repeated_after_a_reconnect_and_none_is_doubled(
    private_side: InterfaceSide, private_redis_server: RedisServer
) -> None:
    side = private_side
    for local in ("plain", "ordered"):
        side.connect(local)
    side.ask(side.plan.finish(side.port.process + "plain", 0, "0", drain=True))
    side.ask(side.plan.finish(side.port.process + "ordered", 0, "0"))
    side.receiver.ordered.add("ordered")
    assert side.frame("plain", 1) is Outcome.SENT
    side.receiver.orders["plain"] = 1

    def send(outcomes: list[Outcome]) -> None:
        for order in (2, 3):
            side.port.frame("plain", {"text": f"p{order}"}, order, False, outcomes.append)
        side.port.frame("ordered", {"text": "o1"}, 1, True, outcomes.append)
        side.outcome(outcomes, 3)

    unknown: list[Outcome] = []
    # Redis carries them out; the answers never come.
    private_redis_server.pause()
    for order in (2, 3):
        side.port.frame("plain", {"text": f"p{order}"}, order, False, unknown.append)
    side.port.frame("ordered", {"text": "o1"}, 1, True, unknown.append)
    side.reactor.turn(0.05)
    private_redis_server.resume()
    for link in side.port._links.values():
        link.drop("the test says so")
    side.outcome(unknown, 3)
    assert unknown == [Outcome.UNKNOWN] * 3
    side.until_back(2)
    again: list[Outcome] = []
    send(again)
    assert set(again) <= {Outcome.DUPLICATE, Outcome.SENT}
    texts = [unpack_message(decode(raw).payload)["text"] for raw in side.channel("websocket.receive")]
    assert sorted(texts) == ["1", "o1", "p2", "p3"]
    send(repeated := [])
    assert repeated == [Outcome.DUPLICATE] * 3


def test_frames_that_met_an_empty_redis_are_sent_once_it_knows_their_sockets_again_in_one_command(
    private_side: InterfaceSide,
) -> None:
    side = private_side
    for local in "ab":
        side.connect(local)
        side.ask(side.plan.finish(side.port.process + local, 0, "0", drain=True))
    assert side.frame("a", 1) is Outcome.SENT
    side.receiver.orders["a"] = 1
    side.client.flushall()
    outcomes: list[Outcome] = []
    before = side.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    for order in (2, 3):
        side.port.frame("a", {"text": f"a{order}"}, order, False, outcomes.append)
    side.port.frame("b", {"text": "b1"}, 1, False, outcomes.append)
    side.outcome(outcomes, 3)
    assert outcomes == [Outcome.SENT] * 3
    texts = [unpack_message(decode(raw).payload)["text"] for raw in side.channel("websocket.receive")]
    assert texts == ["a2", "a3", "b1"]
    # The frames, one or two beats, the registration and that of the sockets, the frames again.
    assert side.client.info("commandstats")["cmdstat_evalsha"]["calls"] <= before + 6
    assert side.frame("a", 3) is Outcome.DUPLICATE


def test_the_receiver_learns_how_full_the_channel_is_before_the_outcomes(side: InterfaceSide) -> None:
    seen: list[tuple[Any, ...]] = side.receiver.heard
    side.connect("a")
    del seen[:]
    for order in (1, 2):
        side.port.frame("a", {"text": "x"}, order, False, lambda outcome: seen.append(("done", outcome)))
    side.reactor.until(lambda: len(seen) >= 3)
    done = ("done", Outcome.SENT)
    assert seen == [("level", "websocket.receive", 2, 2, 100), done, done]
    del seen[:]
    side.ask(side.plan.finish(side.port.process + "a", 0, "0"))
    side.port.frame("a", {"text": "x"}, 3, True, lambda outcome: seen.append(("done", outcome)))
    side.reactor.until(lambda: len(seen) >= 2)
    assert seen == [("level", "websocket.receive", 3, 3, 100), done]


def test_how_full_a_channel_is_can_be_asked(side: InterfaceSide) -> None:
    side.ask(side.plan.send("http.request", [encode(pack_message({}))] * 3))
    side.ask(side.plan.take("0", ["http.request"], 1, None))
    side.port.ask_level("http.request")
    side.port.ask_level("never.used")
    side.reactor.until(lambda: len(side.receiver.of("level")) == 2)
    assert side.receiver.of("level") == [("http.request", 3, 2, 100), ("never.used", 0, 0, 100)]


def test_a_receiver_that_fails_at_a_level_costs_no_outcome(
    side: InterfaceSide, caplog: pytest.LogCaptureFixture
) -> None:
    def level(*args: Any) -> None:
        raise ZeroDivisionError

    side.receiver.level = level  # type: ignore[method-assign]
    side.connect("a")
    assert side.frame("a", 1) is Outcome.SENT
    assert "ZeroDivisionError" in caplog.text


def test_a_read_only_replica_is_an_outage(private_side: InterfaceSide) -> None:
    side = private_side
    side.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    outcomes: list[Outcome] = []
    side.port.send("http.request", {}, 1, outcomes.append)
    assert side.outcome(outcomes) is Outcome.UNAVAILABLE
    side.reactor.until(lambda: side.receiver.of("lost"))
    side.reactor.turn(0.1)
    assert len(side.receiver.of("back")) == 1
    side.client.execute_command("REPLICAOF", "NO", "ONE")
    side.until_back(2)


def test_a_password_that_is_refused_later_is_told_once_as_a_setting_and_tried_again(
    private_side: InterfaceSide, private_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    side = private_side
    side.client.config_set("requirepass", "another")
    side.client.client_kill_filter(_type="normal")
    side.reactor.until(lambda: "refuses us" in caplog.text)
    side.reactor.turn(0.5)  # both connections are refused, more than once
    (record,) = (record for record in caplog.records if "refused the login" in record.getMessage())
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("The channel layer refuses us (Redis at unix://")
    assert record.getMessage().endswith("; trying again until that is put right")
    assert len(side.receiver.of("lost")) == 1
    private_redis_server.restart()
    side.until_back(2)


def test_a_refusal_at_the_start_is_told_to_the_receiver(
    reactor: HandReactor, private_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    private_redis_server.command("CONFIG", "SET", "requirepass", "another")
    side = InterfaceSide(reactor, private_redis_server.url)
    side.port.start(side.receiver)
    reactor.until(lambda: side.receiver.of("lost"))
    reactor.turn(0.3)
    ((reason,),) = side.receiver.of("lost")
    side.close()
    assert "check user and password in hosts or --layer" in reason
    assert "refused the login" not in caplog.text


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction"])
def test_another_eviction_policy_is_warned_of_once(
    reactor: HandReactor, private_redis_server: RedisServer, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    private_redis_server.command("CONFIG", "SET", "maxmemory-policy", policy)
    with interface_side(reactor, private_redis_server.url) as side:
        side.client.client_kill_filter(_type="normal")
        side.until_back(2)
    assert caplog.text.count("set it to noeviction") == (policy != "noeviction")


def test_an_idle_process_asks_redis_less_than_once_a_second() -> None:
    """A beat with its look at the overdue mailboxes, and a take per half minute."""
    assert 2 / BEAT_SECONDS + 1 / 30 < 1


def test_large_entries_are_taken_a_few_at_a_time(side: InterfaceSide) -> None:
    layer = RedisPlaceLayer(hosts=[side.url], prefix=side.plan.places.prefix)
    process = side.port.process
    for content in (b"x" * 500_000, b"", b""):
        before = len(side.receiver.of("reply"))
        layer.send_many([(f"{process}a", {"bytes": content})] * 6)
        side.reactor.until(lambda before=before: len(side.receiver.of("reply")) == before + 6)
        assert side.port._take_limit == (4 if content else TAKE_LIMIT)
    layer.close()
