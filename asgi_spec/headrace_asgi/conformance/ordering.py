"""The part of a worker port's contract that is about ordered sockets. Needs `open_process`."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

import time

from ..contract import Control, Delivery, Finish, Out, Outcome, Send
from ..control import CLOSE, VERDICT, note
from ..envelope import Message, pack_message
from ..messages import WEBSOCKET_CONNECT, WEBSOCKET_DISCONNECT, WEBSOCKET_RECEIVE
from .port_case import PortCase, ProcessUnderTest, numbers

__all__ = ["OrderConformance"]


class OrderConformance(PortCase):
    """Ordered sockets (docs/protocol.md, section 7): at most one message of a socket is on its way."""

    channels = (WEBSOCKET_CONNECT.channel, WEBSOCKET_RECEIVE.channel, WEBSOCKET_DISCONNECT.channel)

    def test_ordering_is_declared(self) -> None:
        self.assert_declared("ordering")
        if not self.skip_undeclared:
            given = type(self).open_process is not PortCase.open_process
            self.assertTrue(given, "give open_process: without it no ordered socket is tested")

    def open_socket(self) -> tuple[ProcessUnderTest, str]:
        """A process and the reply channel of its socket `client`, whose connect is sent."""
        self.need("ordering")
        process = self.open_process()
        self.addCleanup(process.close)
        socket = process.process + "client"
        self.assertEqual(process.connect("client", "/", self._message(socket, 0)), Outcome.SENT)
        return process, socket

    def _message(self, socket: str, order: int) -> Message:
        return {"reply_channel": socket, "path": "/", "order": order, "number": order}

    def _frame(self, process: ProcessUnderTest, socket: str, order: int) -> Outcome:
        return process.frame("client", self._message(socket, order), order)

    def _finish(self, delivery: Delivery, drain: bool = False) -> Finish:
        if delivery.order is None:
            self.fail(f"a delivery from a socket has no order number: {delivery}")
        return Finish(delivery.message["reply_channel"], delivery.order, delivery.place, drain)

    def test_a_finish_lets_the_next_message_of_the_socket_out_and_the_disconnect_comes_last(self) -> None:
        process, socket = self.open_socket()
        outcomes = [self._frame(process, socket, order) for order in (1, 2)]
        self.assertEqual(outcomes, [Outcome.BOXED] * 2)
        self.assertEqual(process.disconnect("client", self._message(socket, 3), 3), Outcome.BOXED)
        (delivery,) = self.turns(self.channels, 1)
        for order in (1, 2, 3):
            self.assertEqual(self.port.turn([], self.channels, 5, 0), [])
            (delivery,) = self.turns(self.channels, 1, self._finish(delivery))
            self.assertEqual((delivery.order, delivery.message["number"]), (order, order))
        self.assertEqual(delivery.channel, "websocket.disconnect")
        self.assertEqual(self.port.turn([self._finish(delivery)], self.channels, 5, 0), [])
        self.assertEqual(self.refused, [])

    def test_a_frame_after_a_finish_goes_out_at_once(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect)], [], 1, 0)
        self.assertEqual(self._frame(process, socket, 1), Outcome.SENT)
        self.assertEqual(numbers(self.turns(self.channels, 1)), [1])

    def test_a_draining_finish_moves_the_whole_mailbox_out(self) -> None:
        process, socket = self.open_socket()
        for order in (1, 2, 3):
            self._frame(process, socket, order)
        (connect,) = self.turns(self.channels, 1)
        taken = self.turns(self.channels, 3, self._finish(connect, drain=True))
        self.assertEqual(numbers(taken), [1, 2, 3])

    def test_a_stale_finish_changes_nothing(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        for order in (1, 2):
            self._frame(process, socket, order)
        (frame,) = self.turns(self.channels, 1, self._finish(connect))
        self.assertEqual(self.port.turn([self._finish(connect)], self.channels, 5, 0), [])
        self.assertEqual(numbers(self.turns(self.channels, 1, self._finish(frame))), [2])

    def test_an_ordered_message_that_is_given_back_or_requeued_keeps_its_successors_waiting(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        for order in (1, 2):
            self._frame(process, socket, order)
        (frame,) = self.turns(self.channels, 1, self._finish(connect))
        self.port.give_back([frame])
        (frame,) = self.turns(self.channels, 1)
        self.assertEqual((frame.order, frame.retries), (1, 0))
        self.assertTrue(self.port.requeue(frame))
        (frame,) = self.turns(self.channels, 1)
        self.assertEqual((frame.order, frame.retries), (1, 1))
        self.assertEqual(self.port.turn([], self.channels, 5, 0), [])
        self.assertEqual(numbers(self.turns(self.channels, 1, self._finish(frame))), [2])

    def test_a_late_holder_whose_successor_went_on_may_not_start_or_come_back(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.assertTrue(self.port.may_start(connect, connect.taken_at + 16))
        self.assertTrue(self.port.renew(connect))
        self._frame(process, socket, 1)
        (frame,) = self.turns(self.channels, 1, self._finish(connect))
        self.assertFalse(self.port.may_start(connect, connect.taken_at + 16))
        self.assertFalse(self.port.renew(connect))
        self.assertFalse(self.port.requeue(connect))
        self.port.give_back([connect])
        self.assertEqual(self.port.turn([], self.channels, 5, 0), [])
        self.assertTrue(self.port.may_start(frame, frame.taken_at + 16))

    def test_a_frame_that_is_repeated_is_a_duplicate_and_starts_once(self) -> None:
        for ordered in (True, False):
            with self.subTest(ordered=ordered):
                process, socket = self.open_socket()
                (connect,) = self.turns(self.channels, 1)
                self.port.turn([self._finish(connect, drain=not ordered)], [], 1, 0)
                sent = [
                    process.frame("client", self._message(socket, order), order, ordered)
                    for order in (1, 1, 2, 1, 2)
                ]
                accepted = [Outcome.SENT, Outcome.BOXED if ordered else Outcome.SENT]
                repeated = Outcome.DUPLICATE
                self.assertEqual(sent, [accepted[0], repeated, accepted[1], repeated, repeated])
                (first,) = self.turns(self.channels, 1)
                (second,) = self.turns(self.channels, 1, *([self._finish(first)] if ordered else []))
                self.assertEqual(numbers([first, second]), [1, 2])
                self.port.turn([self._finish(second)] if ordered else [], [], 1, 0)
                self.assertEqual(self.port.turn([], self.channels, 5, 0), [])

    def test_a_frame_that_found_no_room_may_be_sent_again_with_its_number(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect)], [], 1, 0)
        self.send_all(WEBSOCKET_RECEIVE.channel, self.capacity())
        for ordered in (True, False):
            message = self._message(socket, 1)
            self.assertEqual(process.frame("client", message, 1, ordered), Outcome.FULL)
        self.turns([WEBSOCKET_RECEIVE.channel], self.capacity())
        self.assertEqual(self._frame(process, socket, 1), Outcome.SENT)
        self.assertEqual(self._frame(process, socket, 1), Outcome.DUPLICATE)

    def test_an_expired_frame_is_finished_by_who_drops_it_and_closes_its_socket(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect)], [], 1, 0)
        self.assertEqual(self._frame(process, socket, 1), Outcome.SENT)
        self.assertEqual(process.disconnect("client", self._message(socket, 2), 2), Outcome.BOXED)
        self.wait_for_expiry()
        (delivery,) = self.turns(self.channels, 1)
        self.assertEqual((delivery.channel, delivery.order), ("websocket.disconnect", 2))
        heard = [(one.local, one.control, one.message.get("code")) for one in process.heard()]
        self.assertEqual(heard, [("client", CLOSE, 1013)])

    def test_nobody_is_told_the_end_of_a_socket_whose_connect_expired_unseen(self) -> None:
        process, socket = self.open_socket()
        later = process.process + "later"
        self.assertEqual(process.connect("later", "/", self._message(later, 0)), Outcome.SENT)
        self._frame(process, socket, 1)
        # One was told before the connect is dropped, the other is told after it.
        self.assertEqual(process.disconnect("client", self._message(socket, 2), 2), Outcome.BOXED)
        self.wait_for_expiry()
        self.assertEqual(self.port.turn([], self.channels, 5, 0.1), [])
        self.port.turn([], [], 1, 0)
        self.assertEqual(process.disconnect("client", self._message(socket, 2), 2), Outcome.TOLD)
        self.assertEqual(process.disconnect("later", self._message(later, 1), 1), Outcome.TOLD)
        self.assertEqual(process.frame("later", self._message(later, 1), 1), Outcome.GONE)
        self.assertEqual(self.port.turn([], self.channels, 5, 0), [])

    def test_a_connect_that_expired_after_its_take_is_dropped_like_one_that_expired_before(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.wait_for_expiry()
        self.assertFalse(self.port.may_start(connect, time.monotonic()))
        self.port.turn([], [], 1, 0)
        self.assertEqual(process.disconnect("client", self._message(socket, 1), 1), Outcome.TOLD)
        self.assertEqual(self.port.turn([], self.channels, 5, 0), [])

    def test_a_connect_that_a_consumer_put_off_until_it_expired_has_its_disconnect(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.assertTrue(self.port.requeue(connect))
        self.wait_for_expiry()
        self.assertEqual(process.disconnect("client", self._message(socket, 1), 1), Outcome.BOXED)
        (delivery,) = self.turns(self.channels, 1)
        self.assertEqual(delivery.channel, "websocket.disconnect")

    def test_a_late_drop_of_a_connect_that_somebody_moved_on_from_changes_nothing(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect)], [], 1, 0)
        self.wait_for_expiry()
        self.assertFalse(self.port.may_start(connect, time.monotonic()))
        self.port.turn([], [], 1, 0)
        self.assertEqual(self._frame(process, socket, 1), Outcome.SENT)

    def test_a_frame_behind_a_lost_message_is_lapsed_and_the_disconnect_still_told(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect)], [], 1, 0)
        self._frame(process, socket, 1)
        self.turns(self.channels, 1)
        self.let_leases_lapse()
        for _ in range(2):
            self.assertEqual(self._frame(process, socket, 2), Outcome.LAPSED)
        self.assertEqual(self._frame(process, socket, 1), Outcome.DUPLICATE)
        self.assertEqual(self.port.turn([], self.channels, 5, 0), [])
        self.assertEqual(process.disconnect("client", self._message(socket, 3), 3), Outcome.SENT)
        (delivery,) = self.turns(self.channels, 1)
        self.assertEqual(delivery.channel, "websocket.disconnect")

    def test_a_socket_that_was_idle_for_longer_than_a_lease_has_lost_nothing(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect)], [], 1, 0)
        self.let_leases_lapse()
        self.assertEqual(self._frame(process, socket, 1), Outcome.SENT)

    def test_a_flush_loses_what_is_in_flight_and_leaves_idle_sockets_alone(self) -> None:
        self.need("flush")
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.channel_layer.flush()
        self.assertEqual(self._frame(process, socket, 1), Outcome.LAPSED)
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect)], [], 1, 0)
        self.channel_layer.flush()
        self.assertEqual(self._frame(process, socket, 1), Outcome.SENT)

    def test_a_frame_on_its_way_when_the_mailbox_is_drained_is_no_loss(self) -> None:
        process, socket = self.open_socket()
        (connect,) = self.turns(self.channels, 1)
        self.port.turn([self._finish(connect, drain=True)], [], 1, 0)
        self.assertEqual(self._frame(process, socket, 1), Outcome.SENT)
        self.assertEqual(process.frame("client", self._message(socket, 2), 2, ordered=False), Outcome.SENT)
        self.assertEqual(numbers(self.turns(self.channels, 2)), [1, 2])

    def test_replies_and_notes_reach_the_process_in_the_order_they_were_said(self) -> None:
        process, socket = self.open_socket()
        out: list[Out] = [
            Control(socket, note(VERDICT, local="client", ordered=True)),
            Send(socket, pack_message({"accept": True})),
            Send(socket, pack_message({"text": "hello"})),
        ]
        self.port.turn(out, [], 1, 0)
        heard = [(one.local, one.control, one.message) for one in process.heard()]
        self.assertEqual([local for local, _, _ in heard], ["client"] * 3)
        self.assertEqual([kind for _, kind, _ in heard], [VERDICT, "", ""])
        self.assertEqual([body for _, _, body in heard[1:]], [{"accept": True}, {"text": "hello"}])
        self.assertIs(heard[0][2]["ordered"], True)

    def test_a_note_for_a_foreign_server_is_not_sent_and_is_no_refusal(self) -> None:
        self.port.turn([Control("test.process!one", note(VERDICT, local="one", ordered=False))], [], 1, 0)
        self.assert_nothing(["test.process!"])
        self.assertEqual(self.refused, [])
