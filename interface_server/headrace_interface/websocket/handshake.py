"""The opening handshake, decided: what is refused before anybody is asked, and what an acceptance may say.

All of it is pure. `check` runs before `websocket.connect` is sent, so a bad handshake costs no message;
`accept_problem` runs before the 101 is written; `canonical_head` is what Autobahn is fed instead of the
client's own bytes, of which it therefore parses none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from headrace_asgi import messages
from headrace_asgi.envelope import Message

from ..http.grammar import TOKEN, UTF8_VALUE, listed
from ..http.head import RequestHead
from ..http.writer import ResponseWriter
from .actions import Deny, Headers

__all__ = [
    "HandshakeRefusal",
    "Offer",
    "accept_problem",
    "canonical_head",
    "check",
    "connect_message",
    "denial",
]

#: RFC 8441 5: on HTTP/2 there is no key; Autobahn wants one.
_NO_KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="
#: RFC 6455 4.1: the base64 form of 16 bytes.
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_VERSION = b"13"
_TEXT = (b"content-type", b"text/plain; charset=utf-8")

#: Headers of a 101 that belong to the protocol, not to the application.
_OURS = frozenset((b"connection", b"upgrade", b"content-length", b"transfer-encoding"))
_OURS_PREFIX = b"sec-websocket-"

_DEFLATE = "permessage-deflate"
#: zlib cannot make the window of 8 bits that RFC 7692 7.1.2.1 allows to ask for.
_WINDOW_BITS = frozenset(str(bits) for bits in range(9, 16))
_HINT_BITS = _WINDOW_BITS | {"8", ""}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a valid handshake offers. `extension` is the one compression offer worth taking, or empty."""

    key: bytes
    subprotocols: tuple[str, ...]
    extension: str


@dataclass(frozen=True, slots=True)
class HandshakeRefusal:
    """An HTTP response instead of a WebSocket; `text` tells the client's author what is wrong."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def check(head: RequestHead, compression: bool = True) -> Offer | HandshakeRefusal:
    """Judge a request that asked for a WebSocket (RFC 6455 4.2.1, RFC 8441 5). Does not block or raise.

    `compression` says whether an offer of permessage-deflate is taken up.
    """
    if head.method != "GET":
        return HandshakeRefusal(405, "A WebSocket handshake is a GET request.", ((b"allow", b"GET"),))
    if head.http_version == "1.0":
        return HandshakeRefusal(400, "A WebSocket handshake needs HTTP/1.1.")
    is_stream = head.http_version == "2"
    wanted: dict[bytes, list[bytes]] = {}
    for name, value in head.headers:
        wanted.setdefault(name, []).append(value)
    problem = ("" if is_stream else _upgrade_problem(wanted)) or _problem(wanted)
    if problem:
        return HandshakeRefusal(400, problem)
    if [version.strip() for version in wanted.get(b"sec-websocket-version", ())] != [_VERSION]:
        # RFC 6455 4.4; RFC 9110 15.5.22 wants Upgrade in a 426.
        return HandshakeRefusal(
            426,
            "This server speaks version 13 of the WebSocket protocol.",
            ((b"sec-websocket-version", _VERSION), (b"upgrade", b"websocket")),
        )
    keys = [key.strip() for key in wanted.get(b"sec-websocket-key", ())]
    if is_stream:
        keys = [_NO_KEY]
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return HandshakeRefusal(400, "Sec-WebSocket-Key must be given once, as the base64 form of 16 bytes.")
    subprotocols = [name for name in _listed(wanted.get(b"sec-websocket-protocol", ())) if name]
    if len(set(subprotocols)) < len(subprotocols) or not all(map(TOKEN.fullmatch, subprotocols)):
        return HandshakeRefusal(400, "Sec-WebSocket-Protocol must list different tokens.")
    offered = wanted.get(b"sec-websocket-extensions", ()) if compression else ()
    return Offer(keys[0], tuple(name.decode("ascii") for name in subprotocols), _deflate_offer(offered))


def _upgrade_problem(wanted: dict[bytes, list[bytes]]) -> str:
    if b"websocket" not in _lowered(wanted.get(b"upgrade", ())):
        return "Upgrade must name websocket."
    if b"upgrade" not in _lowered(wanted.get(b"connection", ())):
        return "Connection must name Upgrade."
    return ""


def _problem(wanted: dict[bytes, list[bytes]]) -> str:
    if b"transfer-encoding" in wanted or wanted.get(b"content-length", [b"0"]) != [b"0"]:
        return "A WebSocket handshake has no body."
    if len(wanted.get(b"origin", ())) > 1:
        return "Origin may be given once."
    return ""


def _listed(values: Iterable[bytes]) -> list[bytes]:
    return [item for value in values for item in listed(value)]


def _lowered(values: Iterable[bytes]) -> list[bytes]:
    return [item.lower() for item in _listed(values)]


def _deflate_offer(values: Iterable[bytes]) -> str:
    """The first offer of permessage-deflate that can be taken, in canonical form.

    RFC 7692 7: an offer with a parameter that is unknown, repeated or has a wrong value is declined, and an
    extension that we do not speak is no error (RFC 6455 9.1).
    """
    for item in _listed(values):
        name, *parameters = [part.strip().lower().decode("latin-1") for part in item.split(b";")]
        if name == _DEFLATE:
            taken = [_deflate_parameter(parameter) for parameter in parameters]
            names = [parameter.partition("=")[0] for parameter in taken]
            if all(taken) and len(set(names)) == len(names):
                return "; ".join([_DEFLATE, *taken])
    return ""


def _deflate_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    name = name.rstrip()
    value = value.strip().strip('"')
    if name in ("server_no_context_takeover", "client_no_context_takeover") and not equals:
        return name
    if name == "client_max_window_bits" and (value in _HINT_BITS if equals else True):
        return name
    if name == "server_max_window_bits" and value in _WINDOW_BITS:
        return f"{name}={value}"
    return ""


def connect_message(head: RequestHead, offer: Offer, reply_channel: str) -> Message:
    """The `websocket.connect` for a handshake, with everything the client said.

    Raises BadMessage if `head` was never checked.
    """
    return messages.WEBSOCKET_CONNECT.build(
        reply_channel=reply_channel,
        scheme="wss" if head.scheme == "https" else "ws",
        path=head.path,
        query_string=head.query_string,
        root_path=head.root_path,
        headers=head.headers,
        client=head.client,
        server=head.server,
        order=0,
        subprotocols=list(offer.subprotocols),
    )


def accept_problem(offer: Offer, subprotocol: str | None, headers: Headers) -> str:
    """What is wrong with an application's acceptance, as the rest of a sentence; empty if nothing is.

    RFC 6455 4.2.2: the subprotocol must be one that the client offered. Headers may not carry bytes that end
    a line, and not those names that the protocol itself sets.
    """
    if subprotocol is not None and subprotocol not in offer.subprotocols:
        offered = ", ".join(offer.subprotocols) or "none"
        return f"chose the subprotocol {subprotocol!r}, but the client offered {offered}"
    for name, value in headers:
        if not TOKEN.fullmatch(name):
            return f"sent a header whose name is {name!r}"
        if name.lower() in _OURS or name.lower().startswith(_OURS_PREFIX):
            return f"sent the header {name!r}, which belongs to the handshake itself"
        if not _is_value(value):
            return f"sent the header {name!r} with bytes that a header may not hold"
    return ""


def _is_value(value: bytes) -> bool:
    # Autobahn writes the head as UTF-8, so anything else would not arrive as it was sent.
    try:
        return UTF8_VALUE.fullmatch(value.decode()) is not None
    except UnicodeDecodeError:
        return False


def denial(head: RequestHead, deny: Deny, date: bytes, server: bytes) -> bytes:
    """The HTTP response of a refused handshake. Raises BadResponse for headers that cannot be sent."""
    headers, content = deny.headers, deny.content
    if not content:
        headers, content = [_TEXT, *headers], deny.text.encode() + b"\n"
    writer = ResponseWriter(head.method, head.http_version, keep_alive=False)
    return writer.whole(deny.status, headers, content, date, server)


def canonical_head(offer: Offer, subprotocol: str | None) -> bytes:
    """The request that Autobahn sees: only what it needs to answer with a 101.

    Its own parser would split some values in two, and Origin is checked elsewhere.
    """
    head = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + offer.key + b"\r\n"
    )
    if subprotocol is not None:
        head += b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii") + b"\r\n"
    if offer.extension:
        head += b"Sec-WebSocket-Extensions: " + offer.extension.encode("ascii") + b"\r\n"
    return head + b"\r\n"
