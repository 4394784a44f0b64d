"""The grammar of HTTP, each rule under its section. Pure.

RFC 9110 is the semantics, RFC 9112 HTTP/1.1, RFC 3986 addresses. Where a rule is stricter than its section it
says why.
"""

from __future__ import annotations

import re
from email.utils import formatdate

__all__ = [
    "ABSOLUTE_FORM",
    "FIELD_VALUE_BYTES",
    "HOST",
    "NOT_IN_TARGET",
    "OWS",
    "SAFE_VALUE_BYTES",
    "TOKEN",
    "TOKEN_BYTES",
    "UTF8_VALUE",
    "date",
    "listed",
    "number",
]

#: RFC 9110 5.6.2, the bytes of a token: tchar = "!" / "#" / "$" / … / DIGIT / ALPHA.
TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: RFC 9110 5.6.2: token = 1*tchar.
TOKEN = re.compile(b"[%b]+" % re.escape(TOKEN_BYTES))

#: RFC 9110 5.5, the bytes of a field value: HTAB, SP, visible ASCII and obs-text.
FIELD_VALUE_BYTES = bytes(sorted({9, *range(32, 256)} - {127}))
#: The same of a client's field: 0x85 is a line break to some parsers behind us (CVE-2026-44546).
SAFE_VALUE_BYTES = FIELD_VALUE_BYTES.replace(b"\x85", b"")
#: The same of a field that is written as UTF-8, without the characters that some parsers take for the end of
#: a line.
UTF8_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*")

#: RFC 9112 3.2: a request target has visible ASCII only, and no fragment.
NOT_IN_TARGET = re.compile(rb"[^\x21-\x7e]|#")
#: RFC 9112 3.2.2: absolute-form, of the schemes that are spoken here. Groups: authority, the rest.
ABSOLUTE_FORM = re.compile(rb"(?i)https?://([^/?]+)(.*)")
#: RFC 9110 7.2 Host = uri-host [ ":" port ], by RFC 3986 3.2.2 and 3.2.3; no user info.
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")

#: RFC 9110 5.6.3, what may stand around a value and around the elements of a list: OWS = *( SP / HTAB ).
OWS = b" \t"
#: Digits that fit into the 64 bits of whoever reads the number behind us.
_MOST_DIGITS = 18


def listed(value: bytes) -> list[bytes]:
    """The elements of a list (RFC 9110 5.6.1), empty ones included."""
    return [element.strip(OWS) for element in value.split(b",")]


def number(value: bytes) -> int | None:
    """The number that 1*DIGIT says, as in Content-Length (RFC 9110 8.6); None if it is none or is absurd."""
    return int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else None


def date(seconds: float) -> bytes:
    """A moment, in seconds since 1970, as IMF-fixdate (RFC 9110 5.6.7)."""
    return formatdate(seconds, usegmt=True).encode("ascii")
