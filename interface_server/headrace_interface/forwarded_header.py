"""`Forwarded` (RFC 7239): what each proxy says about who connected to it, read from the right.

Pure and strict (section 4). A proxy appends its element to what its client wrote, which may be anything: an
open quoted string, too. So elements are found from the right, where ours stand; the first that is malformed
is the end. Within what is well-formed a comma in a quoted string never begins an element: what stands behind
it has an odd number of quotation marks, or a backslash outside of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from .http.grammar import OWS, TOKEN_BYTES

__all__ = ["Hop", "hops"]

#: Bytes of an element. One with names and ports of both sides is under 200; a longer one was not written by a
#: proxy, and looking for its beginning costs the square of it.
_MOST_ELEMENT_BYTES = 1024

_TOKEN = b"[%b]+" % re.escape(TOKEN_BYTES)
#: RFC 9110 5.6.4: quoted-string, with quoted-pair.
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_PAIR = re.compile(rb"(%b)=(%b|%b)" % (_TOKEN, _TOKEN, _QUOTED))
_ELEMENT = re.compile(rb"%b(?:;%b)*" % (_PAIR.pattern, _PAIR.pattern))
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
#: Section 6: node, without "unknown" and obfuscated names, which are no addresses. A port may be obfuscated.
_NODE = re.compile(rb"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\])(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?")
_MOST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says: who connected to it, if it says an address, and how. `port` is 0 if not said."""

    address: IPv4Address | IPv6Address | None
    port: int = 0
    scheme: str = ""


def hops(values: Sequence[bytes]) -> Iterator[Hop]:
    """The elements of all `Forwarded` headers of a request, from the last one to one that is malformed."""
    for value in reversed(values):
        end = len(value)
        while end >= 0:
            end, element = _last_element(value, end)
            said = None if element is None else _pairs(element)
            if said is None:
                return
            yield _hop(said)


def _last_element(value: bytes, end: int) -> tuple[int, bytes | None]:
    """The element that ends at `end`, and where the comma before it stands; -1 is before the first one."""
    comma = end
    while comma >= 0 and end - comma <= _MOST_ELEMENT_BYTES:
        comma = value.rfind(b",", 0, comma)
        element = value[comma + 1 : end].strip(OWS)
        if len(element) <= _MOST_ELEMENT_BYTES and _ELEMENT.fullmatch(element):
            return comma, element
    return -1, None


def _pairs(element: bytes) -> dict[bytes, bytes] | None:
    """The parameters, by lower-case name; None if one is there twice (section 4)."""
    found: dict[bytes, bytes] = {}
    for name, value in _PAIR.findall(element):
        if name.lower() in found:
            return None
        found[name.lower()] = _ESCAPED.sub(rb"\1", value[1:-1]) if value[:1] == b'"' else value
    return found


def _hop(said: dict[bytes, bytes]) -> Hop:
    scheme = said.get(b"proto", b"").lower()
    address, port = _node(said.get(b"for", b""))
    return Hop(address, port, scheme.decode() if scheme in (b"http", b"https") else "")


def _node(text: bytes) -> tuple[IPv4Address | IPv6Address | None, int]:
    found = _NODE.fullmatch(text)
    if found is None:
        return None, 0
    port = int(found[3] or 0)
    try:
        address = IPv4Address(found[1].decode()) if found[1] else IPv6Address(found[2].decode())
    except ValueError:
        return None, 0
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, port if port <= _MOST_PORT else 0
