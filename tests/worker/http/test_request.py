from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.test import override_settings

from headrace.exceptions import ResponseLater
from headrace.http.request import AsgiRequest, split_path
from headrace.message import Message
from headrace_asgi import InMemoryChannelLayer, messages

LAYER = InMemoryChannelLayer()


def request_message(**values: Any) -> Message:
    content: dict[str, Any] = {
        "reply_channel": "test!1",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        **values,
    }
    return Message(messages.HTTP_REQUEST.build(**content), "http.request", LAYER)


def wsgi_request(content: dict[str, Any]) -> WSGIRequest:
    """Django's own request from the environ that a WSGI server makes of the same bytes (PEP 3333)."""
    root = content.get("root_path", "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": content["method"],
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": content["path"][len(root) :].encode().decode("latin-1"),
        "QUERY_STRING": content["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/" + content["http_version"],
        "wsgi.url_scheme": content.get("scheme", "http"),
        "wsgi.input": io.BytesIO(content.get("body", b"")),
        "SERVER_NAME": "unknown",
        "SERVER_PORT": "0",
    }
    asked = dict(content["headers"]).get(b"host")
    if asked is not None:
        name, _, port = asked.decode().partition(":")
        secure = environ["wsgi.url_scheme"] == "https"
        environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port or ("443" if secure else "80")
    if "server" in content:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = content["server"][0], str(content["server"][1])
    if "client" in content:
        environ["REMOTE_ADDR"] = content["client"][0]
    for name, value in content["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else "HTTP_" + key
        joint = "; " if key == "HTTP_COOKIE" else ","
        text = value.decode("latin-1")
        environ[key] = environ[key] + joint + text if key in environ else text
    return WSGIRequest(environ)


MULTIPART = (
    b'--xYzZY\r\nContent-Disposition: form-data; name="title"\r\n\r\nh\xc3\xa9llo\r\n'
    b'--xYzZY\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nfile content\r\n--xYzZY--\r\n"
)

CORPUS: dict[str, dict[str, Any]] = {
    "the smallest": {},
    "a query": {"path": "/a/b/", "query_string": b"x=1&x=2&name=J%C3%BCrgen&bad=%ff"},
    "raw bytes in the query": {"query_string": "q=ü".encode()},
    "a path with letters beyond ASCII": {"path": "/straße/日本/"},
    "a path with a broken character": {"path": "/a\ufffdb"},
    "two slashes": {"path": "//evil.example//x"},
    "a root path": {"path": "/app/page/", "root_path": "/app"},
    "the root path itself": {"path": "/app", "root_path": "/app"},
    "a root path beyond ASCII": {"path": "/ü/page/", "root_path": "/ü"},
    "https": {"scheme": "https", "headers": [[b"host", b"example.com"]]},
    "a host with a port": {"headers": [[b"host", b"example.com:8443"]], "server": ["10.0.0.1", 8443]},
    "a client": {"client": ["192.0.2.7", 54321], "server": ["10.0.0.1", 80]},
    "browser headers": {
        "headers": [
            [b"host", b"localhost:8000"],
            [b"user-agent", b"Mozilla/5.0"],
            [b"accept", b"text/html,application/xhtml+xml;q=0.9"],
            [b"accept-language", b"de,en;q=0.5"],
            [b"x-latin", b"caf\xe9"],
            [b"x-requested-with", b"XMLHttpRequest"],
        ]
    },
    "cookies": {"headers": [[b"cookie", b'a=1; b="two words"; c=%20; d=\xc3\xa9; a=again']]},
    "repeated headers": {"headers": [[b"x-forwarded-for", b"1.1.1.1"], [b"x-forwarded-for", b"2.2.2.2"]]},
    "a form": {
        "method": "POST",
        "headers": [[b"content-type", b"application/x-www-form-urlencoded"], [b"content-length", b"12"]],
        "body": b"a=1&b=%C3%A4",
    },
    "a form with files": {
        "method": "POST",
        "headers": [
            [b"content-type", b"multipart/form-data; boundary=xYzZY"],
            [b"content-length", str(len(MULTIPART)).encode()],
        ],
        "body": MULTIPART,
    },
    "JSON by PUT": {
        "method": "PUT",
        "headers": [[b"content-type", b"application/json; charset=utf-8"], [b"content-length", b"7"]],
        "body": b'{"a":1}',
    },
    "another charset": {
        "method": "POST",
        "headers": [[b"content-type", b"text/plain; charset=latin-1"], [b"content-length", b"1"]],
        "body": b"\xe9",
    },
    "the server as a whole": {"method": "OPTIONS", "path": "*"},
    "an unknown charset": {"headers": [[b"content-type", b"text/plain; charset=nonsense"]]},
}

ATTRIBUTES = (
    "method", "path", "path_info", "scheme", "content_type", "content_params", "encoding", "GET", "POST",
    "COOKIES", "body", "resolver_match", "_read_started",
)  # fmt: skip


def seen(request: Any, name: str) -> Any:
    try:
        value = getattr(request, name)
    except Exception as error:
        return type(error), str(error)
    return value.lists() and list(value.lists()) if hasattr(value, "lists") else value


@pytest.mark.parametrize("values", CORPUS.values(), ids=list(CORPUS))
def test_every_attribute_is_that_of_djangos_own_wsgi_request(values: dict[str, Any]) -> None:
    message = request_message(**values)
    ours, theirs = AsgiRequest(message), wsgi_request(message.content)
    for name in ATTRIBUTES:
        assert seen(ours, name) == seen(theirs, name), name
    for key, value in theirs.META.items():
        if not key.startswith("wsgi."):
            assert ours.META[key] == value, key
    assert dict(ours.headers) == dict(theirs.headers)
    for call in (
        "get_full_path",
        "get_full_path_info",
        "build_absolute_uri",
        "get_host",
        "get_port",
        "is_secure",
    ):
        assert seen(ours, call) is not None
        assert called(ours, call) == called(theirs, call), call
    assert {name: file.read() for name, file in ours.FILES.items()} == {
        name: file.read() for name, file in theirs.FILES.items()
    }


def called(request: Any, name: str) -> Any:
    try:
        return getattr(request, name)()
    except Exception as error:
        return type(error)


def test_a_request_is_a_wsgi_request_with_its_environ() -> None:
    request = AsgiRequest(request_message(body=b"abc"))
    assert isinstance(request, WSGIRequest)
    assert request.environ is request.META
    assert request.META["wsgi.input"].read() == b"abc"


def test_a_request_knows_its_message_and_reply_channel() -> None:
    message = request_message()
    request = AsgiRequest(message)
    assert request.message is message
    assert request.reply_channel is not None
    assert request.reply_channel.name == "test!1"
    assert request.ResponseLater is ResponseLater


#: What gunicorn 27 leaves in META of Django's request, without `wsgi.*` and what names the server: of a GET
#: over TCP, and of a POST over a unix socket.
GUNICORN = [
    (
        {
            "path": "/café//x/a'b(c)",
            "query_string": b"q=1&x=%20a",
            "headers": [[b"host", b"example.com:88"], [b"x-a", b"1"], [b"x-a", b"2"], [b"x_b", b"3"]],
            "client": ["127.0.0.1", 53150],
            "server": ["127.0.0.1", 18765],
        },
        {
            "REQUEST_METHOD": "GET",
            "QUERY_STRING": "q=1&x=%20a",
            "RAW_URI": "/caf%C3%A9//x/a'b(c)?q=1&x=%20a",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "example.com:88",
            "HTTP_X_A": "1,2",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "53150",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "18765",
            "PATH_INFO": "/café//x/a'b(c)",
            "SCRIPT_NAME": "",
        },
    ),
    (
        {
            "method": "POST",
            "path": "/p",
            "headers": [[b"host", b"h"], [b"content-type", b"a/b"], [b"content-length", b"0"]],
        },
        {
            "REQUEST_METHOD": "POST",
            "QUERY_STRING": "",
            "RAW_URI": "/p",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "h",
            "CONTENT_TYPE": "a/b",
            "CONTENT_LENGTH": "0",
            "REMOTE_ADDR": "",
            "SERVER_NAME": "h",
            "SERVER_PORT": "80",
            "PATH_INFO": "/p",
            "SCRIPT_NAME": "",
        },
    ),
]


@pytest.mark.parametrize(("values", "expected"), GUNICORN)
def test_meta_has_what_gunicorn_leaves_there_and_nothing_else(
    values: dict[str, Any], expected: dict[str, Any]
) -> None:
    meta = AsgiRequest(request_message(**values)).META
    assert meta.pop("SERVER_SOFTWARE") == "headrace"
    ours = {key for key in meta if key.startswith("wsgi.")}
    assert {key: value for key, value in meta.items() if key not in ours} == expected
    assert ours == {
        *("wsgi.version", "wsgi.errors", "wsgi.input", "wsgi.input_terminated", "wsgi.url_scheme"),
        *("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"),
    }


@pytest.mark.parametrize(
    ("host", "scheme", "server"),
    [
        (b"h:99", "http", ("h", "99")),
        (b"h", "https", ("h", "443")),
        (b"[::1]:8", "http", ("[::1]", "8")),
        (b"no host/", "http", ("unknown", "0")),
        (None, "http", ("unknown", "0")),
    ],
)
def test_behind_a_unix_socket_the_server_is_the_host_that_was_asked_for(
    host: bytes | None, scheme: str, server: tuple[str, str]
) -> None:
    headers = [] if host is None else [[b"host", host]]
    meta = AsgiRequest(request_message(headers=headers, scheme=scheme)).META
    assert (meta["SERVER_NAME"], meta["SERVER_PORT"]) == server


def test_several_cookie_headers_are_one_h5() -> None:
    request = AsgiRequest(request_message(headers=[[b"cookie", b"a=1; b=2"], [b"cookie", b"c=3"]]))
    assert request.COOKIES == {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("path", "root", "rest"),
    [
        ("/pre/x", "/pre", "/x"),
        ("/pre", "/pre", ""),
        ("/pre/", "/pre/", "/"),
        ("/prefixed", "/pre", "/prefixed"),
        ("/other", "/pre", "/other"),
        ("/x", "", "/x"),
        ("/x", "/", "/x"),
    ],
)
def test_a_root_path_ends_where_a_segment_ends_h6(path: str, root: str, rest: str) -> None:
    assert split_path(path, root) == rest


def test_a_header_with_an_underscore_cannot_pass_for_another() -> None:
    meta = AsgiRequest(request_message(headers=[[b"x_auth_user", b"admin"]])).META
    assert "HTTP_X_AUTH_USER" not in meta


def test_the_first_of_two_content_types_counts() -> None:
    request = AsgiRequest(
        request_message(headers=[[b"content-type", b"text/a"], [b"content-type", b"text/b"]])
    )
    assert request.content_type == "text/a"


def test_headers_may_be_a_dict_as_old_senders_made_them() -> None:
    message = request_message()
    message.content["headers"] = {b"host": b"example.com"}
    assert AsgiRequest(message).META["HTTP_HOST"] == "example.com"


@override_settings(FORCE_SCRIPT_NAME="/forced")
def test_force_script_name_wins_over_the_root_path() -> None:
    request = AsgiRequest(request_message(path="/x/", root_path=""))
    assert (request.script_name, request.path_info, request.path) == ("/forced", "/x/", "/forced/x/")


def test_a_body_without_content_length_gets_one() -> None:
    request = AsgiRequest(
        request_message(
            method="POST", body=MULTIPART, headers=[[b"content-type", b"multipart/form-data; boundary=xYzZY"]]
        )
    )
    assert request.POST["title"] == "héllo"
    assert request.FILES["f"].read() == b"file content"


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10)
def test_the_limit_of_djangos_settings_holds_h3() -> None:
    from django.core.exceptions import RequestDataTooBig

    request = AsgiRequest(request_message(method="POST", body=b"x" * 11))
    with pytest.raises(RequestDataTooBig):
        _ = request.body


@override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=2)
def test_the_number_of_fields_is_limited_h3() -> None:
    from django.core.exceptions import TooManyFieldsSent

    headers = [[b"content-type", b"application/x-www-form-urlencoded"]]
    request = AsgiRequest(request_message(method="POST", body=b"a=1&b=2&c=3", headers=headers))
    with pytest.raises(TooManyFieldsSent):
        _ = request.POST


def test_a_request_made_by_hand_reads_its_streamed_body_when_asked() -> None:
    channel = LAYER.new_channel("http.request.body?")
    LAYER.send(channel, {"content": b"streamed"})
    request = AsgiRequest(request_message(method="POST", body=b"and ", body_channel=channel))
    assert request.body == b"and streamed"
    assert request.META["CONTENT_LENGTH"] == "12"
    request.close()
