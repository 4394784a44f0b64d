"""Which consumer gets a message."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
from django.core.exceptions import ImproperlyConfigured

from headrace import include, route, route_class
from headrace.generic import BaseConsumer
from headrace.message import Message
from headrace.routing import Router
from tests.support.workers import layer_with


def one(message: Message, **kwargs: Any) -> None:
    """A consumer."""


def two(message: Message, **kwargs: Any) -> None:
    """Another consumer."""


inner_routes = [route("websocket.receive", one, path=r"^/in/$")]
dict_routes = {"websocket.receive": one}


class ClassConsumer:
    """A class-based consumer, as far as routing is concerned."""

    headrace_ordering: bool | str = True

    @staticmethod
    def channel_names() -> set[str]:
        return {"websocket.connect", "websocket.receive"}


class Receiver(BaseConsumer):
    """A class consumer of frames only."""

    method_mapping: ClassVar[dict[str, str]] = {"websocket.receive": "frame"}

    def frame(self, message: Message, **kwargs: Any) -> None:
        """A frame came."""


class OwnRoute:
    """A route class of a project's own, which nobody can ask about messages that are not there yet."""

    def channel_names(self) -> set[str]:
        return {"websocket.receive"}

    def match(self, message: Message) -> Any:
        return (one, {}) if message.get("text") else None


def message(channel: str = "websocket.receive", **content: Any) -> Message:
    return Message(content, channel, None)


def test_the_first_match_wins() -> None:
    router = Router([route("a", one, path="^/x"), route("a", two)])
    assert router.match(message("a", path="/x/y")) == (one, {})
    assert router.match(message("a", path="/y")) == (two, {})
    assert router.match(message("b", path="/y")) is None
    assert router.channels == {"a"}


def test_named_groups_become_keyword_arguments() -> None:
    router = Router([route("a", one, path=r"^/rooms/(?P<room>\w+)/$", method="^(?P<verb>GET)$")])
    assert router.match(message("a", path="/rooms/blue/", method="GET")) == (
        one,
        {"room": "blue", "verb": "GET"},
    )
    assert router.match(message("a", path="/rooms/blue/", method="POST")) is None
    assert router.match(message("a", path="/rooms/blue/")) is None


def test_filters_match_at_the_start_of_the_value() -> None:
    router = Router([route("a", one, path="/x")])
    assert router.match(message("a", path="/x/y"))
    assert router.match(message("a", path="/y/x")) is None


@pytest.mark.parametrize(
    ("expression", "matched", "missed"),
    [
        (r"^/a/$", "/a/", "/a"),
        (r"^/a\-b/$", "/a-b/", "/a\\-b/"),
        (r"^$", "", "/"),
        (r"^/a.b/$", "/axb/", "/ab/"),
        (r"^/a\d$", "/a1", "/ad"),
        (r"^/é/$", "/é/", "/e/"),
    ],
)
def test_literal_paths_are_compared_and_others_matched(expression: str, matched: str, missed: str) -> None:
    router = Router([route("a", one, path=expression)])
    assert router.match(message("a", path=matched)) == (one, {})
    assert router.match(message("a", path=missed)) is None


@pytest.mark.parametrize("value", [b"\xff\xfe", 3, 3.5, None, True, ["x"], {"x": 1}])
def test_w4_no_value_of_a_client_makes_routing_raise(value: Any) -> None:
    for key in ("path", "query_string"):
        router = Router([route("a", one, **{key: "^x"}), include([route("a", one)], **{key: "^x"})])
        assert router.match(message("a", **{key: value})) is None


def test_w4_bytes_are_matched_as_text() -> None:
    router = Router([route("a", one, query_string="^q=(?P<word>.*)$")])
    assert router.match(message("a", query_string="q=é".encode())) == (one, {"word": "é"})
    assert router.match(message("a", query_string=b"q=\xff")) == (one, {"word": "\N{REPLACEMENT CHARACTER}"})


def test_numbers_are_matched_as_their_digits() -> None:
    router = Router([route("websocket.disconnect", one, code="^1000$")])
    assert router.match(message("websocket.disconnect", code=1000)) == (one, {})
    assert router.match(message("websocket.disconnect", code=1001)) is None


@pytest.mark.parametrize("expression", ["^/(x)$", "(", 5, b"\xff"])
def test_unnamed_groups_and_broken_expressions_are_errors(expression: Any) -> None:
    with pytest.raises(ValueError, match="The filter path="):
        route("a", one, path=expression)


def test_includes_consume_their_prefix_and_pass_their_groups_on() -> None:
    deep = [route("a", one, path=r"^/(?P<page>\w+)/$")]
    middle = [include(deep, path=r"^/(?P<shop>\w+)"), route("a", two, path="^/$")]
    router = Router([include(middle, path=r"^/(?P<lang>en|de)")])
    assert router.match(message("a", path="/de/books/cart/")) == (
        one,
        {"lang": "de", "shop": "books", "page": "cart"},
    )
    assert router.match(message("a", path="/en/")) == (two, {"lang": "en"})
    assert router.match(message("a", path="/fr/books/cart/")) is None


def test_inner_groups_win() -> None:
    router = Router([include([route("a", one, path="^/(?P<x>b)$")], path="^/(?P<x>a)")])
    assert router.match(message("a", path="/a/b")) == (one, {"x": "b"})


def test_includes_take_lists_dicts_and_dotted_paths() -> None:
    for routing in (inner_routes, f"{__name__}.inner_routes"):
        router = Router([include(routing, path="^/out")])
        assert router.match(message(path="/out/in/")) == (one, {})
    assert Router(include(dict_routes).routing).match(message()) == (one, {})
    assert Router(f"{__name__}.dict_routes").match(message()) == (one, {})


def test_w10_includes_copy_nothing() -> None:
    class Uncopyable(dict[str, Any]):
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("the message was copied")

        __copy__ = copy = __deepcopy__

    content = Uncopyable(path="/a/b/c", body=b"x" * 100)
    router = Router([include([include([route("a", one, path="^/c$")], path="^/b")], path="^/a")])
    assert router.match(Message(content, "a", None)) == (one, {})
    assert content == {"path": "/a/b/c", "body": b"x" * 100}
    with pytest.raises(AssertionError):
        copy.deepcopy(content)


def test_a_route_class_names_its_channels_itself() -> None:
    router = Router([route_class(ClassConsumer, path="^/x")])
    assert router.channels == {"websocket.connect", "websocket.receive"}
    assert router.match(message("websocket.connect", path="/x")) == (ClassConsumer, {})
    with pytest.raises(ValueError, match="channel_names"):
        route_class(one)


def test_any_object_with_match_and_channel_names_is_a_route() -> None:
    class Own:
        def channel_names(self) -> set[str]:
            return {"a"}

        def match(self, inner: Message) -> Any:
            return (two, {"left": inner["path"]}) if inner["path"] == "/x" else None

    router = Router([include([Own()], path="^/(?P<pre>p)"), Own()])
    original = message("a", path="/p/x")
    assert router.match(original) == (two, {"pre": "p", "left": "/x"})
    assert original["path"] == "/p/x"
    assert router.match(message("a", path="/x")) == (two, {"left": "/x"})
    assert router.match(message("a", path="/p/y")) is None


def test_routes_can_be_asked_alone() -> None:
    assert route("a", one, path="^/x").match(message("a", path="/x")) == (one, {})
    assert route("a", one).match(message("b")) is None
    assert include(inner_routes, path="^/o").match(message(path="/o/in/")) == (one, {})


@pytest.mark.parametrize(
    ("routing", "said"),
    [
        ("nowhere", "not a dotted path"),
        ("no.such.module", "cannot be imported: ModuleNotFoundError"),
        (f"{__name__}.nothing", "has no 'nothing'"),
        (5, "must be a list of routes or a dict, not int"),
        ([one], "use route"),
    ],
)
def test_a_routing_that_cannot_be_had_is_named(routing: Any, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        Router(routing)


def test_a_consumer_that_cannot_be_had_is_named() -> None:
    async def later(message: Message) -> None:
        """Not for us."""

    with pytest.raises(ImproperlyConfigured, match="has no 'three'"):
        route("a", f"{__name__}.three")
    with pytest.raises(ImproperlyConfigured, match="callable"):
        route("a", 5)  # type: ignore[arg-type]
    with pytest.raises(ImproperlyConfigured, match="async"):
        route("a", later)
    assert route("a", f"{__name__}.one").consumer is one


def test_a_route_says_what_it_is() -> None:
    assert str(route(["b", "a"], one, path="^/x")) == f"a/b path=^/x -> {__name__}.one"


def ordered(message: Message) -> None:
    """Asks for order."""


ordered.headrace_ordering = True  # type: ignore[attr-defined]


def slightly(message: Message) -> None:
    """Asks for the connect to come first."""


slightly.headrace_ordering = "slight"  # type: ignore[attr-defined]


def test_o1_a_socket_is_ordered_if_any_consumer_it_can_reach_asks_for_it() -> None:
    router = Router(
        [
            route("websocket.connect", one),
            route("websocket.receive", ordered, path="^/chat/"),
            route("websocket.receive", one, path="^/plain/"),
            route("websocket.receive", slightly, text="^x"),
            route("websocket.receive", one),
            route("websocket.disconnect", ordered, path="^/last/"),
        ]
    )
    for path, expected in {
        "/chat/": True,
        "/plain/": False,
        "/else/": "slight",
        "/last/": True,
    }.items():
        for _ in range(2):
            assert router.ordering_for(message("websocket.connect", path=path)) == expected


def test_ordering_reaches_through_includes_and_classes() -> None:
    router = Router([include([route_class(ClassConsumer, path="^/b$")], path="^/a")])
    assert router.ordering_for(message("websocket.connect", path="/a/b")) is True
    assert router.ordering_for(message("websocket.connect", path="/a/c")) is False
    assert router.ordering_for(message("websocket.connect")) is False


def test_what_is_remembered_of_paths_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.routing._MOST_PATHS", 3)
    router = Router([route("websocket.receive", ordered, path="^/a$")])
    for number in range(10):
        router.ordering_for(message("websocket.connect", path=f"/{number}"))
    assert len(router._ordering) <= 3
    router.ordering_for(message("websocket.connect", path="/" + "x" * 10_000))
    assert all(len(path) < 1000 for path in router._ordering)


def test_every_project_has_views_and_sockets() -> None:
    def views(message: Message) -> None:
        """In place of Django's handler."""

    router = Router([route("websocket.receive", one, path="^/x")])
    router.check_default(http_consumer=views)
    assert router.match(message("http.request", path="/")) == (views, {})
    assert router.match(message("websocket.receive", path="/x")) == (one, {})
    for channel in ("websocket.connect", "websocket.receive", "websocket.disconnect"):
        assert router.match(message(channel, path="/y")) is not None
    assert router.match(message("http.disconnect", path="/y")) is None


def handshake_answer(routes: Any, path: str) -> dict[str, Any]:
    """What a client hears whose `websocket.connect` for `path` no route takes."""
    layer = layer_with(routes)
    layer.router.check_default(http_consumer=two)
    connect = Message({"reply_channel": "test!a", "path": path}, "websocket.connect", layer)
    match = layer.router.match(connect)
    assert match is not None
    match[0](connect, **match[1])
    answer: dict[str, Any] = layer.receive(["test!"])[1]
    return answer


ACCEPTED = {"accept": True}
REFUSED = {"close": True, "status": 404}


@pytest.mark.parametrize(
    ("routes", "answer"),
    [
        ([], REFUSED),
        ([route("websocket.connect", one, path="^/chat/$")], REFUSED),
        ([route("work", one)], REFUSED),
        ([route("websocket.receive", one, path="^/chat/$")], REFUSED),
        ([route("websocket.receive", one, path="^/cha")], ACCEPTED),
        ([route("websocket.disconnect", one, path="^/cha")], ACCEPTED),
        ([route("websocket.receive", one)], ACCEPTED),
        ([route("websocket.receive", one, text="^hello")], ACCEPTED),
        ([route("websocket.receive", one, text="^hello", path="^/other")], REFUSED),
        ([include([route("websocket.receive", one, path="^t2")], path="^/cha")], ACCEPTED),
        ([include([route("websocket.receive", one, path="^/cha")], path="^/cha")], REFUSED),
        ([include([route("websocket.receive", one)], path="^/other")], REFUSED),
        ([Receiver.as_route(path="^/cha")], ACCEPTED),
        ([Receiver.as_route(path="^/other")], REFUSED),
        ([OwnRoute()], ACCEPTED),
    ],
)
def test_a_handshake_no_route_takes_is_accepted_only_where_a_later_message_has_one(
    routes: Any, answer: dict[str, Any]
) -> None:
    assert handshake_answer(routes, "/chat2") == answer


def test_a_refused_path_is_named_in_one_line_that_a_client_cannot_break(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handshake_answer([], "/nowhere\nERROR forged")
    assert "Refused a WebSocket for '/nowhere\\nERROR forged' with 404" in caplog.text
    assert len(caplog.records) == 1
    handshake_answer([], "/" + "x" * 16_000)
    assert len(caplog.records[1].getMessage()) < 1000
