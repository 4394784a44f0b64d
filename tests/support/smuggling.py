"""Requests that must be refused: nothing reaches a worker, the connection is closed.

Each is (name, bytes, status). The bytes end with a second, honest request where the attack aims at one.
"""

from __future__ import annotations

__all__ = ["REFUSED", "SECOND"]

#: What a smuggler wants to be taken for a request of somebody else.
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: example.com\r\n\r\n"

_HOST = b"Host: example.com\r\n"


def _post(headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /first HTTP/" + version + b"\r\n" + _HOST + headers + b"\r\n" + body + SECOND


def _get(line: bytes = b"GET /first HTTP/1.1", headers: bytes = b"") -> bytes:
    return line + b"\r\n" + _HOST + headers + b"\r\n"


def _chunked(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked\r\n", body)


_BODIES = [
    ("two different lengths", _post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"aaaaa"), 400),
    ("two equal lengths", _post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"aaaaa"), 400),
    ("a list of lengths", _post(b"Content-Length: 5, 5\r\n", b"aaaaa"), 400),
    ("a length with a plus", _post(b"Content-Length: +5\r\n", b"aaaaa"), 400),
    ("a length with a minus", _post(b"Content-Length: -5\r\n", b"aaaaa"), 400),
    ("a hexadecimal length", _post(b"Content-Length: 0x5\r\n", b"aaaaa"), 400),
    ("a length with a blank inside", _post(b"Content-Length: 1 2\r\n", b"aaaaa"), 400),
    ("a length with an underscore", _post(b"Content-Length: 1_0\r\n", b"aaaaaaaaaa"), 400),
    ("a length with an exponent", _post(b"Content-Length: 1e1\r\n", b"aaaaaaaaaa"), 400),
    ("a length with a fraction", _post(b"Content-Length: 5.0\r\n", b"aaaaa"), 400),
    ("an empty length", _post(b"Content-Length:\r\n"), 400),
    ("a length beyond 64 bits", _post(b"Content-Length: 99999999999999999999999\r\n"), 400),
    ("a length of many zeros", _post(b"Content-Length: 0000000000000000000005\r\n", b"aaaaa"), 400),
    ("a length in Arabic digits", _post("Content-Length: \u0665\r\n".encode(), b"aaaaa"), 400),
    ("length and chunked", _post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked and length", _post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    ("length and another coding", _post(b"Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", b"aaaaa"), 400),
    ("chunked, identity", _post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"), 400),
    ("gzip, chunked", _post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked twice in a list", _post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), 400),
    (
        "chunked twice",
        _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        400,
    ),
    (
        "chunked and identity, twice",
        _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"),
        400,
    ),
    ("identity", _post(b"Transfer-Encoding: identity\r\n"), 400),
    ("an unknown coding", _post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked with a parameter", _post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"), 400),
    ("chunked in quotes", _post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), 400),
    ("chunked after a vertical tab", _post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), 400),
    ("an empty coding", _post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n"), 400),
    ("chunked on HTTP/1.0", _post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"), 400),
    ("a blank before the colon", _post(b"Content-Length : 5\r\n", b"aaaaa"), 400),
    ("a blank before the colon of a coding", _post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), 400),
    ("a tab before the colon", _post(b"Transfer-Encoding\t: chunked\r\n", b"0\r\n\r\n"), 400),
    (
        "an upgrade with a length",
        _post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 44\r\n"),
        400,
    ),
    ("an upgrade with length 0", _post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n"), 400),
    (
        "an upgrade with chunks",
        _post(b"Connection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        400,
    ),
    (
        "a WebSocket with a length",
        _get(headers=b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 44\r\n") + SECOND,
        400,
    ),
]

_CHUNKS = [
    ("a chunk size with a sign", _chunked(b"+5\r\naaaaa\r\n0\r\n\r\n"), 400),
    ("a chunk size with 0x", _chunked(b"0x5\r\naaaaa\r\n0\r\n\r\n"), 400),
    ("a chunk size of no digits", _chunked(b"\r\naaaaa\r\n0\r\n\r\n"), 400),
    ("a chunk size that is no number", _chunked(b"g\r\naaaaa\r\n0\r\n\r\n"), 400),
    ("a chunk size beyond 64 bits", _chunked(b"fffffffffffffffff\r\naaaaa\r\n0\r\n\r\n"), 400),
    ("a blank after a chunk size", _chunked(b"5 \r\naaaaa\r\n0\r\n\r\n"), 400),
    ("a chunk size ended by a line feed", _chunked(b"5\naaaaa\r\n0\r\n\r\n"), 400),
    ("a chunk longer than its size", _chunked(b"5\r\naaaaaaa\r\n0\r\n\r\n"), 400),
    ("a chunk ended by a line feed", _chunked(b"5\r\naaaaa\n0\r\n\r\n"), 400),
    ("a last chunk ended by line feeds", _chunked(b"0\n\n"), 400),
    ("a line feed in a chunk extension", _chunked(b"5;a\nb\r\naaaaa\r\n0\r\n\r\n"), 400),
    ("a trailer with a line feed", _chunked(b"0\r\nX: a\nY: b\r\n\r\n"), 400),
]

_LINES = [
    ("line feeds alone", b"GET /first HTTP/1.1\nHost: example.com\n\n" + SECOND, 400),
    ("a line feed after the request line", b"GET /first HTTP/1.1\nHost: example.com\r\n\r\n" + SECOND, 400),
    ("a line feed after a header", _get(headers=b"X: a\nY: b\r\n") + SECOND, 400),
    ("a carriage return alone", _get(headers=b"X: a\rY: b\r\n") + SECOND, 400),
    ("a folded header", _get(headers=b"X: a\r\n b\r\n") + SECOND, 400),
    ("a header folded with a tab", _get(headers=b"X: a\r\n\tb\r\n") + SECOND, 400),
    ("a folded coding", _post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"), 400),
    ("a first header that is folded", b"GET / HTTP/1.1\r\n Host: example.com\r\n\r\n" + SECOND, 400),
    ("a header without a colon", _get(headers=b"Nonsense\r\n"), 400),
    ("a header without a name", _get(headers=b": value\r\n"), 400),
    ("a name with a blank", _get(headers=b"X Y: value\r\n"), 400),
    ("a name with a control character", _get(headers=b"X\x01Y: value\r\n"), 400),
    ("a name that is not ASCII", _get(headers="Ä: value\r\n".encode()), 400),
    ("a name with a NUL", _get(headers=b"X\0: value\r\n"), 400),
    ("a name in brackets", _get(headers=b"(X): value\r\n"), 400),
    ("a tab in the request line", _get(b"GET\t/first HTTP/1.1"), 400),
    ("a blank in the target", _get(b"GET /fi rst HTTP/1.1"), 400),
    ("a blank before the method", _get(b" GET /first HTTP/1.1"), 400),
    ("nothing but noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
]

_HEADS = [
    ("no Host", b"GET /first HTTP/1.1\r\n\r\n" + SECOND, 400),
    ("two Hosts", _get(headers=b"Host: other.example\r\n") + SECOND, 400),
    ("two equal Hosts", _get(headers=_HOST) + SECOND, 400),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("a Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("a Host with user info", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    ("a Host with a blank", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("two Hosts on HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("HTTP/0.9", b"GET /first\r\n\r\n" + SECOND, 505),
    ("HTTP/2.0", _get(b"GET /first HTTP/2.0"), 505),
    ("HTTP/1.2", _get(b"GET /first HTTP/1.2"), 400),
    ("HTTP/9.9", _get(b"GET /first HTTP/9.9"), 400),
    ("a version with two digits", _get(b"GET /first HTTP/1.10"), 400),
    ("a version in lower case", _get(b"GET /first http/1.1"), 400),
    ("RTSP", _get(b"DESCRIBE /first RTSP/1.0"), 501),
    ("an unknown method", _get(b"HELLO /first HTTP/1.1"), 400),
    ("a method in lower case", _get(b"get /first HTTP/1.1"), 400),
    ("CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\n" + _HOST + b"\r\n" + SECOND, 405),
    (
        "CONNECT with a body",
        b"CONNECT a:1 HTTP/1.1\r\n" + _HOST + b"Content-Length: 44\r\n\r\n" + SECOND,
        405,
    ),
    ("a target that is no path", _get(b"GET first HTTP/1.1"), 400),
    ("an asterisk that is not for OPTIONS", _get(b"GET * HTTP/1.1"), 400),
    ("an address of another scheme", _get(b"GET ftp://example.com/ HTTP/1.1"), 400),
    ("an address with user info", _get(b"GET http://a@example.com/ HTTP/1.1"), 400),
    ("an address without a host", _get(b"GET http:///first HTTP/1.1"), 400),
    ("a fragment", _get(b"GET /first#fragment HTTP/1.1"), 400),
    ("a target that is not ASCII", _get("GET /ä HTTP/1.1".encode()), 400),
    ("a query that is not ASCII", _get("GET /?ä HTTP/1.1".encode()), 400),
    ("a NUL in the target", _get(b"GET /a\0b HTTP/1.1"), 400),
    ("a DEL in the target", _get(b"GET /a\x7fb HTTP/1.1"), 400),
    ("a path that is not UTF-8", _get(b"GET /%ff HTTP/1.1"), 400),
    ("an overlong UTF-8 path", _get(b"GET /%c0%af HTTP/1.1"), 400),
    ("another expectation", _get(headers=b"Expect: 200-ok\r\n"), 417),
    ("a WebSocket opened with POST", _post(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), 405),
]

#: Every byte that a header value must not have.
_VALUES = [
    (f"byte 0x{byte:02x} in a value", _get(headers=b"X: a" + bytes((byte,)) + b"b\r\n") + SECOND, 400)
    for byte in (*(byte for byte in range(32) if byte not in (9, 13, 10)), 0x7F, 0x85)
]

REFUSED = [*_BODIES, *_CHUNKS, *_LINES, *_HEADS, *_VALUES]
