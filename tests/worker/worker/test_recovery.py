"""What is done about the messages that a dead process held."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from headrace.worker.flight_record import FlightRecord, HeldDelivery
from headrace.worker.recovery import Recovery, settlement
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import ChannelLayer, Control, Delivery, Out, WorkerPort
from headrace_asgi.errors import LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from headrace_asgi.limits import COUNTS_SECONDS
from tests.support.services import RedisServer, valkey_binary
from tests.support.stack import eventually
from tests.support.workers import Clock

SOCKET = "hr1.0.process!a"


def in_flight(
    channel: str, started: bool = True, whole: bool = True, order: int | None = None, socket: str = SOCKET
) -> HeldDelivery:
    message = {"reply_channel": socket} if socket else {}
    return HeldDelivery(Delivery(channel, message, b"entry", 0, "0", 0.0, order), started, whole)


def kinds(notes: Sequence[Out]) -> list[Any]:
    return [(one.body["control"], one.body.get("status")) for one in notes if isinstance(one, Control)]


def test_what_was_not_started_goes_back_in_its_order() -> None:
    left = [in_flight("http.request", started=False), in_flight("work", started=False, order=3)]
    owed = settlement(left)
    assert owed.give_back == [one.delivery for one in left]
    assert not owed.lost
    assert not owed.notes
    assert not owed.ordered


@pytest.mark.parametrize("channel", ["http.request", "websocket.connect"])
@pytest.mark.parametrize(("started", "whole"), [(True, True), (False, False)])
def test_who_waits_for_an_answer_is_told_that_none_comes(channel: str, started: bool, whole: bool) -> None:
    owed = settlement([in_flight(channel, started, whole)])
    assert kinds(owed.notes) == [("failed", 502)]
    assert len(owed.lost) == 1


@pytest.mark.parametrize("channel", ["websocket.receive", "websocket.disconnect", "work"])
def test_nobody_is_told_of_what_nobody_waits_for(channel: str) -> None:
    owed = settlement([in_flight(channel)])
    assert (owed.notes, len(owed.lost)) == ([], 1)


@pytest.mark.parametrize("socket", ["", "foreign!a", "single?b"])
def test_who_understands_no_notes_is_sent_none(socket: str) -> None:
    assert settlement([in_flight("http.request", socket=socket)]).notes == []


def test_a_process_that_held_nothing_is_owed_nothing() -> None:
    recovery = Recovery(InMemoryChannelLayer())
    assert recovery.died([], 5.0) == ""
    assert recovery.due is None


def taken(layer: ChannelLayer, channels: Sequence[str], count: int) -> list[Delivery]:
    with contextlib.closing(layer.open_worker_port(lambda item, outcome: None)) as port:
        found: list[Delivery] = []
        while len(found) < count:
            found += port.turn([], channels, count - len(found), 1)
        return found


def died_holding(recovery: Recovery, held: Sequence[Delivery], started: int = 0) -> str:
    """A process died that had started the first `started` of what it held."""
    said = recovery.died([HeldDelivery(one, at < started, True) for at, one in enumerate(held)], 0.0)
    recovery.settle(0.0)
    return said


def test_another_worker_takes_what_a_dead_one_had_not_started_before_all_else() -> None:
    layer = InMemoryChannelLayer()
    layer.send_many([("work", {"n": number}) for number in range(5)])
    said = died_holding(Recovery(layer), taken(layer, ["work"], 3), started=1)
    assert [one.message["n"] for one in taken(layer, ["work"], 4)] == [1, 2, 3, 4]
    assert said == "lost 1: A message on work, giving back 2 that it had not started"


def test_the_next_frame_of_a_socket_starts_after_its_process_was_told_of_the_lost_one() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    process.connect("a", "/", {"reply_channel": process.process + "a"})
    (connect,) = taken(layer, ["websocket.connect"], 1)
    for order in (1, 2):
        process.frame("a", {"reply_channel": process.process + "a", "order": order}, order)
    recovery = Recovery(layer)
    died_holding(recovery, [connect], started=1)
    assert [(one.control, one.message.get("status")) for one in process.heard()] == [("failed", 502)]
    (frame,) = taken(layer, ["websocket.receive"], 1)
    assert frame.order == 1
    died_holding(recovery, [frame], started=1)
    assert [one.control for one in process.heard()] == ["lapsed"]
    assert [one.order for one in taken(layer, ["websocket.receive"], 1)] == [2]


def test_a_socket_is_not_told_of_a_frame_that_had_finished() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    process.connect("a", "/", {"reply_channel": process.process + "a"})
    (connect,) = taken(layer, ["websocket.connect"], 1)
    recovery = Recovery(layer)
    died_holding(recovery, [connect], started=1)
    process.heard()
    died_holding(recovery, [connect], started=1)
    assert process.heard() == []


class Failing(InMemoryChannelLayer):
    """A layer that fails with `errors`, one for each call of a port, and counts its closes."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self.closed = 0

    def open_worker_port(self, on_refused: Any) -> MemoryWorkerPort:
        layer = self

        def fail() -> None:
            if layer.errors:
                raise layer.errors.pop(0)

        class Port(MemoryWorkerPort):
            def give_back(self, deliveries: Sequence[Delivery]) -> None:
                fail()
                super().give_back(deliveries)

            def turn(self, *arguments: Any) -> list[Delivery]:
                fail()
                return super().turn(*arguments)

        fail()
        return Port(self._hub, on_refused, self.expiry, self.max_message_bytes)

    def close(self) -> None:
        self.closed += 1


def test_a_layer_that_is_away_is_asked_again_until_all_is_settled_once() -> None:
    layer = Failing()
    process = layer.open_process()
    layer.send_many([("work", {"n": number}) for number in range(3)])
    held = [HeldDelivery(one, False, True) for one in taken(layer, ["work"], 3)]
    socket = process.process + "a"
    held.append(in_flight("http.request", socket=socket))
    recovery = Recovery(layer)
    recovery.died(held, 10.0)
    assert recovery.due == 10.0
    for away in ([LayerUnavailable("no")], [], []):
        layer.errors = away
        recovery.settle(10.0)
    assert recovery.due is None
    assert [one.message["n"] for one in taken(layer, ["work"], 3)] == [0, 1, 2]
    assert layer.receive(["work"]) == (None, None)
    assert [one.control for one in process.heard()] == ["failed"]
    assert layer.closed == 3


def test_a_failure_that_nobody_foresaw_costs_one_settlement_and_no_parent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = Failing()
    process = layer.open_process()
    recovery = Recovery(layer)
    for _ in range(2):
        recovery.died([in_flight("http.request", socket=process.process + "a")], 0.0)
    layer.errors = [ZeroDivisionError("a bug of ours")]
    recovery.settle(1.0)
    assert "Settling for a worker process that died failed" in caplog.text
    assert recovery.due == 1.0
    recovery.settle(1.0)
    assert recovery.due is None
    assert [one.control for one in process.heard()] == ["failed"]


def test_the_tries_grow_apart_while_the_layer_is_away() -> None:
    layer = Failing()
    recovery = Recovery(layer)
    recovery.died([in_flight("http.request")], 0.0)
    pauses = []
    for _ in range(12):
        layer.errors = [LayerUnavailable("no")]
        recovery.settle(100.0)
        assert recovery.due is not None
        pauses.append(recovery.due - 100.0)
    assert 0 < pauses[0] < 0.2
    assert pauses[-1] > 0.5
    assert max(pauses) <= 2.0


def test_what_may_have_been_given_back_is_not_given_back_twice() -> None:
    layer = Failing()
    layer.send("work", {"n": 1})
    held = taken(layer, ["work"], 1)
    recovery = Recovery(layer)
    recovery.died([HeldDelivery(held[0], False, True)], 0.0)
    with contextlib.closing(layer.open_worker_port(lambda item, outcome: None)) as port:
        port.give_back(held)
    layer.errors = []
    original = layer.open_worker_port

    def unknown(on_refused: Any) -> WorkerPort:
        port = original(on_refused)
        layer.errors = [OutcomeUnknown("the answer was lost")]
        return port

    layer.open_worker_port = unknown  # type: ignore[method-assign]
    recovery.settle(0.0)
    layer.errors = []
    assert recovery.due is None
    assert layer.receive(["work"]) == ("work", {"n": 1})
    assert layer.receive(["work"]) == (None, None)


@pytest.fixture
def redis_layer(private_redis_server: RedisServer) -> Iterator[Any]:
    from headrace_asgi import RedisChannelLayer

    layer = RedisChannelLayer(hosts=[private_redis_server.tcp_url])
    yield layer
    layer.close()


def test_on_redis_too_the_rest_is_taken_in_order_and_no_connection_stays(redis_layer: Any) -> None:
    redis_layer.send_many([("work", {"n": number}) for number in range(4)])
    died_holding(Recovery(redis_layer), taken(redis_layer, ["work"], 3), started=1)
    assert [one.message["n"] for one in taken(redis_layer, ["work"], 3)] == [1, 2, 3]


def test_a_channel_that_something_else_wrote_over_multiplies_nothing_of_the_others(
    redis_layer: Any, private_redis_server: RedisServer
) -> None:
    redis_layer.send_many([(channel, {"n": number}) for number in range(2) for channel in ("work", "spoilt")])
    held = taken(redis_layer, ["spoilt"], 2) + taken(redis_layer, ["work"], 2)
    (shard,) = redis_layer.shards.values()
    key = shard.plan.queue_key(shard.place, "spoilt")
    private_redis_server.command("SET", key, "no list")
    recovery = Recovery(redis_layer)
    died_holding(recovery, held)
    recovery.settle(1.0)
    assert redis_layer.statistics("work")["pending"] == 2
    private_redis_server.command("DEL", key)
    recovery.settle(2.0)
    assert recovery.due is None
    for channel in ("work", "spoilt"):
        assert [one.message["n"] for one in taken(redis_layer, [channel], 2)] == [0, 1]
        assert redis_layer.statistics(channel)["pending"] == 0


def settled(recovery: Recovery) -> bool:
    """Whether one more try settles all."""
    recovery.settle(2.0)
    return recovery.due is None


def test_a_redis_that_is_away_multiplies_nothing_at_the_others() -> None:
    from headrace_asgi import RedisChannelLayer

    with RedisServer(valkey_binary()) as one, RedisServer(valkey_binary()) as other:
        layer = RedisChannelLayer(hosts=[one.tcp_url, other.tcp_url])
        for number in range(6):
            layer.send("work", {"n": number})
        held = taken(layer, ["work"], 6)
        here, there = ([each for each in held if each.place == place] for place in layer.shards)
        assert here
        assert there
        away = {one.tcp_url: one, other.tcp_url: other}[layer.map.labels[there[0].place]]
        away.kill()
        recovery = Recovery(layer)
        died_holding(recovery, held)
        recovery.settle(1.0)
        assert recovery.due is not None
        assert len(taken(layer, ["work"], len(here))) == len(here)
        assert layer.receive(["work"]) == (None, None)
        away.start()
        eventually(lambda: settled(recovery))
        back = taken(layer, ["work"], len(there))
        assert [each.message for each in back] == [each.message for each in there]
        layer.close()


def test_an_acknowledged_message_that_ran_is_tried_again_soon_and_one_that_did_not_at_once() -> None:
    clock = Clock()
    layer = InMemoryChannelLayer(acknowledged=["kept"], clock=clock)
    layer.send_many([("kept", {"n": number}) for number in range(3)])
    recovery = Recovery(layer, ["kept", "work"])
    said = died_holding(recovery, taken(layer, ["kept"], 2), started=1)
    assert said == "trying 1 again: A message on kept, giving back 1 that it had not started"
    assert recovery.due is None
    first, second = taken(layer, ["kept"], 2)
    assert [(one.message["n"], one.claim and one.claim.attempt) for one in (first, second)] == [
        (1, 1),
        (2, 1),
    ]
    clock.sleep(0.3)
    (again,) = taken(layer, ["kept"], 1)
    assert (again.message["n"], again.claim and again.claim.attempt) == (0, 2)


def test_a_message_that_kills_its_workers_is_laid_aside() -> None:
    clock = Clock()
    layer = InMemoryChannelLayer(acknowledged=["kept"], acknowledged_attempts=2, clock=clock)
    layer.send("kept", {"n": 1})
    recovery = Recovery(layer, ["kept"])
    for _ in range(2):
        died_holding(recovery, taken(layer, ["kept"], 1), started=1)
        clock.sleep(1)
    (letter,) = layer.dead_letters("kept")
    assert (letter.attempts, letter.reason) == (2, "its worker process died")


def test_bells_that_a_dead_process_took_along_are_rung_at_once() -> None:
    layer = InMemoryChannelLayer(acknowledged=["kept"])
    layer.send("kept", {"n": 1})
    with layer._hub as store:
        store.take_all("kept")
    recovery = Recovery(layer, ["kept"])
    recovery.died([], 5.0)
    assert recovery.due == 5.0
    recovery.settle(5.0)
    assert recovery.due is None
    assert [one.message["n"] for one in taken(layer, ["kept"], 1)] == [1]


def test_what_a_dead_process_had_counted_is_added_up_and_what_it_ran_is_lost(
    redis_layer: Any,
) -> None:
    record = FlightRecord(8)
    redis_layer.send_many([("work", {"n": number}) for number in range(5)])
    held = taken(redis_layer, ["work"], 4)
    redis_layer.write_counts()
    record.taken(held)
    for one in held[:3]:
        record.started(one)
    for one in held[:2]:
        record.tally.add("work", "done")
        record.over(one)
    record.ended(held[:1])
    recovery = Recovery(redis_layer)
    recovery.died(record.left(), 0.0, record.left_tally())
    recovery.settle(0.0)
    account = redis_layer.statistics("work")
    assert (account["taken"], account["done"], account["lost"]) == (3, 2, 1)
    assert (account["pending"], account["running"], account["unknown"]) == (2, 0, 0)


def test_a_process_that_left_in_order_costs_nothing(redis_layer: Any) -> None:
    record = FlightRecord(8)
    recovery = Recovery(redis_layer)
    assert recovery.died(record.left(), 0.0, record.left_tally()) == ""
    assert recovery.due is None


def test_nobody_waits_for_counts_while_a_layer_may_hang() -> None:
    record = FlightRecord(8)
    record.tally.add("work", "done")
    recovery = Recovery(InMemoryChannelLayer())
    recovery.died([], 10.0, record.left_tally())
    assert recovery.due == 10.0 + COUNTS_SECONDS


@pytest.fixture
def two_servers() -> Iterator[list[RedisServer]]:
    with RedisServer(valkey_binary()) as first, RedisServer(valkey_binary()) as second:
        yield [first, second]


def over(servers: Sequence[RedisServer]) -> tuple[Any, dict[str, RedisServer]]:
    """A layer over several Redis, and the server at each place."""
    from headrace_asgi import RedisChannelLayer

    layer = RedisChannelLayer([server.url for server in servers])
    by_label = {server.url: server for server in servers}
    return layer, {place: by_label[label] for place, label in layer.map.labels.items()}


def test_the_parent_has_no_threads_also_while_one_of_several_redis_is_away(
    two_servers: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    layer, servers = over(two_servers)
    there, away = servers
    servers[away].kill()
    monkeypatch.setattr(threading.Thread, "start", noted)
    layer.shards[there].send("work", {"n": 1})
    held = layer.shards[there].open_worker_port(lambda item, outcome: None)
    taken = held.turn((), ["work"], 1, 1)
    died_holding(Recovery(layer), taken)
    assert layer.shards[there].receive(["work"])[1] == {"n": 1}
    assert started == []
    held.close()
    layer.close()


def test_who_waits_at_one_of_several_redis_that_is_away_is_told_when_it_is_back(
    two_servers: list[RedisServer],
) -> None:
    layer, servers = over(two_servers)
    _, away = servers
    recovery = Recovery(layer)
    servers[away].kill()
    recovery.died([in_flight("http.request", socket=f"hr1.{away}.0a!b")], 0.0)
    recovery.settle(0.0)
    assert recovery.is_awaited
    servers[away].start()
    eventually(lambda: recovery.settle(2.0) or not recovery.is_awaited)
    layer.close()
