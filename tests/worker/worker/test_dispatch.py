"""One message, one consumer."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from headrace import Channel, Group, route
from headrace.conf import WorkerSettings
from headrace.exceptions import (
    ChannelSocketException,
    ConsumeLater,
    DenyConnection,
    WebsocketCloseException,
)
from headrace.message import Message
from headrace.worker.dispatch import Dispatcher
from headrace.worker.hooks import Hook
from headrace_asgi.acknowledgement import Claim
from headrace_asgi.contract import Acknowledge, Control, Delivery, Finish, Out, Send, SendGroup
from headrace_asgi.envelope import unpack_message
from headrace_asgi.errors import ChannelFull
from tests.support.workers import layer_with

REPLY = "hr1.0.feed!abc"
CHANNELS = ["http.request", "websocket.connect", "websocket.receive", "websocket.disconnect", "work"]


def delivery(channel: str, order: int | None = None, retries: int = 0, **content: Any) -> Delivery:
    content = {"reply_channel": REPLY, "path": "/", **content}
    content = {key: value for key, value in content.items() if value is not None}
    return Delivery(channel, content, b"", 0, "0", 0.0, order, retries)


class Bench:
    """A dispatcher for one consumer, and what it counted."""

    def __init__(self, consumer: Any, hooks: Sequence[Hook] = (), **settings: Any) -> None:
        settings.setdefault("origin_check", False)
        self.layer = layer_with([route(CHANNELS, consumer)])
        self.counters: Counter[str] = Counter()
        self.dispatcher = Dispatcher(
            self.layer, self.layer.router, WorkerSettings(**settings), hooks, self.counters
        )

    def run(self, *args: Any, **kwargs: Any) -> list[Out] | None:
        return self.dispatcher.run(delivery(*args, **kwargs))


def note(kind: str, **values: Any) -> Control:
    return Control(REPLY, {"control": kind, "local": "abc", **values})


def messages(out: list[Out] | None) -> list[Any]:
    """What the clients of a result get: the content of sends, notes as they are."""
    assert out is not None
    return [unpack_message(item.packed) if isinstance(item, Send | SendGroup) else item for item in out]


def test_what_a_consumer_sends_leaves_when_it_returns() -> None:
    seen = []

    def consumer(message: Message) -> None:
        content = {"text": "one"}
        message.reply_channel.send(content)
        content["text"] = "two"
        message.reply_channel.send(content)
        Group("room", channel_layer=message.channel_layer).send({"text": "all"})
        seen.append(bench.layer.receive([REPLY.partition("!")[0] + "!"]))

    bench = Bench(consumer)
    out = bench.run("websocket.receive")
    assert out is not None
    assert [type(item) for item in out] == [Send, Send, SendGroup]
    assert all(item.origin.endswith("consumer") for item in out)  # type: ignore[union-attr]
    assert out[0].packed != out[1].packed  # type: ignore[union-attr]
    assert seen == [(None, None)]
    assert bench.counters == {"done": 1}


def test_content_is_checked_where_it_is_sent() -> None:
    def consumer(message: Message) -> None:
        for content in ({"x": object()}, {"x": 2**70}, [1]):
            with pytest.raises(TypeError):
                message.reply_channel.send(content)
        with pytest.raises(ValueError, match="dict"):
            Group("g", channel_layer=message.channel_layer).send([1])  # type: ignore[arg-type]

    assert Bench(consumer).run("work") == []


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_w7_nothing_that_a_consumer_raises_is_fatal_and_what_it_sent_is_dropped(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"text": "half"})
        raise error

    bench = Bench(consumer)
    assert bench.run("websocket.receive") == []
    assert bench.run("websocket.connect") == [note("failed", status=500, reason="the consumer failed")]
    assert bench.run("http.request") == [note("failed", status=500, reason="the consumer failed")]
    assert bench.run("work", reply_channel=None) == []
    assert bench.counters["failed"] == 4
    assert "its messages are dropped" in caplog.text
    assert type(error).__name__ in caplog.text


def test_a_server_of_another_make_is_answered_in_ordinary_messages() -> None:
    def consumer(message: Message) -> None:
        raise ValueError

    bench = Bench(consumer)
    (response,) = messages(bench.run("http.request", reply_channel="other!x"))
    assert response["status"] == 500
    assert messages(bench.run("websocket.connect", reply_channel="other!x")) == [{"close": True}]


def test_o2_an_ordered_message_is_finished_whatever_its_consumer_does() -> None:
    def consumer(message: Message) -> None:
        if message["text"] == "bad":
            raise ValueError
        message.reply_channel.send({"text": "good"})

    bench = Bench(consumer)
    finish = Finish(REPLY, 7, "0", drain=False)
    assert bench.run("websocket.receive", order=7, text="bad") == [finish]
    assert messages(bench.run("websocket.receive", order=7, text="good")) == [{"text": "good"}, finish]


@pytest.mark.parametrize(("wanted", "drain"), [(True, False), ("slight", True), (False, True)])
@pytest.mark.parametrize("fails", [False, True])
def test_o1_the_verdict_on_a_connect_comes_first_and_the_finish_last(
    wanted: bool | str, drain: bool, fails: bool
) -> None:
    def consumer(message: Message) -> None:
        if fails:
            raise ValueError
        message.reply_channel.send({"accept": True})

    consumer.headrace_ordering = wanted  # type: ignore[attr-defined]
    said = note("failed", status=500, reason="the consumer failed") if fails else {"accept": True}
    assert messages(Bench(consumer).run("websocket.connect", order=0)) == [
        note("verdict", ordered=wanted),
        said,
        Finish(REPLY, 0, "0", drain=drain),
    ]


def test_an_ordered_consumer_that_meets_an_unordered_frame_says_so_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def consumer(message: Message) -> None:
        """Asks for order."""

    consumer.headrace_ordering = True  # type: ignore[attr-defined]
    bench = Bench(consumer)
    assert bench.run("websocket.receive") == [note("verdict", ordered=True)]
    bench.run("websocket.receive")
    assert len(caplog.records) == 1
    assert "asks for ordering" in caplog.text


def test_w1_a_denied_connection_is_closed_and_so_is_an_open_one() -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"accept": True})
        raise DenyConnection

    bench = Bench(consumer)
    assert messages(bench.run("websocket.connect")) == [{"close": True}]
    assert messages(bench.run("websocket.receive")) == [{"close": 1008}]
    assert bench.counters == {"done": 2}
    assert bench.run("http.request") == [note("failed", status=500, reason="the consumer failed")]
    assert bench.run("work", reply_channel=None) == []


@pytest.mark.parametrize("reply_channel", [REPLY, "websocket.send!x", "daphne.response.x!y"])
def test_w2_a_socket_is_closed_whatever_its_reply_channel_is_called(reply_channel: str) -> None:
    def consumer(message: Message) -> None:
        raise WebsocketCloseException(message["code"])

    bench = Bench(consumer)
    for code, close in ((4001, 4001), (1000, 1000), (None, True)):
        sent = bench.dispatcher.run(
            Delivery("websocket.receive", {"reply_channel": reply_channel, "code": code}, b"", 0, "0", 0.0)
        )
        assert messages(sent) == [{"close": close}]


def test_an_exception_of_ones_own_may_answer_the_client() -> None:
    class Farewell(ChannelSocketException):
        def run(self, message: Message) -> None:
            message.reply_channel.send({"text": "bye"})

    class Broken(ChannelSocketException):
        def run(self, message: Message) -> None:
            message.reply_channel.send({"text": "half"})
            raise SystemExit

    def consumer(message: Message) -> None:
        message.reply_channel.send({"text": "dropped"})
        raise {"farewell": Farewell, "broken": Broken}[message["text"]]

    bench = Bench(consumer)
    assert messages(bench.run("websocket.receive", text="farewell")) == [{"text": "bye"}]
    assert bench.run("websocket.receive", text="broken") == []


def test_w8_consume_later_ends_after_its_retries_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def consumer(message: Message) -> None:
        Channel("work", channel_layer=message.channel_layer).send({"side": "message"})
        raise ConsumeLater

    bench = Bench(consumer, message_retries=2)
    assert bench.run("websocket.connect", retries=0, order=0) is None
    assert bench.run("websocket.connect", retries=1, order=0) is None
    assert messages(bench.run("websocket.connect", retries=2, order=0)) == [
        note("verdict", ordered=False),
        note("failed", status=500, reason="the consumer failed"),
        Finish(REPLY, 0, "0", drain=True),
    ]
    assert bench.counters == {"requeued": 2, "dead": 1}
    assert "raised ConsumeLater for a message on websocket.connect 3 times" in caplog.text


def test_w9_an_unroutable_message_is_told_to_its_client_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = layer_with([route("http.request", print, path="^/there")])
    counters: Counter[str] = Counter()
    dispatcher = Dispatcher(layer, layer.router, WorkerSettings(), (), counters)
    failed = note("failed", status=500, reason="no route")
    assert dispatcher.run(delivery("http.request", path="/x")) == [failed]
    assert dispatcher.run(delivery("http.request", path="/y")) == [failed]
    assert dispatcher.run(delivery("websocket.connect", order=0)) == [
        note("verdict", ordered=False),
        failed,
        Finish(REPLY, 0, "0", True),
    ]
    assert dispatcher.run(delivery("websocket.receive", order=4)) == [Finish(REPLY, 4, "0", False)]
    assert counters == {"unroutable": 4}
    assert len(caplog.records) == 3


def test_w4_a_route_that_raises_fails_its_message_only(caplog: pytest.LogCaptureFixture) -> None:
    class Own:
        def channel_names(self) -> set[str]:
            return {"websocket.receive"}

        def match(self, message: Message) -> Any:
            raise SystemExit

    layer = layer_with([Own()])
    dispatcher = Dispatcher(layer, layer.router, WorkerSettings(), (), Counter())
    assert dispatcher.run(delivery("websocket.receive", order=3)) == [Finish(REPLY, 3, "0", False)]
    assert "Routing a message on websocket.receive '/' failed" in caplog.text


@pytest.mark.parametrize("reply_channel", [5, "", "two!marks!x", ["x"]])
def test_a_foreign_reply_channel_that_is_none_fails_its_message_only(reply_channel: Any) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"text": "x"})

    bench = Bench(consumer)
    for channel in ("http.request", "websocket.receive"):
        for order in (None, 3):
            assert isinstance(bench.run(channel, reply_channel=reply_channel, order=order), list)
    assert bench.counters["failed"] == 4


def test_immediate_sends_leave_at_once_and_raise_to_the_consumer() -> None:
    seen = []

    def consumer(message: Message) -> None:
        work = Channel("work", channel_layer=message.channel_layer)
        work.send({"n": 1}, immediately=True)
        seen.append(bench.layer.receive(["work"]))
        work.send({"n": 2}, immediately=True)
        with pytest.raises(ChannelFull):
            work.send({"n": 3}, immediately=True)

    bench = Bench(consumer)
    bench.layer = layer_with([route("work", consumer)], capacity=1)
    bench.dispatcher = Dispatcher(bench.layer, bench.layer.router, WorkerSettings(), (), bench.counters)
    assert bench.run("work") == []
    assert seen == [("work", {"n": 1})]
    assert bench.counters == {"done": 1}


def test_sends_to_another_layer_leave_too_when_the_consumer_returns() -> None:
    other = layer_with([], alias="other", capacity=1)

    def consumer(message: Message) -> None:
        Channel("there", channel_layer=other).send({"n": 1})
        assert other.receive(["there"]) == (None, None)
        Channel("there", channel_layer=other).send({"n": 2})
        if message.get("fail"):
            raise ValueError

    bench = Bench(consumer, send_retry_seconds=0.0)
    assert bench.run("work", fail=True) == []
    assert other.receive(["there"]) == (None, None)
    assert bench.run("work") == []
    assert other.receive(["there"]) == ("there", {"n": 1})
    assert bench.counters == {"failed": 1, "done": 1, "shed": 1}


class Noting(Hook):
    def __init__(self, name: str, notes: list[str], fails: str = "") -> None:
        self.name, self.notes, self.fails = name, notes, fails

    def before(self, message: Message) -> None:
        self.notes.append(f"{self.name} before")
        if self.fails == "before":
            raise ValueError("before")

    def after(self, message: Message, error: BaseException | None) -> None:
        self.notes.append(f"{self.name} after {type(error).__name__}")
        if self.fails == "after":
            raise ValueError("after")


def test_hooks_stand_around_the_consumer_in_pairs() -> None:
    notes: list[str] = []

    def consumer(message: Message) -> None:
        notes.append("consumer")
        raise ConsumeLater

    Bench(consumer, [Noting("a", notes), Noting("b", notes)]).run("work")
    assert notes == ["a before", "b before", "consumer", "b after ConsumeLater", "a after ConsumeLater"]


def test_a_hook_that_fails_before_fails_the_message_and_one_that_fails_after_does_not() -> None:
    notes: list[str] = []

    def consumer(message: Message) -> None:
        notes.append("consumer")

    bench = Bench(consumer, [Noting("a", notes), Noting("b", notes, "before"), Noting("c", notes)])
    bench.run("work")
    assert notes == ["a before", "b before", "a after ValueError"]
    assert bench.counters == {"failed": 1}
    notes.clear()
    bench = Bench(consumer, [Noting("a", notes), Noting("b", notes, "after")])
    bench.run("work")
    assert notes == ["a before", "b before", "consumer", "b after NoneType", "a after NoneType"]
    assert bench.counters == {"done": 1}


def test_a_page_of_another_site_is_refused_before_its_consumer_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"accept": True})

    def open_to_all(message: Message) -> None:
        message.reply_channel.send({"accept": True})

    open_to_all.headrace_any_origin = True  # type: ignore[attr-defined]
    evil = {"headers": [[b"host", b"testserver"], [b"origin", b"https://evil.example"]], "scheme": "wss"}
    caplog.set_level(logging.WARNING)
    bench = Bench(consumer, origin_check=True)
    assert messages(bench.run("websocket.connect", **evil)) == [{"close": True}]
    assert bench.counters["origin_denied"] == 1
    assert "Origin" in caplog.text
    assert messages(bench.run("websocket.receive", **evil)) == [{"accept": True}]
    good = {"headers": [[b"host", b"testserver"], [b"origin", b"https://testserver"]], "scheme": "wss"}
    assert messages(bench.run("websocket.connect", **good)) == [{"accept": True}]
    assert messages(Bench(open_to_all, origin_check=True).run("websocket.connect", **evil)) == [
        {"accept": True}
    ]
    assert messages(Bench(consumer, origin_check=False).run("websocket.connect", **evil)) == [
        {"accept": True}
    ]


def test_a_message_that_breaks_the_specification_is_named_when_its_consumer_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(lambda message: message["method"].upper())
    bench.run("http.request", method=7)
    assert "Whoever sent that message broke the specification: http.request: " in caplog.text
    assert "'method'" in caplog.text
    assert bench.counters == {"failed": 1, "bad_messages": 1}


def test_a_consumer_that_fails_on_a_good_message_blames_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(lambda message: message["no such key"])
    bench.run("http.request", http_version="1.1", method="GET", query_string=b"", headers=[])
    bench.run("work", anything=1)
    assert "specification" not in caplog.text
    assert bench.counters == {"failed": 2}


def test_nothing_is_sent_to_a_reply_channel_with_an_impossible_name() -> None:
    bench = Bench(lambda message: 1 / 0)
    assert bench.run("http.request", reply_channel="bad name") == []


def test_a_request_that_is_answered_later_is_said_to_run() -> None:
    bench = Bench(lambda message: None)
    assert bench.run("http.request") == [note("running")]
    assert bench.run("work") == []


def test_a_request_that_is_answered_is_not_said_to_run() -> None:
    bench = Bench(lambda message: message.reply_channel.send({"status": 200}))
    assert messages(bench.run("http.request")) == [{"status": 200}]


def test_a_request_whose_answer_left_at_once_is_not_said_to_run() -> None:
    bench = Bench(lambda message: message.reply_channel.send({"status": 200}, immediately=True))
    assert bench.run("http.request") == []


def test_the_error_of_a_consumer_names_the_path_in_a_line_that_a_client_cannot_break(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(lambda message: 1 / 0)
    bench.run("websocket.receive", path="/rooms/7/\nforged")
    assert "failed on websocket.receive '/rooms/7/\\nforged' for hr1.0.feed!abc;" in caplog.messages[0]
    bench.run("work", path=None)
    assert "failed on work for hr1.0.feed!abc;" in caplog.messages[1]


def test_a_key_that_no_client_understands_is_told_with_the_name_of_the_consumer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def greets(message: Message) -> None:
        message.reply_channel.send({"txet": "hello"})
        message.reply_channel.send({"text": "hello", "close": True})
        message.reply_channel.send({"status": 200, "headers": [], "content": b"", "more_content": False})
        Channel("work", channel_layer=message.channel_layer).send({"anything": "goes"})

    bench = Bench(greets)
    bench.run("websocket.receive")
    bench.run("websocket.receive")
    (line,) = caplog.messages
    assert "greets sent the unknown key 'txet' to hr1.0.feed!abc: did you mean 'text'?" in line


def acknowledged(bench: Bench, channel: str = "work", attempt: int = 1) -> list[Out] | None:
    """Run a consumer for a message of an acknowledged channel."""
    claim = Claim("0.feed", attempt)
    return bench.dispatcher.run(Delivery(channel, {"n": 1}, b"", 0, "0", 0.0, claim=claim))


def end(failure: str | None = None, attempt: int = 1) -> Acknowledge:
    return Acknowledge("work", Claim("0.feed", attempt), "0", failure)


def test_an_acknowledged_message_is_done_behind_what_its_consumer_said() -> None:
    bench = Bench(lambda message: Channel("other", channel_layer=bench.layer).send({"n": 2}))
    out = acknowledged(bench)
    assert messages(out) == [{"n": 2}, end()]
    assert bench.counters == {"done": 1}


def test_an_acknowledged_message_whose_consumer_fails_is_tried_again_and_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(message: Message) -> None:
        Channel("other", channel_layer=bench.layer).send({"n": 2})
        raise ValueError("no")

    bench = Bench(fail)
    assert acknowledged(bench, attempt=3) == [end("ValueError: no", 3)]
    assert bench.counters == {"failed": 1}
    assert "failed on work at try 3; the message is tried again" in caplog.text


def test_consume_later_is_a_try_of_an_acknowledged_message() -> None:
    def later(message: Message) -> None:
        raise ConsumeLater

    bench = Bench(later)
    assert acknowledged(bench) == [end("ConsumeLater")]
    assert bench.counters == {"requeued": 1}


def test_an_acknowledged_message_without_a_route_is_not_done() -> None:
    bench = Bench(lambda message: None)
    claim = Claim("0.feed", 1)
    out = bench.dispatcher.run(Delivery("unknown", {}, b"", 0, "0", 0.0, claim=claim))
    assert out == [Acknowledge("unknown", claim, "0", "no route took it")]
