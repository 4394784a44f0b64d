"""A call asks no more of what its request came on than `Stream` says, so that HTTP/2 can be one."""

from __future__ import annotations

from twisted.internet.testing import StringTransport

from headrace_interface.http.call import Call
from headrace_interface.http.head import Framing, RequestHead
from headrace_interface.http.parser import Incoming
from headrace_interface.http.stream import Stream, StreamCall
from headrace_interface.write_buffer import WriteBuffer
from tests.support.http_lab import Lab, answers


class OneStream:
    """A stream that is no connection: it carries one call."""

    def __init__(self, lab: Lab) -> None:
        self.transport = StringTransport()
        self.write_buffer = WriteBuffer(self.transport, list, list, lab.context.backlog)
        self.moves = 0
        self.done: list[bool] = []
        self.aborted = False

    def call_moved(self) -> None:
        self.moves += 1

    def call_replaced(self, call: StreamCall) -> None:
        self.replacement = call

    def call_done(self, call: StreamCall, keep_alive: bool) -> None:
        self.done.append(keep_alive)

    def abort(self) -> None:
        self.aborted = True


def begin(lab: Lab) -> OneStream:
    this = OneStream(lab)
    stream: Stream = this
    head = RequestHead("GET", b"/", "/", b"", "1.1", [], "http", None, None, "", keep_alive=True)
    Call(lab.context, stream, Incoming(head, Framing(), None)).begin()
    return this


def test_a_call_is_answered_on_a_stream_that_is_no_connection() -> None:
    lab = Lab()
    stream = begin(lab)
    lab.reply()
    assert [answer.body for answer in answers(stream.transport.value())] == [b"ok"]
    assert stream.done == [True]


def test_a_stream_hears_that_its_call_has_a_new_deadline_and_that_it_broke() -> None:
    lab = Lab()
    stream = begin(lab)
    lab.reply({"status": 200, "content": b"a", "more_content": True})
    assert stream.moves == 1
    lab.reply({"status": 200})
    assert stream.aborted
    assert stream.done == []
