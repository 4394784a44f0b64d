from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.signals import request_finished, request_started
from django.db import connections
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template import engines
from django.test import override_settings
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from headrace import outbox
from headrace.exceptions import ResponseLater
from headrace.handler import AsgiHandler, ViewConsumer
from headrace.http.request import AsgiRequest
from headrace.http.response import head_of
from headrace.message import Message
from headrace_asgi import InMemoryChannelLayer, messages
from headrace_asgi.contract import Control, Outcome, Send
from headrace_asgi.envelope import unpack_message
from headrace_asgi.errors import MessageTooLarge
from headrace_asgi.limits import RESPONSE_WINDOW_BYTES
from tests.support.http import Browser, answer_of, request_message

# Django closes old connections around each request, even where no view uses one.
pytestmark = pytest.mark.django_db

CLOSED: list[str] = []


def cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("ok", headers={"X-Mixed-Case": "a"})
    response.set_cookie("one", "1", httponly=True)
    response.set_cookie("two", "zwei Wörter 日", samesite="Lax")
    return response


def echo(request: HttpRequest) -> JsonResponse:
    files = {name: [file.name, file.size, file.read()[:4].decode()] for name, file in request.FILES.items()}
    return JsonResponse(
        {"POST": request.POST.dict(), "files": files, "length": request.META.get("CONTENT_LENGTH")}
    )


def body_size(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


def parts(request: HttpRequest) -> StreamingHttpResponse:
    def generate() -> Iterator[str]:
        try:
            yield "one"
            yield ""
            yield "two"
        finally:
            CLOSED.append("parts")

    return StreamingHttpResponse(generate())


def endless(request: HttpRequest) -> StreamingHttpResponse:
    def generate() -> Iterator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            CLOSED.append("endless")

    return StreamingHttpResponse(generate())


def breaks(request: HttpRequest) -> StreamingHttpResponse:
    def generate() -> Iterator[bytes]:
        if "later" in request.GET:
            yield b"begun"
        raise RuntimeError("the stream broke")

    return StreamingHttpResponse(generate())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(request.GET["name"], "rb"))


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * int(request.GET["size"]))


def later(request: HttpRequest) -> HttpResponse:
    request.session["waiting"] = True
    raise ResponseLater()


def books_and_leaves(request: HttpRequest) -> HttpResponse:
    from django.contrib.auth.models import Group

    Group.objects.create(name="booked")
    raise ResponseLater()


async def slow_but_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("async")


async def later_but_async(request: HttpRequest) -> HttpResponse:
    raise ResponseLater()


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    async def generate() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    response = StreamingHttpResponse(generate())
    if "length" in request.GET:
        response["Content-Length"] = "6"
    return response


def injects(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("ok")
    response.set_cookie("a", "b", path="/\r\nX-Injected: yes")
    return response


def raises(request: HttpRequest) -> HttpResponse:
    errors: dict[str, Exception] = {
        "404": Http404("gone"),
        "403": PermissionDenied(),
        "500": RuntimeError("bug"),
    }
    raise errors[request.GET["status"]]


class NameForm(forms.Form):
    name = forms.CharField(max_length=5)


def form(request: HttpRequest) -> HttpResponse:
    filled = NameForm(request.POST or None)
    if filled.is_valid():
        return HttpResponseRedirect(f"/hello/?{filled.cleaned_data['name']}")
    template = engines["django"].from_string("<form>{% csrf_token %}{{ form }}</form>")
    return HttpResponse(template.render({"form": filled}, request))


class Urls:
    """A URLconf, the urls of the tests here."""

    urlpatterns = [
        path("hello/", lambda request: HttpResponse("Hello")),
        path("cookies/", cookies),
        path("echo/", csrf_exempt(echo)),
        path("body/", csrf_exempt(body_size)),
        path("parts/", parts),
        path("endless/", endless),
        re_path(r"^endless/[\s\S]+", endless),
        path("breaks/", breaks),
        path("file/", file),
        path("large/", large),
        path("later/", later),
        path("books/", books_and_leaves),
        path("async/", slow_but_async),
        path("async-later/", later_but_async),
        path("async-stream/", async_stream),
        path("injects/", injects),
        path("raises/", raises),
        path("form/", form),
        path("admin/", admin.site.urls),
    ]


@pytest.fixture(autouse=True)
def _project(settings: Any) -> None:
    settings.ROOT_URLCONF = Urls
    CLOSED.clear()


def get(target: str, **values: Any) -> list[dict[str, Any]]:
    return list(AsgiHandler()(request_message(target, **values)))


def test_a_response_is_one_message_that_fits_the_specification() -> None:
    (reply,) = get("/hello/")
    checked = messages.HTTP_RESPONSE.check(reply)
    assert (checked["status"], checked["content"], checked["more_content"]) == (200, b"Hello", False)
    assert [b"Content-Type", b"text/html; charset=utf-8"] in [list(pair) for pair in checked["headers"]]


def test_cookies_stand_without_a_blank_and_beyond_ascii_h16() -> None:
    (reply,) = get("/cookies/")
    values = [value for name, value in reply["headers"] if name == b"Set-Cookie"]
    assert values[0] == b"one=1; HttpOnly; Path=/"
    assert "日".encode() in values[1]
    assert (b"X-Mixed-Case", b"a") in reply["headers"]


def test_a_cookie_beyond_ascii_comes_back_as_it_was() -> None:
    browser = Browser(AsgiHandler())
    browser.get("/cookies/")
    message = request_message("/hello/", headers=[[b"cookie", browser.cookie_header()]])
    request = AsgiHandler.request_class(message)
    assert request.COOKIES["two"] == "zwei Wörter 日"


def test_a_view_cannot_inject_a_header_through_a_cookie() -> None:
    (reply,) = get("/injects/")
    assert reply["status"] == 500
    assert not any(b"Injected" in value for _, value in reply["headers"])


@pytest.mark.parametrize(
    ("status", "text"), [("404", b"Not Found"), ("403", b"403"), ("500", b"Server Error")]
)
def test_what_a_view_raises_is_answered_as_django_answers_it(status: str, text: bytes) -> None:
    (reply,) = get(f"/raises/?status={status}")
    assert reply["status"] == int(status)
    assert text in reply["content"]


def test_a_large_response_is_cut_into_chunks(settings: Any) -> None:
    settings.HEADRACE = {"RESPONSE_CHUNK_BYTES": 1000}
    replies = get("/large/?size=2500")
    assert [len(reply["content"]) for reply in replies] == [1000, 1000, 500]
    assert [reply["more_content"] for reply in replies] == [True, True, False]
    assert ["status" in reply for reply in replies] == [True, False, False]


@pytest.mark.parametrize("size", [0, 999, 1000])
def test_a_response_that_fits_is_one_message(settings: Any, size: int) -> None:
    settings.HEADRACE = {"RESPONSE_CHUNK_BYTES": 1000}
    (reply,) = get(f"/large/?size={size}")
    assert len(reply["content"]) == size


def test_a_streaming_response_leaves_part_by_part() -> None:
    replies = get("/parts/")
    assert [(reply["content"], reply["more_content"]) for reply in replies] == [
        (b"one", True),
        (b"two", True),
        (b"", False),
    ]
    assert CLOSED == ["parts"]
    for reply in replies[1:]:
        messages.HTTP_RESPONSE_CHUNK.check(reply)


def test_the_body_of_a_streaming_response_to_head_is_not_made() -> None:
    first, last = get("/endless/", method="HEAD")
    assert (first["status"], first["content"], first["more_content"]) == (200, b"", True)
    assert last == {"content": b"", "more_content": False}


def test_a_file_is_sent_in_few_large_chunks(tmp_path: Path, settings: Any) -> None:
    settings.HEADRACE = {"RESPONSE_CHUNK_BYTES": 100_000}
    name = tmp_path / "f.bin"
    name.write_bytes(bytes(range(256)) * 1000)
    replies = get(f"/file/?name={name}")
    assert [len(reply["content"]) for reply in replies] == [100_000, 100_000, 56_000]
    assert b"".join(reply["content"] for reply in replies) == name.read_bytes()
    assert [reply["more_content"] for reply in replies] == [True, True, False]


def test_a_small_file_is_one_message(tmp_path: Path) -> None:
    name = tmp_path / "f.txt"
    name.write_bytes(b"small")
    (reply,) = get(f"/file/?name={name}")
    assert (reply["content"], reply["more_content"]) == (b"small", False)


def test_an_empty_file_is_one_message(tmp_path: Path) -> None:
    name = tmp_path / "f.txt"
    name.write_bytes(b"")
    (reply,) = get(f"/file/?name={name}")
    assert (reply["content"], reply["more_content"]) == (b"", False)


def test_a_stream_that_fails_at_once_is_a_500() -> None:
    (reply,) = get("/breaks/")
    assert reply["status"] == 500


def test_a_stream_that_fails_later_raises_after_what_was_sent() -> None:
    replies = AsgiHandler()(request_message("/breaks/?later"))
    assert next(replies)["content"] == b"begun"
    with pytest.raises(RuntimeError, match="the stream broke"):
        next(replies)


def test_closing_the_replies_closes_the_views_generator() -> None:
    replies = AsgiHandler()(request_message("/endless/"))
    next(replies)
    replies.close()  # type: ignore[attr-defined]
    assert CLOSED == ["endless"]


def test_an_async_view_works() -> None:
    (reply,) = get("/async/")
    assert reply["content"] == b"async"


def test_an_async_stream_without_end_is_refused() -> None:
    (reply,) = get("/async-stream/")
    assert reply["status"] == 500
    gc.collect()


def test_an_async_stream_says_in_debug_why_it_is_refused(settings: Any) -> None:
    settings.DEBUG = True
    (reply,) = get("/async-stream/")
    assert b"Use a synchronous iterator" in reply["content"]


def test_an_async_stream_with_a_length_is_sent() -> None:
    replies = get("/async-stream/?length")
    assert b"".join(reply["content"] for reply in replies) == b"onetwo"


@pytest.fixture
def signals() -> Iterator[list[str]]:
    seen: list[str] = []

    def started(**kwargs: Any) -> None:
        seen.append("started " + kwargs["environ"]["PATH_INFO"])

    def finished(**kwargs: Any) -> None:
        seen.append("finished")

    request_started.connect(started)
    request_finished.connect(finished)
    yield seen
    request_started.disconnect(started)
    request_finished.disconnect(finished)


def test_the_request_signals_stand_around_a_request(signals: list[str]) -> None:
    get("/hello/")
    assert signals == ["started /hello/", "finished"]


@pytest.fixture
def failing_receiver() -> Iterator[None]:
    def fails(**kwargs: Any) -> None:
        raise SystemExit("a receiver's bug")

    request_finished.connect(fails)
    yield
    request_finished.disconnect(fails)


@pytest.mark.parametrize("path", ["/hello/", "/parts/", "/later/"], ids=["one message", "a stream", "later"])
def test_a_failing_receiver_of_request_finished_changes_no_answer(
    path: str, failing_receiver: None, caplog: pytest.LogCaptureFixture
) -> None:
    replies = get(path)
    assert [reply["status"] for reply in replies[:1]] == ([] if path == "/later/" else [200])
    assert f"Closing the response to '{path}' failed; its answer stands" in caplog.text
    assert "a receiver's bug" in caplog.text


def test_a_view_may_leave_the_answer_to_others_h15(signals: list[str]) -> None:
    from django.contrib.sessions.models import Session

    assert get("/later/") == []
    assert signals == ["started /later/", "finished"]
    assert Session.objects.get().get_decoded() == {"waiting": True}


def test_what_such_a_view_wrote_is_committed_h15(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.auth.models import Group

    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert get("/books/") == []
    assert Group.objects.filter(name="booked").exists()


def test_an_async_view_may_leave_the_answer_to_others() -> None:
    assert get("/async-later/") == []


def test_a_middleware_may_leave_the_answer_to_others_h15(settings: Any, signals: list[str]) -> None:
    settings.MIDDLEWARE = [f"{__name__}.later_middleware"]
    assert get("/hello/") == []
    assert signals == ["started /hello/", "finished"]


def later_middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        raise ResponseLater()

    return middleware


def test_headers_that_cannot_be_read_are_a_bad_request() -> None:
    headers = [[b"content-type", b"text/plain; a*=nonsense''x"]]
    (reply,) = get("/hello/", headers=headers)
    assert reply["status"] in (200, 400)


def test_a_bad_request_is_logged_in_a_line_that_its_path_cannot_break(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Picky(AsgiRequest):
        def __init__(self, message: Message) -> None:
            if message.content["headers"]:
                raise ValueError("unreadable")
            super().__init__(message)

    class Handler(AsgiHandler):
        request_class = Picky

    (reply,) = Handler()(request_message("/", path="/a\nforged", headers=[[b"a", b"b"]]))
    assert reply["status"] == 400
    assert caplog.messages[0] == "Bad Request (its headers cannot be read): '/a\\nforged'"


# Uploads


def streamed(layer: Any, chunks: list[dict[str, Any]], **values: Any) -> Message:
    channel = layer.new_channel("http.request.body?")
    for chunk in chunks:
        layer.send(channel, chunk)
    return request_message(layer=layer, method="POST", body_channel=channel, **values)


MULTIPART = (
    b'--xYz\r\nContent-Disposition: form-data; name="title"\r\n\r\nholiday\r\n'
    b'--xYz\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    + b"JPEG" * 500_000
    + b"\r\n--xYz--\r\n"
)
MULTIPART_TYPE = [b"content-type", b"multipart/form-data; boundary=xYz"]


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "chunked"])
def test_a_large_upload_arrives_whole(announced: bool) -> None:
    layer = InMemoryChannelLayer()
    pieces = [MULTIPART[at : at + 262_144] for at in range(0, len(MULTIPART), 262_144)]
    chunks: list[dict[str, Any]] = [{"content": piece, "more_content": True} for piece in pieces[1:]]
    chunks.append({"content": b""})
    headers = [MULTIPART_TYPE]
    if announced:
        headers.append([b"content-length", str(len(MULTIPART)).encode()])
    message = streamed(layer, chunks, path="/echo/", body=pieces[0], headers=headers)
    answer = answer_of(AsgiHandler()(message)).json()
    assert answer["POST"] == {"title": "holiday"}
    assert answer["files"] == {"photo": ["a.jpg", 2_000_000, "JPEG"]}
    assert answer["length"] == str(len(MULTIPART))


def test_a_body_over_djangos_limit_is_refused_h3(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    message = streamed(InMemoryChannelLayer(), [{"content": b"x" * 1001}], path="/body/")
    assert answer_of(AsgiHandler()(message)).status == 400


def test_an_upload_that_stalls_is_answered_408(settings: Any) -> None:
    settings.HEADRACE = {"BODY_RECEIVE_SECONDS": 0.02}
    message = streamed(InMemoryChannelLayer(), [{"content": b"x", "more_content": True}], path="/body/")
    answer = answer_of(AsgiHandler()(message))
    assert (answer.status, answer.content) == (408, b"408 Request Timeout (upload too slow)")


def test_nobody_is_answered_when_the_client_left(signals: list[str]) -> None:
    message = streamed(InMemoryChannelLayer(), [{"closed": True}], path="/body/")
    assert list(AsgiHandler()(message)) == []
    assert signals == ["started /body/", "finished"]


def test_a_body_with_a_hole_never_reaches_a_view() -> None:
    headers = [[b"content-length", b"10"]]
    message = streamed(InMemoryChannelLayer(), [{"content": b"x"}], path="/body/", headers=headers)
    assert answer_of(AsgiHandler()(message)).status == 503


# Forms and the admin


def test_a_form_needs_its_token_and_works_with_it() -> None:
    browser = Browser(AsgiHandler())
    assert browser.post("/form/", {"name": "Ada"}).status == 403
    page = browser.get("/form/")
    token = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    refused = browser.post("/form/", {"name": "much too long", "csrfmiddlewaretoken": token})
    assert "at most 5 characters" in refused.text
    done = browser.post("/form/", {"name": "Ada", "csrfmiddlewaretoken": token})
    assert (done.status, done.headers["location"]) == (302, "/hello/?Ada")


def test_djangos_admin_works_from_login_to_a_saved_object() -> None:
    from django.contrib.auth.models import Group, User

    User.objects.create_superuser("ada", "ada@example.com", "secret")
    browser = Browser(AsgiHandler())
    assert browser.get("/admin/").status == 302
    browser.get("/admin/login/")
    login = {"username": "ada", "password": "secret", "next": "/admin/"}
    assert browser.post("/admin/login/", login, csrf=True).status == 302
    index = browser.get("/admin/")
    assert "Site administration" in index.text
    assert browser.post("/admin/auth/group/add/", {"name": "editors"}, csrf=True).status == 302
    assert Group.objects.filter(name="editors").exists()
    assert "was added successfully" in browser.get("/admin/auth/group/").text


# ViewConsumer


class Collecting:
    """Runs a consumer as the dispatch does, and keeps what leaves when it returned."""

    def __init__(self, layer: Any) -> None:
        self.outbox = outbox.Outbox(layer, "test")

    def __enter__(self) -> outbox.Outbox:
        self._before = outbox.enter(self.outbox)
        return self.outbox

    def __exit__(self, *exc_info: object) -> None:
        outbox.leave(self._before)


def test_one_message_leaves_with_the_outbox() -> None:
    layer = InMemoryChannelLayer()
    with Collecting(layer) as collected:
        ViewConsumer()(request_message("/hello/", layer=layer))
    (sent,) = collected.items
    assert isinstance(sent, Send)
    assert (sent.channel, unpack_message(sent.packed)["content"]) == ("test!1", b"Hello")
    assert layer.receive(["test!"]) == (None, None)


def test_parts_leave_at_once() -> None:
    layer = InMemoryChannelLayer()
    with Collecting(layer) as collected:
        ViewConsumer()(request_message("/parts/", layer=layer))
    assert collected.items == []
    contents = [message["content"] for _, message in layer.receive_many(["test!"], 10)]
    assert contents == [b"one", b"two", b""]


def test_without_an_outbox_everything_is_sent_at_once() -> None:
    layer = InMemoryChannelLayer()
    ViewConsumer()(request_message("/hello/", layer=layer))
    _, message = layer.receive(["test!"])
    assert message is not None
    assert message["content"] == b"Hello"


def test_a_full_reply_channel_ends_an_endless_stream_h7(settings: Any) -> None:
    settings.HEADRACE = {"SEND_RETRY_SECONDS": 0.05}
    layer = InMemoryChannelLayer(capacity=5)
    started = time.monotonic()
    ViewConsumer()(request_message("/endless/", layer=layer))
    assert time.monotonic() - started < 5
    assert CLOSED == ["endless"]


def test_parts_wait_for_room_in_the_reply_channel_h7() -> None:
    layer = InMemoryChannelLayer(capacity=1)
    received: list[bytes] = []

    def read() -> None:
        while not received or received[-1] != b"":
            received.extend(message["content"] for _, message in layer.receive_many(["test!"], 10, 1))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    ViewConsumer()(request_message("/parts/", layer=layer))
    reader.join(5)
    assert received == [b"one", b"two", b""]


def test_a_gone_interface_process_ends_an_endless_stream_h7() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    process.close()
    with Collecting(layer) as collected:
        ViewConsumer()(request_message("/endless/", layer=layer, reply_channel=process.process + "a"))
    assert CLOSED == ["endless"]
    assert collected.items == []


def test_an_endless_stream_whose_client_left_is_closed_within_two_seconds() -> None:
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    message = request_message("/endless/", layer=layer, reply_channel=process.process + "a")
    credit: list[str] = []

    def leave() -> None:
        while not credit:
            credit.extend(one.message["credit_channel"] for one in process.heard()[:1])
        layer.send(credit[0], {"closed": True})

    client = threading.Thread(target=leave, daemon=True)
    client.start()
    started = time.monotonic()
    ViewConsumer()(message)
    client.join(5)
    assert CLOSED == ["endless"]
    assert time.monotonic() - started < 2


def test_a_large_response_stays_within_its_window(settings: Any) -> None:
    settings.HEADRACE = {"RESPONSE_CHUNK_BYTES": 100_000}
    layer = InMemoryChannelLayer()
    process = layer.open_process()
    size = 3 * RESPONSE_WINDOW_BYTES
    message = request_message(f"/large/?size={size}", layer=layer, reply_channel=process.process + "a")
    consumer = threading.Thread(target=ViewConsumer(), args=(message,), daemon=True)
    consumer.start()
    received, most, credit = 0, 0, ""
    while received < size:
        time.sleep(0.1)  # long enough to send far more
        parts = [one.message for one in process.heard() if not one.control]
        credit = credit or parts[0]["credit_channel"]
        received += sum(len(part["content"]) for part in parts)
        most = max(most, sum(len(part["content"]) for part in parts))
        layer.send(credit, {"bytes": received})
    consumer.join(5)
    assert received == size
    assert RESPONSE_WINDOW_BYTES <= most < RESPONSE_WINDOW_BYTES + 100_000


def test_a_part_waits_for_an_interface_process_that_redis_has_forgotten() -> None:
    outcomes = [Outcome.FORGOTTEN, Outcome.FORGOTTEN]

    class Forgetful(InMemoryChannelLayer):
        def send_many(self, messages: Any) -> list[Outcome]:
            return [outcomes.pop()] if outcomes else super().send_many(messages)

    layer = Forgetful()
    ViewConsumer()(request_message("/parts/", layer=layer))
    contents = [message["content"] for _, message in layer.receive_many(["test!"], 10)]
    assert contents == [b"one", b"two", b""]


def test_a_client_whose_response_lost_a_part_is_cut_off(settings: Any) -> None:
    settings.HEADRACE = {"SEND_RETRY_SECONDS": 0.01}

    class Full(InMemoryChannelLayer):
        def send_many(self, messages: Any) -> list[Outcome]:
            return [Outcome.FULL for _ in messages]

    layer = Full()
    name = layer.open_process().process + "a"
    with Collecting(layer) as collected:
        ViewConsumer()(request_message("/endless/", layer=layer, reply_channel=name))
    (control,) = collected.items
    assert isinstance(control, Control)
    assert (control.body["control"], control.body["local"], control.body["status"]) == ("failed", "a", 503)


def test_a_stopped_response_is_logged_in_a_line_that_its_path_cannot_break(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.HEADRACE = {"SEND_RETRY_SECONDS": 0.0}
    layer = InMemoryChannelLayer(capacity=1)
    ViewConsumer()(request_message("/", path="/endless/\nforged", layer=layer))
    assert caplog.messages[0].startswith("The response to '/endless/\\nforged' (test!1) was stopped")


def test_a_part_that_cannot_be_sent_at_all_closes_the_views_generator_h7() -> None:
    class Small(InMemoryChannelLayer):
        def send_many(self, messages: Any) -> list[Outcome]:
            raise MessageTooLarge("over the layer's limit")

    with pytest.raises(MessageTooLarge) as raised:
        ViewConsumer()(request_message("/endless/", layer=Small()))
    # The traceback still holds the iterator: nobody else would close it soon.
    assert raised.value.__traceback__ is not None
    assert CLOSED == ["endless"]


def test_a_request_nobody_can_answer_is_a_type_error() -> None:
    message = request_message("/hello/")
    del message.content["reply_channel"]
    with pytest.raises(TypeError, match="without reply_channel"):
        ViewConsumer()(message)


@override_settings(HEADRACE={"RESPONSE_CHUNK_BYTES": 4})
def test_a_later_answer_can_be_encoded_by_the_class() -> None:
    replies = list(AsgiHandler.encode_response(HttpResponse(b"abcdef")))
    assert [reply["content"] for reply in replies] == [b"abcd", b"ef"]
    assert list(AsgiHandler.chunk_bytes(b"abcde")) == [(b"abcd", False), (b"e", True)]
    assert list(AsgiHandler.chunk_bytes(b"")) == [(b"", True)]
    assert head_of(HttpResponse(status=204))["status"] == 204


def test_temporary_files_are_deleted_with_the_response(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
    layer = InMemoryChannelLayer()
    message = streamed(layer, [{"content": b"x" * 5000}], path="/body/")
    handler = AsgiHandler()
    request = handler.request_class(message)
    request.receive_body()
    stream = request.META["wsgi.input"]
    assert isinstance(stream, tempfile.SpooledTemporaryFile)
    assert stream._rolled  # type: ignore[attr-defined]
    request.close()
    assert stream.closed


@pytest.mark.parametrize("middleware", ["no.such.Middleware", f"{__name__}.no_such_middleware"])
def test_a_middleware_that_cannot_be_loaded_is_told_in_one_line(settings: Any, middleware: str) -> None:
    settings.MIDDLEWARE = [middleware]
    with pytest.raises(ImproperlyConfigured, match=r"MIDDLEWARE cannot be loaded: .*no") as raised:
        AsgiHandler()
    assert "\n" not in str(raised.value)
