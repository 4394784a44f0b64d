"""The bytes of responses."""

from __future__ import annotations

import pytest

from headrace_interface.http.writer import BadResponse, ResponseWriter, response_head, simple_response
from tests.support.http_lab import Answer, answers

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def whole(
    status: int = 200,
    headers: list[list[bytes]] | None = None,
    content: bytes = b"",
    method: str = "GET",
    version: str = "1.1",
    keep_alive: bool = True,
) -> Answer:
    data = ResponseWriter(method, version, keep_alive).whole(status, headers or [], content, DATE)
    [answer] = answers(data, (method,))
    return answer


def test_date_server_and_content_length_are_always_there_h13() -> None:
    answer = whole(content=b"hello")
    assert answer.headers == [
        ("Content-Length", "5"),
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Server", "headrace"),
    ]
    assert answer.body == b"hello"
    assert whole().header("Content-Length") == "0"


def test_the_applications_date_and_server_stand() -> None:
    answer = whole(headers=[[b"date", b"now"], [b"SERVER", b"mine"]])
    assert [value for name, value in answer.headers if name.lower() in ("date", "server")] == ["now", "mine"]


def test_without_a_name_of_the_server_there_is_no_server_header() -> None:
    [answer] = answers(ResponseWriter("GET", "1.1", True).whole(200, [], b"", DATE, server=b""), ("GET",))
    assert [name for name, _ in answer.headers] == ["Content-Length", "Date"]


def test_the_content_length_of_one_message_is_counted() -> None:
    answer = whole(headers=[[b"Content-Length", b"999"]], content=b"abc")
    assert (answer.header("Content-Length"), answer.body) == ("3", b"abc")


def test_headers_of_the_connection_are_ours() -> None:
    answer = whole(
        headers=[
            [b"Transfer-Encoding", b"chunked"],
            [b"Keep-Alive", b"timeout=5"],
            [b"Upgrade", b"h2c"],
            [b"Connection", b"keep-alive, X"],
            [b"X", b"1"],
        ]
    )
    names = [name for name, _ in answer.headers]
    assert names == ["X", "Content-Length", "Date", "Server"]


@pytest.mark.parametrize("value", [b"close", b"Close", b"X, close"])
def test_the_application_may_close(value: bytes) -> None:
    writer = ResponseWriter("GET", "1.1", True)
    [answer] = answers(writer.whole(200, [[b"Connection", value]], b"", DATE))
    assert answer.header("Connection") == "close"
    assert not writer.keep_alive


@pytest.mark.parametrize(
    ("version", "keep_alive", "expected"),
    [("1.1", True, None), ("1.1", False, "close"), ("1.0", True, "keep-alive"), ("1.0", False, "close")],
)
def test_what_the_connection_header_says(version: str, keep_alive: bool, expected: str | None) -> None:
    assert whole(version=version, keep_alive=keep_alive).header("Connection") == expected


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    answer = whole(status, content=b"lost")
    assert (answer.body, answer.header("Content-Length")) == (b"", None)


def test_304_and_head_keep_the_length_that_the_application_says() -> None:
    assert whole(304, [[b"Content-Length", b"7"]]).header("Content-Length") == "7"
    assert whole(200, [[b"Content-Length", b"7"]], method="HEAD").header("Content-Length") == "7"
    assert whole(200, content=b"abc", method="HEAD").header("Content-Length") == "3"
    assert whole(204, [[b"Content-Length", b"7"]]).header("Content-Length") is None


def test_cookies_keep_their_order() -> None:
    answer = whole(headers=[[b"Set-Cookie", b"a=1"], [b"X", b"1"], [b"Set-Cookie", b"b=2"]])
    assert [value for name, value in answer.headers if name == "Set-Cookie"] == ["a=1", "b=2"]


def test_an_unknown_status_has_a_reason() -> None:
    assert (
        ResponseWriter("GET", "1.1", True).whole(799, [], b"", DATE).startswith(b"HTTP/1.1 799 Unknown\r\n")
    )
    assert (
        ResponseWriter("GET", "1.1", True).whole(404, [], b"", DATE).startswith(b"HTTP/1.1 404 Not Found\r\n")
    )


@pytest.mark.parametrize("byte", [*(byte for byte in range(32) if byte != 9), 127])
def test_a_value_with_a_control_character_is_an_error_st15(byte: int) -> None:
    with pytest.raises(BadResponse, match="b'X'"):
        whole(headers=[[b"OK", b"1"], [b"X", b"a" + bytes((byte,)) + b"b"]])


@pytest.mark.parametrize("name", [b"", b"A B", b"A:", b"A\r\nB", "ä".encode(), b"A\0", b"(A)"])
def test_a_name_that_is_no_token_is_an_error_st15(name: bytes) -> None:
    with pytest.raises(BadResponse):
        whole(headers=[[name, b"1"]])


def test_connection_headers_are_checked_before_they_are_left_out_st15() -> None:
    with pytest.raises(BadResponse):
        whole(headers=[[b"Connection", b"a\r\nX: y"]])


@pytest.mark.parametrize("value", [b"", b"-1", b"1,1", b"0x1", b"1 1"])
def test_a_content_length_must_be_a_number(value: bytes) -> None:
    with pytest.raises(BadResponse):
        whole(headers=[[b"Content-Length", value]])
    with pytest.raises(BadResponse):
        whole(headers=[[b"Content-Length", b"1"], [b"Content-Length", b"2"]])


def test_parts_with_a_length() -> None:
    writer = ResponseWriter("GET", "1.1", True)
    data = writer.start(200, [[b"Content-Length", b"6"]], DATE)
    data += writer.part(b"abc", False) + writer.part(b"", False) + writer.part(b"def", True)
    [answer] = answers(data)
    assert (answer.body, answer.header("Transfer-Encoding")) == (b"abcdef", None)
    assert writer.keep_alive


@pytest.mark.parametrize("parts", [[b"abcdefg"], [b"abc"], [b"abc", b"defg"]])
def test_parts_that_do_not_add_up(parts: list[bytes]) -> None:
    writer = ResponseWriter("GET", "1.1", True)
    writer.start(200, [[b"Content-Length", b"6"]], DATE)
    for part in parts[:-1]:
        writer.part(part, False)
    with pytest.raises(BadResponse, match="Content-Length"):
        writer.part(parts[-1], True)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_parts_of_a_response_without_body_are_not_written(method: str, status: int) -> None:
    writer = ResponseWriter(method, "1.1", True)
    head = writer.start(status, [], DATE)
    assert b"chunked" not in head
    assert writer.part(b"abc", False) == writer.part(b"", True) == b""
    assert writer.keep_alive


def test_a_stream_without_length_on_http_1_0_ends_with_the_connection() -> None:
    writer = ResponseWriter("GET", "1.0", True)
    data = writer.start(200, [], DATE) + writer.part(b"abc", True)
    [answer] = answers(data)
    assert (answer.body, answer.header("Connection")) == (b"abc", "close")
    assert not writer.keep_alive


def test_a_response_of_our_own() -> None:
    data = simple_response(503, "Busy.", date=DATE, headers=((b"Retry-After", b"5"),))
    [answer] = answers(data)
    assert (answer.status, answer.body) == (503, b"Busy.\n")
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    assert (answer.header("Retry-After"), answer.header("Connection")) == ("5", "close")
    assert answers(simple_response(400, "No.", date=DATE, method="HEAD"), ("HEAD",))[0].body == b""


def test_a_head_alone() -> None:
    data = response_head(403, [(b"X", b"1")], "1.1", True, 3, "GET", DATE, b"other")
    assert data == (
        b"HTTP/1.1 403 Forbidden\r\nX: 1\r\nContent-Length: 3\r\nDate: " + DATE + b"\r\nServer: other\r\n\r\n"
    )
