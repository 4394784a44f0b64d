"""The part of a worker port's contract that is about ordered sockets. Needs `open_process`."""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009

from __future__ import annotations

from .conformance_port_case import PortCase, ProcessUnderTest, numbers
from .contract import Control, Delivery, Finish, Out, Outcome, Send
from .control import VERDICT, note
from .envelope import Message
from .messages import WEBSOCKET_CONNECT, WEBSOCKET_DISCONNECT, WEBSOCKET_RECEIVE

__all__ = ["OrderConformance"]


class OrderConformance(PortCase):
    """Ordered sockets (PROTOCOL 1): at most one message of a socket is on its way."""

    channels = (WEBSOCKET_CONNECT.channel, WEBSOCKET_RECEIVE.channel, WEBSOCKET_DISCONNECT.channel)

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

    def test_an_expired_ordered_message_is_finished_by_who_drops_it(self) -> None:
        process, socket = self.open_socket()
        self.assertEqual(process.disconnect("client", self._message(socket, 1), 1), Outcome.BOXED)
        self.wait_for_expiry()
        (delivery,) = self.turns(self.channels, 1)
        self.assertEqual((delivery.channel, delivery.order), ("websocket.disconnect", 1))

    def test_replies_and_notes_reach_the_process_in_the_order_they_were_said(self) -> None:
        process, socket = self.open_socket()
        out: list[Out] = [
            Control(socket, note(VERDICT, local="client", ordered=True)),
            Send(socket, {"accept": True}),
            Send(socket, {"text": "hello"}),
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
