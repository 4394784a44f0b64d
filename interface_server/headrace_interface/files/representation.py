"""What is sent of a file: its type, in which coding, and how long it may be kept. Pure."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Collection, Sequence

from ..http.grammar import OWS, listed

__all__ = ["CODINGS", "cache_control", "choose_coding", "content_type"]

#: Content codings (RFC 9110 8.4.1) of which a file may have a copy beside it, best first, with its ending.
CODINGS = {b"br": ".br", b"zstd": ".zst", b"gzip": ".gz"}

#: Where Python's table differs among versions, or has nothing.
_TYPES = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".zst": "application/zstd",
}
#: Of a file that was asked for by the name of its packed form: it is sent as it is.
_PACKED_TYPES = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
    "zstd": "application/zstd",
}
_UNKNOWN_TYPE = "application/octet-stream"

#: A name with a hash of its content, as Django's ManifestStaticFilesStorage makes it.
_HASHED = re.compile(r".+\.[0-9a-f]{12}\..+")
#: Seconds that a file may be kept whose name changes with its content: a year, as RFC 9111 has no "for ever".
_HASHED_SECONDS = 31_536_000
#: Seconds for all others: a page's files are asked for once, and a deploy is seen within a minute.
_OTHER_SECONDS = 60

#: RFC 9110 12.4.2: qvalue.
_WEIGHT = re.compile(rb"(?i)q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def _table() -> mimetypes.MimeTypes:
    """Python's own table without the machine's files, so that it is the same everywhere."""
    table = mimetypes.MimeTypes()
    for ending, name in _TYPES.items():
        table.add_type(name, ending)
    return table


_TABLE = _table()


def content_type(name: str) -> bytes:
    """The Content-Type of a file by its name; text is taken for UTF-8."""
    # As a path of its own: what looks like an address would be taken for one.
    kind, packed = _TABLE.guess_type("/" + name.rpartition("/")[2])
    if packed is not None:
        return _PACKED_TYPES.get(packed, _UNKNOWN_TYPE).encode("ascii")
    kind = kind or _UNKNOWN_TYPE
    return (f"{kind}; charset=utf-8" if kind.startswith("text/") else kind).encode("ascii")


def cache_control(name: str) -> bytes:
    """For how long anybody may keep a file of this name (RFC 9111 5.2.2, RFC 8246)."""
    if _HASHED.fullmatch(name.rpartition("/")[2]):
        return b"public, max-age=%d, immutable" % _HASHED_SECONDS
    return b"public, max-age=%d" % _OTHER_SECONDS


def choose_coding(values: Sequence[bytes], available: Collection[bytes]) -> bytes | None:
    """Which of these codings a client takes best, by its Accept-Encoding fields; None for the file itself.

    RFC 9110 12.5.3. A client that takes nothing at all gets the file itself.
    """
    weights = _weights(values)
    # One that is not named is taken, but whoever names another would rather have that.
    best, best_weight = None, weights.get(b"identity", 0.0)
    for coding in CODINGS:
        weight = weights.get(coding, weights.get(b"*", 0.0))
        better = weight > best_weight or (best is None and weight == best_weight)
        if coding in available and weight > 0 and better:
            best, best_weight = coding, weight
    return best


def _weights(values: Sequence[bytes]) -> dict[bytes, float]:
    weights: dict[bytes, float] = {}
    for element in listed(b",".join(values)):
        coding, semicolon, parameter = element.partition(b";")
        found = _WEIGHT.fullmatch(parameter.strip(OWS))
        weight = 1.0 if not semicolon else float(found[1]) if found else 0.0
        coding = coding.strip(OWS).lower()
        weights[b"gzip" if coding == b"x-gzip" else coding] = weight
    return weights
