"""A worker's line to the layer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headrace.conf import WorkerSettings
from headrace.outbox import Outbox
from headrace.worker.flight_record import FlightRecord
from headrace.worker.line import Line
from headrace_asgi import InMemoryChannelLayer
from headrace_asgi.contract import (
    Acknowledge,
    Control,
    Delivery,
    Finish,
    Out,
    Outcome,
    RefusedHandler,
    Send,
    SendGroup,
)
from headrace_asgi.envelope import decode, pack_message, unpack_message
from headrace_asgi.errors import ChannelFull, ConfigurationError, LayerUnavailable, OutcomeUnknown
from headrace_asgi.layers.memory.worker_port import MemoryWorkerPort
from tests.support.workers import Clock


class Layer(InMemoryChannelLayer):
    """A memory layer of which parts can fail."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.down = False
        self.error: Exception = LayerUnavailable("down")
        self.refuses_requeue = False
        #: Raised after the next message was put back, as if the answer was lost.
        self.lost_answer: Exception | None = None
        self.start_error: Exception | None = None
        self.may_start: Callable[[Delivery], bool] | None = None
        #: What the port refuses, and with which outcome.
        self.refuses: Callable[[Out], Outcome | None] = lambda item: None

    def open_worker_port(self, on_refused: RefusedHandler) -> MemoryWorkerPort:
        layer = self

        def look() -> None:
            if layer.down:
                raise layer.error

        class Port(MemoryWorkerPort):
            def turn(
                self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
            ) -> list[Delivery]:
                look()
                said = []
                for item in out:
                    outcome = layer.refuses(item)
                    if outcome is None:
                        said.append(item)
                    else:
                        on_refused(item, outcome)
                return super().turn(said, channels, limit, block_seconds)

            def requeue(self, delivery: Delivery) -> bool:
                look()
                accepted = not layer.refuses_requeue and super().requeue(delivery)
                error, layer.lost_answer = layer.lost_answer, None
                if error is not None:
                    raise error
                return accepted

            def may_start(self, delivery: Delivery, now: float) -> bool:
                look()
                if layer.start_error is not None:
                    raise layer.start_error
                if layer.may_start is not None:
                    return layer.may_start(delivery)
                return super().may_start(delivery, now)

            def give_back(self, deliveries: Sequence[Delivery]) -> None:
                look()
                super().give_back(deliveries)

        look()
        return Port(self._hub, on_refused, self.expiry, self.max_message_bytes)


class Scene:
    def __init__(self, record: FlightRecord | None = None, **config: Any) -> None:
        self.clock = Clock()
        self.layer = self.new_layer(**config)
        self.counters: Counter[str] = Counter()
        self.stopping = False
        self.naps: list[Callable[[], None]] = []
        self.line = Line(
            self.layer,
            WorkerSettings(),
            self.counters,
            lambda: self.stopping,
            self.clock,
            self.sleep,
            record,
        )

    def new_layer(self, **config: Any) -> Layer:
        return Layer(**config)

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        if self.naps:
            self.naps.pop(0)()

    def take(self, limit: int = 5) -> list[Delivery]:
        return self.line.turn(["work"], limit)


def test_what_was_said_during_an_outage_is_written_after_it() -> None:
    scene = Scene()
    scene.layer.down = True
    scene.line.put([Send("there", pack_message({"n": 1}))])
    assert scene.take() == []
    assert scene.clock.now > 1000
    scene.layer.down = False
    scene.take()
    assert scene.layer.receive(["there"]) == ("there", {"n": 1})


def test_an_acknowledged_message_leads_to_the_next_one_also_if_the_connection_breaks_between() -> None:
    scene = Scene(acknowledged=["orders.*"])
    scene.layer.send("orders.new", {"n": 1})
    (new,) = scene.line.turn(["orders.new"], 1)
    assert new.claim is not None
    said = Outbox(scene.layer, "app.consumer")
    said.send(scene.layer, "orders.mail", {"n": 2})
    scene.line.put([*said.items, Acknowledge(new.channel, new.claim, new.place)])
    scene.layer.down, scene.layer.error = True, OutcomeUnknown("the connection broke before Redis answered")
    scene.take()
    scene.layer.down = False
    scene.take()
    assert scene.layer.receive(["orders.mail"]) == ("orders.mail", {"n": 2})
    assert scene.layer.statistics("orders.new")["done"] == 1


def test_a_stop_ends_a_pause() -> None:
    scene = Scene()
    scene.layer.down = True
    for _ in range(10):
        scene.take()
    began = scene.clock.now
    scene.stopping = True
    scene.take()
    # Not at once: what is still to be written would be tried without a pause until the end.
    assert 0 < scene.clock.now - began <= 0.05


def test_w6_a_stop_before_the_first_turn_ends_its_wait() -> None:
    scene = Scene()
    scene.stopping = True
    scene.line.wake()
    began = time.monotonic()
    assert scene.line.turn(["work"], 1, 5) == []
    assert time.monotonic() - began < 3


def test_a_delivery_is_put_back_after_its_pause_with_one_retry_more() -> None:
    scene = Scene()
    scene.layer.send("work", {"n": 1})
    (delivery,) = scene.take()
    scene.line.put_back(delivery)
    assert scene.line.wait_seconds(5) == pytest.approx(0.01)
    assert scene.take() == []
    scene.clock.sleep(0.02)
    (again,) = scene.take()
    assert (again.message, again.retries) == ({"n": 1}, 1)


def test_w8_what_cannot_be_put_back_is_tried_again_then_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.layer.send("work", {"n": 1})
    (delivery,) = scene.take()
    scene.line.put_back(delivery)
    scene.layer.refuses_requeue = True
    for _ in range(25):
        scene.clock.sleep(0.06)
        scene.take()
    assert scene.counters == {"shed": 1}
    assert "could not be put back; dropped" in caplog.text


def test_an_outage_only_delays_putting_back() -> None:
    scene = Scene()
    scene.layer.send("work", {"n": 1})
    (delivery,) = scene.take()
    scene.line.put_back(delivery)
    scene.layer.down = True
    for _ in range(50):
        scene.clock.sleep(0.06)
        scene.take()
    scene.layer.down = False
    scene.clock.sleep(0.06)
    assert [one.message for one in scene.take()] == [{"n": 1}]


def test_a_start_waits_while_the_layer_cannot_say_whether_it_may() -> None:
    scene = Scene()
    delivery = Delivery("work", {"reply_channel": "x!y"}, b"", 0, "0", scene.clock(), order=None)
    scene.take()
    scene.layer.down = True
    scene.naps = [lambda: setattr(scene.layer, "down", False)]
    assert scene.line.may_start(delivery)
    scene.layer.down = scene.stopping = True
    assert not scene.line.may_start(delivery)
    assert scene.counters["stale"] == 0


def test_a_late_holder_may_not_start_and_is_counted() -> None:
    scene = Scene()
    late = Delivery("work", {"reply_channel": "hr1.0.x!y"}, b"", 0, "0", scene.clock() - 16, order=3)
    assert not scene.line.may_start(late)
    assert scene.counters == {"stale": 1}


def test_a_message_that_expired_while_it_waited_is_counted_as_expired() -> None:
    scene = Scene()
    scene.layer.may_start = lambda delivery: False
    assert not scene.line.may_start(Delivery("work", {}, b"", 1, "0", scene.clock()))
    assert scene.counters == {"expired": 1}


def test_closing_puts_back_what_waited_and_tries_refused_sends_for_a_second() -> None:
    scene = Scene(channel_capacity={"full": 1})
    scene.layer.send("work", {"n": 1})
    scene.line.put([Send("full", pack_message({"n": 1})), Send("full", pack_message({"n": 2}))])
    (delivery,) = scene.take()
    scene.line.put_back(delivery)
    began = scene.clock.now
    scene.line.close()
    assert 1.0 <= scene.clock.now - began < 1.2
    assert scene.counters == {"shed": 1}
    assert scene.layer.statistics("work")["pending"] == 1
    assert scene.layer.receive(["full"]) == ("full", {"n": 1})


def test_what_cannot_be_given_back_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.layer.send("work", {"n": 1})
    taken = scene.take()
    scene.layer.down = True
    scene.line.give_back(taken)
    assert scene.counters == {"unknown": 1}
    assert "Could not give back 1 messages" in caplog.text


def test_a_refusal_keeps_the_turn_from_waiting_for_messages() -> None:
    scene = Scene(channel_capacity={"full": 1})
    scene.line.put([Send("full", pack_message({"n": 1})), Send("full", pack_message({"n": 2}))])
    assert scene.line.turn(["work"], 1, block_seconds=60) == []


def test_waking_a_line_that_never_spoke_does_nothing() -> None:
    Scene().line.wake()


def test_a_layer_that_refuses_us_is_an_outage_told_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.layer.send("work", {"n": 1})
    scene.line.put([Send("answers", pack_message({"n": 2}))])
    scene.layer.error = ConfigurationError("refused the login; check the password")
    scene.layer.down = True
    for _ in range(3):
        assert scene.take() == []
    scene.layer.down = False
    scene.clock.sleep(1)
    assert [one.message for one in scene.take()] == [{"n": 1}]
    assert scene.layer.receive(["answers"]) == ("answers", {"n": 2})
    assert caplog.text.count("check the password") == 1
    assert "Traceback" not in caplog.text


def test_a_message_that_may_be_back_is_not_put_back_twice() -> None:
    scene = Scene()
    scene.layer.send("work", {"n": 1})
    (delivery,) = scene.take()
    scene.line.put_back(delivery)
    scene.layer.lost_answer = OutcomeUnknown("the connection broke")
    scene.clock.sleep(1)
    assert [one.message for one in scene.take()] == [{"n": 1}]
    scene.clock.sleep(1)
    assert scene.take() == []
    assert scene.counters == {"unknown": 1}


def test_a_layer_without_memory_costs_no_message_that_is_to_be_put_back() -> None:
    scene = Scene()
    for number in (1, 2):
        scene.layer.send("work", {"n": number})
    for delivery in scene.take():
        scene.line.put_back(delivery)
    scene.layer.error = ChannelFull("out of memory")
    scene.layer.down = True
    scene.clock.sleep(1)
    scene.take()
    scene.layer.down = False
    scene.clock.sleep(1)
    assert [one.message for one in scene.take()] == [{"n": 1}, {"n": 2}]


def test_w6_what_was_not_started_for_an_outage_and_a_stop_is_counted() -> None:
    scene = Scene()
    scene.take()
    late = Delivery("work", {"reply_channel": "hr1.0.x!y"}, b"", 0, "0", scene.clock() - 16, order=3)
    scene.layer.down = scene.stopping = True
    assert not scene.line.may_start(late)
    assert scene.counters == {"unknown": 1}


def test_a_layer_that_fails_to_say_who_may_start_stops_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    late = Delivery("work", {"reply_channel": "hr1.0.x!y"}, b"", 0, "0", scene.clock() - 16, order=3)
    scene.layer.start_error = ChannelFull("out of memory")
    assert not scene.line.may_start(late)
    assert scene.counters == {"unknown": 1}
    assert "out of memory" in caplog.text


@pytest.mark.parametrize("outcome", [Outcome.FULL, Outcome.UNAVAILABLE])
def test_what_the_layer_refuses_to_say_keeps_no_turn_from_taking(
    outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    scene.layer.refuses = lambda item: outcome if isinstance(item, SendGroup) else None
    scene.line.put([SendGroup("room", pack_message({"n": 1}), "app.consumer")])
    for number in range(40):
        scene.layer.send("work", {"n": number})
        assert [one.message["n"] for one in scene.take()] == [number]
        scene.clock.sleep(0.05)
    assert not scene.line.pending
    assert scene.counters == {"shed": 1}
    assert caplog.text.count("app.consumer said something to room") == 1


def test_a_reply_to_a_process_that_redis_forgot_arrives_when_it_is_known_again_and_nothing_waits() -> None:
    scene = Scene()
    forgotten = True
    process = scene.layer.open_process()
    reply_channel = process.process + "a"
    scene.layer.refuses = lambda item: (
        Outcome.FORGOTTEN if forgotten and isinstance(item, Send | Control) else None
    )
    scene.line.put(
        [
            Control(reply_channel, {"control": "verdict", "local": "a"}),
            Send(reply_channel, pack_message({"n": 1})),
        ]
    )
    for number in range(5):
        scene.layer.send("work", {"n": number})
        assert [one.message["n"] for one in scene.take()] == [number]
        scene.line.put([Send(reply_channel, pack_message({"n": 2 + number}))])
        scene.clock.sleep(0.5)
    forgotten = False
    scene.take()
    heard = [one.control or one.message["n"] for one in process.heard()]
    assert heard == ["verdict", 1, 2, 3, 4, 5, 6]
    assert not scene.counters


def test_a_reply_that_waits_for_its_process_at_a_stop_has_as_long_as_ever() -> None:
    scene = Scene()
    scene.layer.refuses = lambda item: Outcome.FORGOTTEN
    scene.line.put([Send("hr1.0.x!a", pack_message({"n": 1}))])
    scene.take()
    began = scene.clock.now
    scene.line.close()
    assert 5.0 <= scene.clock.now - began < 5.3
    assert scene.counters == {"gone": 1}


def test_pauses_start_anew_after_a_good_turn_and_an_item_that_cannot_be_written_costs_none() -> None:
    scene = Scene()
    for _ in range(10):
        scene.line.put([Send("no channel's name", pack_message({}))])
        began = scene.clock.now
        scene.take()
        assert scene.clock.now == began
        scene.layer.error, scene.layer.down = ZeroDivisionError("a bug"), True
        scene.take()
        scene.layer.down = False
        assert 0 < scene.clock.now - began <= 0.051
        scene.take()
    assert scene.counters == {"shed": 10}


def test_another_thread_writes_what_the_owner_said_in_its_order() -> None:
    scene = Scene()
    scene.line.put([Send("there", pack_message({"n": 1})), Send("there", pack_message({"n": 2}))])
    scene.line.flush()
    assert not scene.line.pending
    scene.line.put([Send("there", pack_message({"n": 3}))])
    scene.take()
    assert [message["n"] for _, message in scene.layer.receive_many(["there"], 9)] == [1, 2, 3]


def test_a_flush_during_an_outage_neither_waits_nor_loses_anything() -> None:
    scene = Scene()
    scene.layer.down = True
    scene.line.put([Send("there", pack_message({"n": 1})), Finish("hr1.0.x!a", 3, "0")])
    began = scene.clock.now
    for _ in range(10):
        scene.line.flush()
    assert scene.clock.now == began
    assert scene.line.pending
    scene.layer.down = False
    scene.clock.sleep(1)
    scene.line.flush()
    assert scene.layer.receive(["there"]) == ("there", {"n": 1})
    assert not scene.line.pending


def test_what_is_to_be_consumed_later_does_not_wait_for_the_owner() -> None:
    scene = Scene()
    scene.layer.send("work", {"n": 1})
    (delivery,) = scene.take()
    scene.line.put_back(delivery)
    scene.clock.sleep(0.02)
    scene.line.flush()
    assert scene.layer.statistics("work")["pending"] == 1


class Recorded(Scene):
    """A line that notes what it takes, and has taken `count` messages."""

    def __init__(self, count: int) -> None:
        self.record = FlightRecord(8)
        super().__init__(self.record)
        self.layer.send_many([("work", {"n": number}) for number in range(count)])
        self.deliveries = self.take(count)

    def noted(self) -> list[int]:
        """The messages that a process which died now would leave."""
        memory = bytes(self.record._memory)
        left = self.record.left()
        self.record._memory[:] = memory
        return [unpack_message(decode(one.delivery.entry).payload)["n"] for one in left]


def test_a_message_is_noted_from_its_take_until_what_was_said_for_it_is_written() -> None:
    scene = Recorded(3)
    assert scene.noted() == [0, 1, 2]
    scene.line.done(scene.deliveries[1], [Send("there", pack_message({}))])
    assert scene.noted() == [0, 1, 2]
    scene.line.flush()
    assert scene.noted() == [0, 2]
    scene.line.done(scene.deliveries[0], [])
    scene.take()
    assert scene.noted() == [2]


def test_what_a_layer_that_is_away_was_not_told_stays_noted() -> None:
    scene = Recorded(1)
    scene.line.done(scene.deliveries[0], [Send("there", pack_message({}))])
    scene.layer.down = True
    scene.take()
    assert scene.noted() == [0]
    scene.layer.down = False
    scene.take()
    assert scene.noted() == []


def test_a_message_is_noted_while_it_waits_to_be_put_back() -> None:
    scene = Recorded(1)
    scene.record.started(scene.deliveries[0])
    scene.line.put_back(scene.deliveries[0])
    assert scene.noted() == [0]
    (left,) = scene.record.left()
    assert not left.started
    scene.clock.sleep(1)
    scene.line.turn()
    assert scene.noted() == []
    assert scene.layer.statistics("work")["pending"] == 1


def test_what_may_not_start_and_what_was_given_back_is_noted_no_more() -> None:
    scene = Recorded(3)
    scene.layer.may_start = lambda delivery: delivery is not scene.deliveries[0]
    assert [scene.line.may_start(one) for one in scene.deliveries] == [False, True, True]
    assert scene.noted() == [1, 2]
    scene.line.give_back(scene.deliveries[1:])
    assert scene.noted() == []


def test_a_message_that_cannot_be_put_back_is_noted_until_it_is_dropped() -> None:
    scene = Recorded(1)
    scene.layer.refuses_requeue = True
    scene.line.put_back(scene.deliveries[0])
    while scene.noted():
        scene.clock.sleep(0.2)
        scene.line.turn()
    assert scene.counters["shed"] == 1


class Keeping(Recorded):
    """Such a line to a layer of which a part can be away."""

    def __init__(self, count: int) -> None:
        #: What is for that part.
        self.keeps: Callable[[Out], bool] = lambda item: False
        super().__init__(count)

    def new_layer(self, **config: Any) -> Layer:
        scene = self

        class KeepingPort(MemoryWorkerPort):
            kept: Sequence[Out] = ()

            def turn(
                self, out: Sequence[Out], channels: Sequence[str], limit: int, block_seconds: float
            ) -> list[Delivery]:
                everything = [*self.kept, *out]
                self.kept = [item for item in everything if scene.keeps(item)]
                said = [item for item in everything if not scene.keeps(item)]
                return super().turn(said, channels, limit, block_seconds)

            def close(self) -> None:
                for item in self.kept:
                    self._on_refused(item, Outcome.UNAVAILABLE)
                super().close()

        class KeepingLayer(Layer):
            def open_worker_port(self, on_refused: RefusedHandler) -> MemoryWorkerPort:
                return KeepingPort(self._hub, on_refused, self.expiry, self.max_message_bytes)

        return KeepingLayer(**config)


def test_only_what_is_kept_for_a_part_that_is_away_stays_noted() -> None:
    scene = Keeping(3)
    scene.keeps = lambda item: isinstance(item, Send) and item.channel == "away"
    for delivery, channel in zip(scene.deliveries, ["there", "away", "there"], strict=True):
        scene.line.done(delivery, [Send(channel, pack_message({}))])
    scene.take()
    assert scene.noted() == [1]
    scene.take()
    assert scene.noted() == [1]
    scene.keeps = lambda item: False
    scene.take()
    assert scene.noted() == []
    assert scene.layer.receive(["away"]) == ("away", {})


def test_a_stop_waits_a_second_for_a_part_that_is_away_and_what_is_dropped_then_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Keeping(1)
    scene.keeps = lambda item: isinstance(item, Send)
    scene.line.done(scene.deliveries[0], [Send("away", pack_message({}), "A view")])
    scene.take()
    begun = scene.clock()
    scene.line.close()
    assert 1 <= scene.clock() - begun < 2
    assert scene.counters["shed"] == 1
    assert "A view said something to away: the layer did not take it; dropped" in caplog.text


def test_a_part_that_is_back_before_a_stop_ends_is_told() -> None:
    scene = Keeping(1)
    scene.keeps = lambda item: isinstance(item, Send)
    scene.line.done(scene.deliveries[0], [Send("away", pack_message({}))])
    scene.take()
    scene.naps.append(lambda: setattr(scene, "keeps", lambda item: False))
    scene.line.close()
    assert scene.layer.receive(["away"]) == ("away", {})
    assert not scene.counters["shed"]
