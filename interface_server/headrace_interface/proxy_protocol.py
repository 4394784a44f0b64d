"""The header of the PROXY protocol, versions 1 and 2: what a proxy says about a connection before its bytes.

Pure. Source: "The PROXY protocol", versions 1 & 2, by Willy Tarreau, sections 2.1 and 2.2. Nothing that is
not exactly as it says is taken: what follows a header that was misread would be read as a request.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from headrace_asgi.errors import PeerError

__all__ = ["MOST_BYTES", "BadHeader", "Introduced", "ProxyHeader", "introduced", "read"]

#: Bytes of a whole header of version 2: addresses of unix sockets are 216 of them, the rest is for fields
#: that are skipped (TLV), which may hold the name and the certificate of a TLS client.
MOST_BYTES = 4096

_V1 = b"PROXY "
#: Section 2.1: the longest line of version 1, its end included.
_V1_MOST_BYTES = 107
_V1_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_MOST_PORT = 65535

_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
#: Section 2.2: signature, version and command, family and protocol, bytes that follow.
_V2_START = struct.Struct("!12sBBH")
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
#: Families and protocols that name no TCP client (unknown, datagrams, unix sockets), and bytes of addresses.
_V2_NO_CLIENT = {0x00: 0, 0x12: 12, 0x22: 36, 0x31: 216, 0x32: 216}
_V2_IPV4 = struct.Struct("!4s4sHH")
_V2_IPV6 = struct.Struct("!16s16sHH")


class BadHeader(PeerError):
    """What a connection began with is no header; the text says why not, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Introduced:
    """An address that a proxy said, where Twisted's are otherwise.

    Where the proxy does not know who its client is, these are its own, and not `is_known`.
    """

    host: str | None
    port: int
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says. Without addresses, and not `is_local`, the proxy does not know its client."""

    size_bytes: int
    #: The proxy speaks for itself: it looks whether we are there.
    is_local: bool = False
    source: Introduced | None = None
    destination: Introduced | None = None


def read(received: bytes) -> ProxyHeader | None:
    """The header that a connection began with; None while it is not whole. Raises BadHeader."""
    if received[: len(_V2)] == _V2[: len(received)]:
        return _read_v2(received) if len(received) >= _V2_START.size else None
    if received[: len(_V1)] == _V1[: len(received)]:
        return _read_v1(received)
    raise BadHeader("it does not begin with one")


def introduced(header: ProxyHeader, peer: Any, host: Any) -> tuple[Any, Any]:
    """The two addresses of a connection after its header; `peer` and `host` are Twisted's, of the socket."""
    if header.is_local:
        return peer, host
    if header.source is None or header.destination is None:
        return Introduced(getattr(peer, "host", None), getattr(peer, "port", 0), is_known=False), host
    return header.source, header.destination


def _read_v1(received: bytes) -> ProxyHeader | None:
    end = received.find(b"\r\n", 0, _V1_MOST_BYTES)
    if end < 0:
        if len(received) >= _V1_MOST_BYTES:
            raise BadHeader(f"its line is longer than {_V1_MOST_BYTES} bytes")
        return None
    _, family, *rest = received[:end].split(b" ")
    size = end + 2
    if family == b"UNKNOWN":
        return ProxyHeader(size)
    if family not in (b"TCP4", b"TCP6") or len(rest) != 4:
        raise BadHeader("its line is not understood")
    kind = IPv4Address if family == b"TCP4" else IPv6Address
    source, destination, source_port, destination_port = rest
    return ProxyHeader(
        size,
        source=_text_address(kind, source, source_port),
        destination=_text_address(kind, destination, destination_port),
    )


def _text_address(kind: type[IPv4Address] | type[IPv6Address], host: bytes, port: bytes) -> Introduced:
    if not _V1_PORT.fullmatch(port) or int(port) > _MOST_PORT:
        raise BadHeader("one of its ports is none")
    try:
        text = host.decode("ascii")
        if "%" in text:
            raise ValueError("an interface of the proxy means nothing here")
        return _plain(kind(text), int(port))
    except ValueError:
        raise BadHeader("one of its addresses is none") from None


def _read_v2(received: bytes) -> ProxyHeader | None:
    _, command, family, length = _V2_START.unpack_from(received)
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise BadHeader("its version or command is not known")
    size = _V2_START.size + length
    if size > MOST_BYTES:
        raise BadHeader(f"it is longer than {MOST_BYTES} bytes")
    addresses = {_TCP4: _V2_IPV4.size, _TCP6: _V2_IPV6.size, **_V2_NO_CLIENT}.get(family)
    if command == _V2_PROXY and (addresses is None or length < addresses):
        raise BadHeader("its addresses are not understood")
    if len(received) < size:
        return None
    if command == _V2_LOCAL:
        return ProxyHeader(size, is_local=True)
    if family not in (_TCP4, _TCP6):
        return ProxyHeader(size)
    ends = _V2_IPV4 if family == _TCP4 else _V2_IPV6
    source, destination, source_port, destination_port = ends.unpack_from(received, _V2_START.size)
    return ProxyHeader(
        size,
        source=_plain(ip_address(source), source_port),
        destination=_plain(ip_address(destination), destination_port),
    )


def _plain(address: IPv4Address | IPv6Address, port: int) -> Introduced:
    """IPv4 that was written as IPv6 is IPv4, as in `forwarded`: a client has one address for the limits."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return Introduced(str(mapped or address), port)
