"""The contract of an interface server's port as tests, for the author of any layer.

    class TestMyInterfacePort(InterfacePortConformance, unittest.TestCase):
        capacity_limit = 5

        def setUp(self) -> None:
            self.reactor = Clock()
            self.channel_layer = MyLayer(capacity=5)
            self.addCleanup(self.channel_layer.close)
            super().setUp()

        def turn_reactor(self) -> None:
            self.reactor.advance(0.02)

Without `lose_layer` the cases about outages are skipped, and with `is_native = False` those about what
`layers.threaded_port` cannot give.
"""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..contract import Control, Delivery, Finish, InterfacePort, Outcome, Send, WorkerPort
from ..control import CLOSE, RUNNING, note
from ..envelope import Message, pack_message
from ..layers.threaded_port import open_interface_ports
from ..messages import WEBSOCKET_CONNECT, WEBSOCKET_DISCONNECT, WEBSOCKET_RECEIVE
from .case import ConformanceCase
from .port_case import numbers
from .receiver import Recorder

__all__ = ["InterfacePortConformance"]

T = TypeVar("T")

CHANNELS = (WEBSOCKET_CONNECT.channel, WEBSOCKET_RECEIVE.channel, WEBSOCKET_DISCONNECT.channel)
#: Turns of the reactor after which what has not happened will not happen.
QUIET_TURNS = 20


class InterfaceCase(ConformanceCase):
    """A started port, and helpers around it."""

    reactor: Any
    #: Whether the layer itself knows processes and their sockets, and carries notes and levels.
    is_native = True
    receiver: Recorder
    port: InterfacePort

    def setUp(self) -> None:
        super().setUp()
        self._stopped: list[InterfacePort] = []
        self.receiver = Recorder()
        self.port = self.open_port(self.receiver)

    def turn_reactor(self) -> None:
        """Let the reactor do what is due, and some milliseconds pass. To be given by the author."""
        raise NotImplementedError

    def lose_layer(self) -> None:
        """Cut the ports' lines to the layer. Override it where that can be done."""
        self.skipTest("lose_layer is not given")

    def restore_layer(self) -> None:
        """Let the ports reach the layer again."""

    def need_native(self) -> None:
        """Skip the case for a port over the blocking methods."""
        if not self.is_native:
            self.skipTest("the port is not the layer's own")

    def open_port(self, receiver: Recorder) -> InterfacePort:
        """A port that is up; it is stopped with the test."""
        port = open_interface_ports(self.channel_layer, self.reactor)[0]
        self.addCleanup(self.stop, port, receiver)
        port.start(receiver)
        self.until(lambda: receiver.of("back"))
        return port

    def stop(self, port: InterfacePort, receiver: Recorder) -> None:
        """Stop a port and wait for its end; a second time nothing happens."""
        if port in self._stopped:
            return
        self._stopped.append(port)
        receiver.sockets.clear()
        ended: list[None] = []
        port.stop(lambda: ended.append(None), self.patience_seconds)
        self.until(lambda: ended)
        self.turn_quietly()
        self.assertEqual(len(ended), 1)

    def until(self, what: Callable[[], T]) -> T:
        """Turn the reactor until `what()` is true; fails after `patience_seconds`."""
        give_up = time.monotonic() + self.patience_seconds
        while not (found := what()):
            if time.monotonic() > give_up:
                self.fail("it did not happen in time")
            self.turn_reactor()
        return found

    def turn_quietly(self) -> None:
        """Give what must not happen the time to happen."""
        for _ in range(QUIET_TURNS):
            self.turn_reactor()

    def in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call what blocks until the port has answered."""
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(call, *arguments)
            self.until(answer.done)
            return answer.result()

    def awaited(self, outcomes: list[Outcome], count: int = 1) -> list[Outcome]:
        """The outcomes, once there are so many."""
        self.until(lambda: len(outcomes) >= count)
        return outcomes

    def send(self, channel: str, message: Message) -> Outcome:
        """Send a message and wait for its outcome."""
        outcomes: list[Outcome] = []
        self.port.send(channel, message, 30, outcomes.append)
        return self.awaited(outcomes)[0]

    def message(self, local: str, order: int) -> Message:
        """A message of a socket."""
        return {"reply_channel": self.port.process + local, "path": "/", "order": order, "number": order}

    def connect(self, local: str) -> Outcome:
        """Open a socket and wait for the outcome of its connect."""
        self.receiver.sockets[local] = "/"
        outcomes: list[Outcome] = []
        self.port.connect(local, "/", self.message(local, 0), 30, outcomes.append)
        return self.awaited(outcomes)[0]

    def frame(self, local: str, order: int, ordered: bool, outcomes: list[Outcome]) -> None:
        """Send a frame; its outcome comes later."""
        self.port.frame(local, self.message(local, order), order, ordered, outcomes.append)

    def frames(self, local: str, *orders: int, ordered: bool = False) -> list[Outcome]:
        """Send frames in one turn and wait for their outcomes."""
        outcomes: list[Outcome] = []
        for order in orders:
            self.frame(local, order, ordered, outcomes)
        return self.awaited(outcomes, len(orders))

    def disconnect(self, local: str, order: int) -> list[Outcome]:
        """Close a socket; the outcome comes later."""
        self.receiver.sockets.pop(local, None)
        outcomes: list[Outcome] = []
        self.port.disconnect(local, {**self.message(local, order), "code": 1000}, order, outcomes.append)
        return outcomes


class SendConformance(InterfaceCase):
    """What the port sends to shared channels."""

    def test_a_line_comes_up_and_has_a_name_of_its_own(self) -> None:
        other = self.open_port(Recorder())
        self.turn_quietly()
        self.assertEqual((self.receiver.of("back"), self.receiver.of("lost")), ([()], []))
        self.assertTrue(self.port.process.endswith("!"))
        self.assertNotEqual(self.port.process, other.process)
        self.assertEqual(self.port.label, self.channel_layer.label)

    def test_what_became_of_a_message_is_told_once_and_later(self) -> None:
        outcomes: list[Outcome] = []
        self.port.send("test.one", {"number": 1}, 30, outcomes.append)
        self.assertEqual(outcomes, [])
        self.awaited(outcomes)
        self.turn_quietly()
        self.assertEqual(outcomes, [Outcome.SENT])
        self.assert_next(["test.one"], "test.one", {"number": 1})

    def test_messages_of_one_turn_arrive_in_the_order_they_were_sent(self) -> None:
        outcomes: list[Outcome] = []
        for number in range(self.capacity()):
            self.port.send("test.one", {"number": number}, 30, outcomes.append)
        self.assertEqual(self.awaited(outcomes, self.capacity()), [Outcome.SENT] * self.capacity())
        received = self.take_all(["test.one"], self.capacity())
        self.assertEqual([message["number"] for _, message in received], list(range(self.capacity())))

    def test_a_message_that_is_changed_after_it_was_sent_arrives_as_it_was(self) -> None:
        message = {"number": 1}
        outcomes: list[Outcome] = []
        self.port.send("test.one", message, 30, outcomes.append)
        message["number"] = 2
        self.awaited(outcomes)
        self.assert_next(["test.one"], "test.one", {"number": 1})

    def test_a_single_reader_channel_is_sent_to_as_well(self) -> None:
        channel = self.channel_layer.new_channel("test.single?")
        self.assertEqual(self.send(channel, {"number": 1}), Outcome.SENT)
        self.assert_next([channel], channel, {"number": 1})

    def test_a_full_channel_refuses_and_other_channels_do_not(self) -> None:
        outcomes: list[Outcome] = []
        for number in range(self.capacity() + 2):
            self.port.send("test.full", {"number": number}, 30, outcomes.append)
        self.port.send("test.other", {"number": 1}, 30, outcomes.append)
        self.awaited(outcomes, self.capacity() + 3)
        self.assertEqual(outcomes.count(Outcome.FULL), 2)
        self.assertEqual(outcomes.count(Outcome.SENT), self.capacity() + 1)
        received = self.take_all(["test.full"], self.capacity())
        self.assertEqual([message["number"] for _, message in received], list(range(self.capacity())))

    def test_what_cannot_be_sent_is_told_and_the_next_message_arrives(self) -> None:
        large = {"bytes": bytes(self.message_limit_bytes + 1)}
        for wrong in (large, {"value": object()}):
            self.assertEqual(self.send("test.one", wrong), Outcome.UNSENDABLE)
        self.assertEqual(self.send("test.one", {"number": 1}), Outcome.SENT)
        self.assert_next(["test.one"], "test.one", {"number": 1})

    def test_a_message_expires_when_its_sender_says_so_or_never(self) -> None:
        self.need_native()
        outcomes: list[Outcome] = []
        self.port.send("test.expiry", {"number": "short"}, 0.01, outcomes.append)
        self.port.send("test.expiry", {"number": "for ever"}, math.inf, outcomes.append)
        self.awaited(outcomes, 2)
        self.wait_for_expiry()
        self.assert_next(["test.expiry"], "test.expiry", {"number": "for ever"})
        self.assert_nothing(["test.expiry"])

    def test_a_client_whose_answer_fails_keeps_nobody_from_theirs(self) -> None:
        def fail(outcome: Outcome) -> None:
            raise ZeroDivisionError("a test's own")

        outcomes: list[Outcome] = []
        self.port.send("test.one", {}, 30, fail)
        self.port.send("test.one", {}, 30, outcomes.append)
        self.assertEqual(self.awaited(outcomes), [Outcome.SENT])

    def test_the_channels_that_workers_announced_are_known(self) -> None:
        self.need_native()
        self.channel_layer.announce(["test.one", "test.two"])
        other = self.open_port(Recorder())
        self.assertLessEqual({"test.one", "test.two"}, other.taken_channels)
        self.assertNotIn("test.three", other.taken_channels)


class HearConformance(InterfaceCase):
    """What comes for the clients."""

    def test_replies_are_heard_in_the_order_they_were_said(self) -> None:
        for number in range(5):
            self.channel_layer.send(self.port.process + "a", {"number": number})
        self.channel_layer.send(self.port.process + "b", {"number": 5})
        self.until(lambda: len(self.receiver.of("reply")) == 6)
        self.assertEqual(
            self.receiver.of("reply"), [*(("a", {"number": n}) for n in range(5)), ("b", {"number": 5})]
        )

    def test_a_reply_is_heard_by_the_process_that_it_is_for(self) -> None:
        other = Recorder()
        port = self.open_port(other)
        self.channel_layer.send(port.process + "a", {"number": 1})
        self.until(lambda: other.of("reply"))
        self.turn_quietly()
        self.assertEqual(self.receiver.of("reply"), [])

    def test_a_reply_that_fails_costs_no_other(self) -> None:
        heard: list[Any] = []

        def reply(local: str, message: Message) -> None:
            heard.append(message["number"])
            if message["number"] == 1:
                raise ZeroDivisionError("a test's own")

        self.receiver.reply = reply  # type: ignore[method-assign]
        for number in range(3):
            self.channel_layer.send(self.port.process + "a", {"number": number})
        self.until(lambda: len(heard) == 3)
        self.assertEqual(heard, [0, 1, 2])

    def _join(self, group: str, *members: str) -> None:
        for local in members:
            self.receiver.sockets[local] = "/"
            self.in_thread(self.channel_layer.group_add, group, self.port.process + local)

    def test_a_group_message_reaches_every_member_once_and_in_order(self) -> None:
        self.need("groups")
        self._join("test-group", "a", "b")
        for number in range(3):
            self.channel_layer.send_group("test-group", {"number": number})
        expected = [{"number": number} for number in range(3)]
        for local in ("a", "b"):
            self.until(lambda local=local: len(self.receiver.heard_by(local)) == 3)  # type: ignore[misc]
            self.assertEqual(self.receiver.heard_by(local), expected)

    def test_a_group_message_is_one_and_the_same_for_all_members(self) -> None:
        self.need_native()
        self.need("groups")
        self._join("test-group", "a", "b")
        self.channel_layer.send_group("test-group", {"number": 1})
        self.until(lambda: self.receiver.of("group"))
        self.assertEqual(self.receiver.of("group"), [("test-group", ("a", "b"), {"number": 1})])

    def test_who_is_in_several_groups_gets_one_copy_of_what_is_sent_to_them(self) -> None:
        self.need_native()
        self.need("groups")
        self._join("test-group", "a", "b")
        self._join("test-other", "b", "c")
        self.channel_layer.send_groups(["test-group", "test-other", "test-nobody"], {"number": 1})
        self.until(lambda: self.receiver.of("group"))
        ((_, members, message),) = self.receiver.of("group")
        self.assertEqual((sorted(members), message), (["a", "b", "c"], {"number": 1}))
        self.channel_layer.send_groups(["test-nobody", "test-other"], {"number": 2})
        self.until(lambda: len(self.receiver.of("group")) == 2)
        self.assertEqual(sorted(self.receiver.of("group")[1][1]), ["b", "c"])

    def test_a_group_message_and_a_reply_keep_their_order(self) -> None:
        self.need("groups")
        self._join("test-group", "a")
        self.channel_layer.send(self.port.process + "a", {"number": 0})
        self.channel_layer.send_group("test-group", {"number": 1})
        self.channel_layer.send(self.port.process + "a", {"number": 2})
        self.until(lambda: len(self.receiver.heard_by("a")) == 3)
        self.assertEqual([message["number"] for message in self.receiver.heard_by("a")], [0, 1, 2])

    def test_the_members_of_a_group_are_known_by_their_full_names(self) -> None:
        self.need("groups")
        self._join("test-group", "a", "b")
        members = self.in_thread(self.channel_layer.group_channels, "test-group")
        self.assertEqual(sorted(members), [self.port.process + "a", self.port.process + "b"])
        self.assertEqual(self.in_thread(self.channel_layer.group_count, "test-group"), 2)
        self.in_thread(self.channel_layer.group_discard, "test-group", self.port.process + "a")
        self.until(lambda: self.in_thread(self.channel_layer.group_channels, "test-group") == members[1:])

    def test_who_ended_is_in_no_group_any_more(self) -> None:
        self.need_native()
        self.need("groups")
        self._join("test-group", "a", "request")
        self.connect("a")
        self.port.leave_groups("request")
        self.awaited(self.disconnect("a", 1))
        members = self.in_thread(self.channel_layer.group_channels, "test-group")
        self.assertEqual(members, [])
        self.assertEqual(self.in_thread(self.channel_layer.group_count, "test-group"), 0)

    def test_who_is_gone_can_join_no_group(self) -> None:
        self.need_native()
        self.need("groups")
        self.in_thread(self.channel_layer.group_add, "test-group", self.port.process + "gone")
        self.turn_quietly()
        self.assertEqual(self.in_thread(self.channel_layer.group_channels, "test-group"), [])

    def test_notes_are_heard_with_their_kind(self) -> None:
        self.need_native()
        worker = self.channel_layer.open_worker_port(lambda out, outcome: None)
        self.addCleanup(worker.close)
        body = note(RUNNING, local="a")
        worker.turn([Send(self.port.process + "a", pack_message({"number": 1}))], [], 1, 0)
        worker.turn([Control(self.port.process + "a", body)], [], 1, 0)
        self.until(lambda: self.receiver.of("control"))
        kinds = [what[0] for what in self.receiver.heard if what[0] in ("reply", "control")]
        self.assertEqual(kinds, ["reply", "control"])
        self.assertEqual(self.receiver.of("control"), [(RUNNING, "a", body)])


class SocketConformance(InterfaceCase):
    """Sockets: their connect, frames and disconnect."""

    worker: WorkerPort

    def setUp(self) -> None:
        super().setUp()
        self.worker = self.channel_layer.open_worker_port(lambda out, outcome: None)
        self.addCleanup(self.worker.close)

    def taken(self, count: int, *finished: Delivery, drain: bool = False) -> list[Delivery]:
        """Exactly `count` messages of sockets, taken by a worker that has finished some before."""
        out = [
            Finish(one.message["reply_channel"], one.order, one.place, drain)
            for one in finished
            if one.order is not None
        ]
        found = self.worker.turn(out, CHANNELS, count or 1, 0.05)
        give_up = time.monotonic() + self.patience_seconds
        while len(found) < count and time.monotonic() < give_up:
            found += self.worker.turn([], CHANNELS, count - len(found), 0.05)
        self.assertEqual(len(found), count, found)
        return found

    def opened(self, local: str = "a", drain: bool = False) -> None:
        """A socket whose connect a worker has finished."""
        self.assertEqual(self.connect(local), Outcome.SENT)
        (connect,) = self.taken(1)
        self.taken(0, connect, drain=drain)

    def test_a_socket_lives_from_its_connect_to_its_disconnect(self) -> None:
        self.assertEqual(self.connect("a"), Outcome.SENT)
        self.assert_next([CHANNELS[0]], CHANNELS[0], self.message("a", 0))
        for order in (1, 2):
            self.assertEqual(self.frames("a", order), [Outcome.SENT])
            self.assert_next([CHANNELS[1]], CHANNELS[1], self.message("a", order))
        self.assertEqual(self.awaited(self.disconnect("a", 3)), [Outcome.SENT])
        _, message = self.take([CHANNELS[2]])
        self.assertEqual((message["order"], message["code"]), (3, 1000))

    def test_a_disconnect_is_told_once(self) -> None:
        self.connect("a")
        self.take([CHANNELS[0]])
        for outcome in (Outcome.SENT, Outcome.TOLD, Outcome.TOLD):
            self.assertEqual(self.awaited(self.disconnect("a", 1)), [outcome])
        self.take([CHANNELS[2]])
        self.assert_nothing([CHANNELS[2]])

    def test_a_socket_that_was_forgotten_is_owed_no_disconnect(self) -> None:
        self.connect("a")
        self.take([CHANNELS[0]])
        self.receiver.sockets.clear()
        self.port.forget("a")
        self.assertEqual(self.awaited(self.disconnect("a", 1)), [Outcome.TOLD])
        self.assert_nothing([CHANNELS[2]])

    def test_a_full_channel_refuses_a_connect_and_its_socket_is_not_known(self) -> None:
        for number in range(self.capacity()):
            self.assertEqual(self.connect(f"a{number}"), Outcome.SENT)
        self.assertEqual(self.connect("b"), Outcome.FULL)
        self.assertEqual(self.awaited(self.disconnect("b", 1)), [Outcome.TOLD])

    def test_plain_frames_of_a_turn_arrive_in_order_and_before_the_disconnect(self) -> None:
        self.connect("a")
        self.take([CHANNELS[0]])
        outcomes: list[Outcome] = []
        for order in (1, 2, 3):
            self.frame("a", order, False, outcomes)
        told = self.disconnect("a", 4)
        self.awaited(told)
        self.assertEqual((outcomes, told), ([Outcome.SENT] * 3, [Outcome.SENT]))
        received = self.take_all([CHANNELS[1]], 3)
        self.assertEqual([message["number"] for _, message in received], [1, 2, 3])

    def test_behind_a_frame_that_found_no_room_none_is_accepted_and_all_may_be_sent_again(self) -> None:
        self.connect("a")
        self.take([CHANNELS[0]])
        self.channel_layer.send_many([(CHANNELS[1], {})] * (self.capacity() - 1))
        self.assertEqual(self.frames("a", 1, 2, 3), [Outcome.SENT, Outcome.FULL, Outcome.FULL])
        self.take_all([CHANNELS[1]], self.capacity())
        self.assertEqual(self.frames("a", 2, 3), [Outcome.SENT] * 2)
        received = self.take_all([CHANNELS[1]], 2)
        self.assertEqual([message["number"] for _, message in received], [2, 3])

    def test_a_connect_or_frame_that_is_repeated_is_a_duplicate_and_starts_once(self) -> None:
        self.need_native()
        self.opened(drain=True)
        self.assertEqual(self.connect("a"), Outcome.DUPLICATE)
        self.assertEqual(self.frames("a", 1, 2), [Outcome.SENT] * 2)
        self.assertEqual(self.frames("a", 1, 2), [Outcome.DUPLICATE] * 2)
        self.assertEqual(numbers(self.taken(2)), [1, 2])
        self.taken(0)

    def test_a_frame_of_a_socket_that_nobody_knows_is_gone(self) -> None:
        self.need_native()
        self.assertEqual(self.frames("stranger", 1), [Outcome.GONE])

    def test_ordered_frames_wait_for_those_before_them_and_the_disconnect_comes_last(self) -> None:
        self.need_native()
        self.connect("a")
        (delivery,) = self.taken(1)
        for order in (1, 2):
            self.assertEqual(self.frames("a", order, ordered=True), [Outcome.BOXED])
        self.assertEqual(self.awaited(self.disconnect("a", 3)), [Outcome.BOXED])
        self.taken(0)
        for order in (1, 2, 3):
            (delivery,) = self.taken(1, delivery)
            self.assertEqual((delivery.order, delivery.message["number"]), (order, order))
        self.assertEqual(delivery.channel, CHANNELS[2])

    def test_a_disconnect_is_not_refused_by_a_full_channel(self) -> None:
        self.need_native()
        self.opened()
        self.channel_layer.send_many([(CHANNELS[2], {})] * self.capacity())
        self.assertEqual(self.awaited(self.disconnect("a", 1)), [Outcome.SENT])
        self.assertEqual(len(self.take_all([CHANNELS[2]], self.capacity() + 1)), self.capacity() + 1)

    def test_how_full_the_channel_is_comes_before_the_outcome_of_a_frame(self) -> None:
        self.need_native()
        self.opened(drain=True)
        heard_before: list[int] = []
        self.port.frame(
            "a", self.message("a", 1), 1, False, lambda _: heard_before.append(len(self.receiver.of("level")))
        )
        self.until(lambda: heard_before)
        self.assertEqual(heard_before, [1])
        ((channel, sent, waiting, capacity),) = self.receiver.of("level")
        self.assertEqual((channel, waiting, capacity), (CHANNELS[1], 1, self.capacity()))
        self.taken(1)
        self.port.ask_level(CHANNELS[1])
        self.until(lambda: len(self.receiver.of("level")) == 2)
        self.assertEqual(self.receiver.of("level")[1], (CHANNELS[1], sent, 0, capacity))

    def test_a_frame_that_expired_closes_its_ordered_socket(self) -> None:
        self.need_native()
        self.opened()
        self.assertEqual(self.frames("a", 1, ordered=True), [Outcome.SENT])
        self.wait_for_expiry()
        self.taken(0)
        self.until(lambda: self.receiver.of("control"))
        ((kind, local, body),) = self.receiver.of("control")
        self.assertEqual((kind, local, body["code"]), (CLOSE, "a", 1013))


class EndConformance(InterfaceCase):
    """Stopping, and outages."""

    def test_a_stop_waits_for_the_answers_that_are_due(self) -> None:
        outcomes: list[Outcome] = []
        self.port.send("test.one", {"number": 1}, 30, outcomes.append)
        told_before_end: list[int] = []
        self.port.stop(lambda: told_before_end.append(len(outcomes)), self.patience_seconds)
        self._stopped.append(self.port)
        self.until(lambda: told_before_end)
        self.assertEqual((told_before_end, outcomes), ([1], [Outcome.SENT]))

    def test_after_the_end_nothing_is_sent(self) -> None:
        self.stop(self.port, self.receiver)
        outcomes: list[Outcome] = []
        self.port.send("test.one", {}, 30, outcomes.append)
        self.assertEqual(outcomes, [])
        self.assertEqual(self.awaited(outcomes), [Outcome.UNAVAILABLE])
        self.assert_nothing(["test.one"])

    def test_what_is_sent_to_a_process_that_ended_is_refused_as_gone(self) -> None:
        self.need_native()
        self.stop(self.port, self.receiver)
        outcomes = self.channel_layer.send_many([(self.port.process + "a", {})])
        self.assertEqual(outcomes, [Outcome.GONE])

    def test_an_outage_and_its_end_are_told_once(self) -> None:
        self.lose_layer()
        self.until(lambda: self.receiver.of("lost"))
        self.assertEqual(self.send("test.one", {"number": 1}), Outcome.UNAVAILABLE)
        self.restore_layer()
        self.until(lambda: len(self.receiver.of("back")) == 2)
        self.turn_quietly()
        kinds = [what[0] for what in self.receiver.heard]
        self.assertEqual(kinds, ["back", "lost", "back"])
        self.assertEqual(self.send("test.one", {"number": 2}), Outcome.SENT)
        self.assert_next(["test.one"], "test.one", {"number": 2})

    def test_a_disconnect_that_meets_an_outage_is_told_once_after_it(self) -> None:
        for local in ("a", "b"):
            self.connect(local)
            self.take([CHANNELS[0]])
        told_before = self.disconnect("a", 1)
        self.lose_layer()
        told_within = self.disconnect("b", 1)
        self.turn_reactor()
        self.restore_layer()
        self.awaited(told_before)
        self.awaited(told_within)
        received = self.take_all([CHANNELS[2]], 2)
        self.assertEqual(
            sorted(message["reply_channel"] for _, message in received),
            [self.port.process + "a", self.port.process + "b"],
        )
        self.turn_quietly()
        self.assert_nothing([CHANNELS[2]])
        self.assertEqual((len(told_before), len(told_within)), (1, 1))

    def test_replies_said_during_an_outage_are_heard_after_it(self) -> None:
        self.lose_layer()
        self.until(lambda: self.receiver.of("lost"))
        self.channel_layer.send(self.port.process + "a", {"number": 1})
        self.restore_layer()
        self.until(lambda: self.receiver.of("reply"))
        self.assertEqual(self.receiver.of("reply"), [("a", {"number": 1})])

    def test_frames_that_met_an_outage_may_be_sent_again_and_none_is_doubled(self) -> None:
        self.need_native()
        self.connect("a")
        self.take([CHANNELS[0]])
        outcomes: list[Outcome] = []
        for order in (1, 2):
            self.frame("a", order, False, outcomes)
        self.turn_reactor()
        self.lose_layer()
        self.awaited(outcomes, 2)
        self.restore_layer()
        self.until(lambda: len(self.receiver.of("back")) == 2)
        again = self.frames("a", 1, 2)
        self.assertLessEqual(set(again), {Outcome.SENT, Outcome.DUPLICATE})
        received = self.take_all([CHANNELS[1]], 2)
        self.assertEqual([message["number"] for _, message in received], [1, 2])
        self.assert_nothing([CHANNELS[1]])


class InterfacePortConformance(SendConformance, HearConformance, SocketConformance, EndConformance):
    """Everything an interface server's port must show. Mix it into a `unittest.TestCase`."""
