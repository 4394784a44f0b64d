"""The head of a request: what the parser found, checked and put into the form messages have.

Pure. llhttp (through httptools) is strict about syntax; what it leaves to its user is decided here: RFC 9112
(HTTP/1.1) and RFC 9110 (semantics), with the bytes that let headers be smuggled refused. What HTTP/2 says in
another way is read in `http2.fields`, and comes here in the words of HTTP/1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import unquote_to_bytes

from headrace_asgi.errors import PeerError

from .grammar import ABSOLUTE_FORM, HOST, NOT_IN_TARGET, OWS, SAFE_VALUE_BYTES, listed, number

__all__ = ["CHUNKED", "Endpoints", "Framing", "Refused", "RequestHead", "read_head"]


class Refused(PeerError):
    """A request that is answered with `status` and whose connection is closed; it reaches no worker."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


@dataclass(slots=True)
class RequestHead:
    """One request's head.

    `target` is as the client sent it, `path` is decoded and includes `root_path`. `headers` keep order and
    duplicates; names are lower-case and names with an underscore are dropped, because WSGI-style variables
    could not tell them from those with a hyphen. `client` and `server` are `[host, port]` or None.
    """

    method: str
    target: bytes
    path: str
    query_string: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    scheme: str
    client: list[Any] | None
    server: list[Any] | None
    root_path: str
    keep_alive: bool

    def as_plain(self) -> list[Any]:
        """All of it as plain values, which make it again."""
        return [getattr(self, each.name) for each in fields(self)]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> RequestHead:
        """The head that said this of itself."""
        head = cls(*plain)
        head.headers = [(name, value) for name, value in head.headers]
        return head

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its lower-case name, or None."""
        for known, value in self.headers:
            if known == name:
                return value
        return None

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of a header, in the order they came."""
        return [value for known, value in self.headers if known == name]


@dataclass(slots=True)
class Endpoints:
    """What all requests of a connection have in common."""

    scheme: str
    client: list[Any] | None
    server: list[Any] | None
    root_path: str
    #: Whether the peer is a proxy whose headers about its client are believed.
    trusted: bool = False


#: Length of a body that is sent in chunks.
CHUNKED = -1


@dataclass(slots=True, frozen=True)
class Framing:
    """What the headers say about what follows: the body's bytes or `CHUNKED`, what the client waits for."""

    body_bytes: int = 0
    expects_continue: bool = False
    upgrade: bytes = b""


_NO_BODY = Framing()

#: The parser says 2.0 of a request line that claims it; 2 is said by HTTP/2 itself.
_VERSIONS = frozenset(("1.1", "1.0", "2"))

#: Headers that decide about framing and connection.
_WATCHED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"connection"))
#: llhttp reads RTSP as well and calls it HTTP/1.0.
_FOREIGN_METHODS = frozenset(
    (
        *("DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER"),
        *("REDIRECT", "RECORD", "FLUSH", "PRI", "SOURCE"),
    )
)


def read_head(
    method: str,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    http_version: str,
    keep_alive: bool,
    endpoints: Endpoints,
) -> tuple[RequestHead, Framing]:
    """Check a parsed head and say what follows it. `headers` have lower-case names; values are as received.

    Raises Refused. `endpoints.trusted` is not looked at here: see `forwarded`.
    """
    if http_version not in _VERSIONS:
        raise Refused(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if b"".join([value for _, value in headers]).translate(None, SAFE_VALUE_BYTES):
        raise Refused(400, "A header value has control characters.")
    kept, watched = _sorted_out(headers)
    path, query_string = _split_target(method, target, watched, kept)
    if http_version != "1.0" and b"host" not in watched:
        raise Refused(400, "A request needs exactly one Host header.")
    if b"host" in watched and not HOST.fullmatch(watched[b"host"]):
        raise Refused(400, "The Host header is no host.")
    head = RequestHead(
        method,
        target,
        path,
        query_string,
        http_version,
        kept,
        endpoints.scheme,
        endpoints.client,
        endpoints.server,
        endpoints.root_path,
        keep_alive,
    )
    if len(watched) == 1 and b"host" in watched:
        return head, _NO_BODY
    return head, _read_framing(method, http_version, watched)


def _sorted_out(
    headers: list[tuple[bytes, bytes]],
) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """What the application gets, and those headers that decide something here."""
    kept: list[tuple[bytes, bytes]] = []
    watched: dict[bytes, bytes] = {}
    for name, received in headers:
        value = received.strip(OWS)
        if name in _WATCHED:
            watched[name] = _repeated(name, watched[name], value) if name in watched else value
        elif b"_" in name:
            continue
        kept.append((name, value))
    return kept, watched


def _repeated(name: bytes, first: bytes, value: bytes) -> bytes:
    """What a header said twice says as one, if it may be a list; it stays two for the application."""
    if name in (b"connection", b"upgrade"):
        return first + b"," + value
    raise Refused(400, f"A request has at most one {name.decode('ascii').title()} header.")


def _split_target(
    method: str, target: bytes, watched: dict[bytes, bytes], headers: list[tuple[bytes, bytes]]
) -> tuple[str, bytes]:
    """Path and query string of a request target (RFC 9112 3.2). An absolute one replaces the Host."""
    if method == "CONNECT":
        raise Refused(405, "This server is no proxy.")
    if method in _FOREIGN_METHODS:
        raise Refused(501, "This is no method of HTTP.")
    if NOT_IN_TARGET.search(target):
        raise Refused(400, "The request target has characters that must be percent-encoded.")
    if target == b"*" and method == "OPTIONS":
        return "*", b""  # asks about the server as a whole; the application answers it, as under WSGI
    if target[:1] != b"/":
        absolute = ABSOLUTE_FORM.fullmatch(target)
        if absolute is None:
            raise Refused(400, "The request target must be a path or an http:// address.")
        host, target = absolute.groups()
        if not target.startswith(b"/"):
            target = b"/" + target
        _replace_host(host, watched, headers)
    path, _, query_string = target.partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path)
    try:
        return path.decode("utf-8"), query_string
    except UnicodeDecodeError:
        raise Refused(400, "The path is not UTF-8 when it is decoded.") from None


def _replace_host(host: bytes, watched: dict[bytes, bytes], headers: list[tuple[bytes, bytes]]) -> None:
    if b"host" not in watched:
        return
    watched[b"host"] = host
    for index, (name, _) in enumerate(headers):
        if name == b"host":
            headers[index] = (name, host)


def _read_framing(method: str, http_version: str, watched: dict[bytes, bytes]) -> Framing:
    length = _body_bytes(http_version, watched)
    upgrade = b""
    if b"upgrade" in watched and b"upgrade" in listed(watched.get(b"connection", b"").lower()):
        upgrade = watched[b"upgrade"].lower()
        # llhttp stops before such a body, so what follows would be read as the next request.
        if length or b"content-length" in watched:
            raise Refused(400, "A request for an upgrade must not have a body.")
        if http_version == "1.0":
            upgrade = b""  # RFC 9110 7.8: ignored
        elif b"websocket" in listed(upgrade):
            upgrade = b"websocket"
            if method != "GET":
                raise Refused(405, "A WebSocket is opened with GET.", ((b"Allow", b"GET"),))
    expect = watched.get(b"expect", b"").lower()
    if expect not in (b"", b"100-continue"):
        raise Refused(417, "Only 100-continue can be expected of this server.")
    waits = bool(expect) and http_version != "1.0" and length != 0
    if not (length or waits or upgrade):
        return _NO_BODY
    return Framing(length, waits, upgrade)


def _body_bytes(http_version: str, watched: dict[bytes, bytes]) -> int:
    coding = watched.get(b"transfer-encoding")
    length = watched.get(b"content-length")
    if coding is not None:
        if http_version == "1.0" or length is not None or coding.lower() != b"chunked":
            raise Refused(400, "A body is sent with a Content-Length, or on HTTP/1.1 exactly as chunked.")
        return CHUNKED
    if length is None:
        return 0
    count = number(length)
    if count is None:
        raise Refused(400, "The Content-Length is no number.")
    return count
