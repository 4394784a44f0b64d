"""The fields of a request of HTTP/2, checked and put into the form that messages have. Pure.

What is wrong by the rules of HTTP/2 makes the request malformed (RFC 9113 8.1.1): its stream is reset. What a
client of HTTP/1 would be told with a status, one of HTTP/2 is told so, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from headrace_asgi.errors import PeerError

from .. import forwarded
from ..http.grammar import OWS, TOKEN_BYTES, number
from ..http.head import CHUNKED, Endpoints, Framing, Refused, RequestHead, read_head
from ..settings import InterfaceSettings

__all__ = ["Field", "Malformed", "check_trailers", "read_fields"]

Field = tuple[bytes, bytes]


class Malformed(PeerError):
    """A request whose stream is reset with PROTOCOL_ERROR (RFC 9113 8.1.1); the text says why."""


#: RFC 9113 8.2.1: names are tokens without upper case.
_NAME_BYTES = bytes(byte for byte in TOKEN_BYTES if not 65 <= byte <= 90)
#: RFC 9113 8.3.1.
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority", b":protocol"))
#: RFC 9113 8.2.2: they are about a connection of HTTP/1.
_CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
#: Said twice they would mean two things: for those behind us, too.
_ONCE = frozenset((b"host", b"content-length"))


def read_fields(
    fields: Iterable[Field], ended: bool, endpoints: Endpoints, settings: InterfaceSettings
) -> tuple[RequestHead, Framing]:
    """The head, and what follows it; `ended` if nothing does.

    Raises Malformed, or Refused for what is answered with a status.
    """
    pseudo, headers = _sorted_out(fields)
    method = _method(pseudo)
    _check_size(pseudo, headers, settings)
    protocol = pseudo.get(b":protocol")
    if protocol is not None:
        method = _tunnel_method(protocol, ended)
    elif method == "CONNECT":
        raise Refused(405, "This server is no proxy.")
    length = _length(headers, ended)
    target = _target(method, pseudo)
    headers = _with_host(pseudo.get(b":authority"), headers)
    head, framing = read_head(method, target, headers, "2", True, endpoints)
    if endpoints.trusted:
        forwarded.apply(head, settings)
    if protocol is not None:
        return head, Framing(upgrade=protocol)
    return head, Framing(length, framing.expects_continue or (not ended and _expects(head)))


def check_trailers(fields: Iterable[Field]) -> None:
    """Raises Malformed if what follows a body is no trailers (RFC 9113 8.1); otherwise they are dropped."""
    pseudo, _ = _sorted_out(fields)
    if pseudo:
        raise Malformed("a pseudo-header field in trailers")


def _sorted_out(fields: Iterable[Field]) -> tuple[dict[bytes, bytes], list[Field]]:
    """The pseudo-header fields, and the others with the crumbs of a cookie as one."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[Field] = []
    crumbs: list[bytes] = []
    for name, value in fields:
        if value != value.strip(OWS) or b"\0" in value or b"\n" in value or b"\r" in value:
            raise Malformed("a field value that no field may have")
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise Malformed("a pseudo-header field that is unknown, repeated or behind others")
            pseudo[name] = value
            continue
        _check_header(name, value)
        if name == b"cookie":
            crumbs.append(value)
            if len(crumbs) > 1:
                continue
        headers.append((name, value))
    if len(crumbs) > 1:
        # RFC 9113 8.2.3: to whoever knows HTTP/1 only they are one.
        joined = b"; ".join(crumbs)
        headers = [(name, joined if name == b"cookie" else value) for name, value in headers]
    _check_once(headers)
    return pseudo, headers


def _check_header(name: bytes, value: bytes) -> None:
    if not name or name.translate(None, _NAME_BYTES):
        raise Malformed("a field name that is none, or in upper case")
    if name in _CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
        raise Malformed("a field that is about a connection of HTTP/1")


def _check_once(headers: list[Field]) -> None:
    names = [name for name, _ in headers if name in _ONCE]
    if len(names) > len(set(names)):
        raise Malformed("a field twice that may be there once")


def _method(pseudo: dict[bytes, bytes]) -> str:
    method = pseudo.get(b":method", b"")
    if not method or method.translate(None, TOKEN_BYTES):
        raise Malformed("no :method")
    # RFC 8441 4: with a protocol a CONNECT has all that others have, and others have none.
    plain = method == b"CONNECT" and b":protocol" not in pseudo
    needed = (b":authority",) if plain else (b":scheme", b":path")
    if not all(pseudo.get(name) for name in needed) or (plain and len(pseudo) > len(needed) + 1):
        raise Malformed("a pseudo-header field is missing, or one too many")
    if method != b"CONNECT" and b":protocol" in pseudo:
        raise Malformed("a :protocol without a CONNECT")
    return method.decode("ascii")


def _tunnel_method(protocol: bytes, ended: bool) -> str:
    """The method that HTTP/1 has for what is asked here (RFC 8441 5.1)."""
    if protocol != b"websocket":
        raise Refused(501, "Only WebSockets are spoken here.")
    if ended:
        raise Malformed("a socket that is closed before it is open")
    return "GET"


def _check_size(pseudo: dict[bytes, bytes], headers: list[Field], settings: InterfaceSettings) -> None:
    if len(pseudo.get(b":path", b"")) > settings.max_target_bytes:
        raise Refused(414, "The request target is too long.")
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > settings.max_headers or size > settings.max_head_bytes:
        raise Refused(431, "The request's headers are too many or too large.")


def _target(method: str, pseudo: dict[bytes, bytes]) -> bytes:
    target = pseudo[b":path"]
    if target[:1] != b"/" and not (target == b"*" and method == "OPTIONS"):
        raise Malformed("a :path that does not begin with a slash")
    return target


def _with_host(authority: bytes | None, headers: list[Field]) -> list[Field]:
    """The headers with the one Host that HTTP/1 has, first."""
    hosts = [value for name, value in headers if name == b"host"]
    if authority is None:
        return headers
    if hosts and hosts[0].lower() != authority.lower():
        raise Malformed("a Host that is not the :authority")
    return [(b"host", authority), *(each for each in headers if each[0] != b"host")]


def _length(headers: list[Field], ended: bool) -> int:
    """Bytes of the body that follows, `CHUNKED` if nobody said, 0 if none does."""
    said = next((value for name, value in headers if name == b"content-length"), None)
    count = None if said is None else number(said)
    if said is not None and (count is None or (ended and count)):
        raise Malformed("a Content-Length that is no number, or that of a body which is not there")
    if ended:
        return 0
    return CHUNKED if count is None else count


def _expects(head: RequestHead) -> bool:
    """Whether the client waits to be told to send a body whose length it did not say."""
    return (head.header(b"expect") or b"").lower() == b"100-continue"
