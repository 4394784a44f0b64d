"""Whether a request's conditions hold for a file: RFC 9110 section 13. Pure.

The entity tag is made of the time of the last change, in nanoseconds, and of the size. A file system's clock
moves in steps of milliseconds, so a file may change once more without its tag: for a while the tag is weak.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from enum import Enum

from ..http.grammar import OWS, date
from ..http.head import RequestHead

__all__ = ["Validators", "Verdict", "preconditions", "range_holds", "validators_of"]

#: Seconds after a change in which another one may bear the same time: the resolution of Last-Modified.
_UNSURE_SECONDS = 1.0

#: RFC 9110 8.8.3: entity-tag = [ weak ] opaque-tag.
_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ONE_TAG = re.compile(_TAG)
_TAGS = re.compile(rb"[ \t,]*%b(?:[ \t]*,[ \t,]*%b)*[ \t,]*" % (_TAG, _TAG))


class Verdict(Enum):
    """What follows from the conditions."""

    GO_ON = "go on"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells two states of a file apart (RFC 9110 8.8); `modified` is in whole seconds since 1970."""

    tag: bytes
    modified: int
    #: Whether the date can be taken for a strong validator (RFC 9110 8.8.2.2).
    settled: bool

    @property
    def last_modified(self) -> bytes:
        """The value of Last-Modified."""
        return date(self.modified)


def validators_of(size: int, modified_ns: int, coding: bytes | None, now: float) -> Validators:
    """Of a file with this size in bytes and time of change; `now` is in seconds since 1970."""
    settled = modified_ns / 1e9 < now - _UNSURE_SECONDS
    tag = b'"%x-%x%b"' % (max(0, modified_ns), size, b"" if coding is None else b"-" + coding)
    # A date in the future must not be sent (RFC 9110 8.8.2.1).
    return Validators(tag if settled else b"W/" + tag, min(modified_ns // 10**9, int(now)), settled)


def preconditions(head: RequestHead, validators: Validators) -> Verdict:
    """The conditions of a GET or HEAD, in the order of RFC 9110 13.2.2."""
    if_match = head.header_values(b"if-match")
    if if_match:
        if not _matches(if_match, validators.tag, weak=False):
            return Verdict.FAILED
    else:
        since = _date(head.header_values(b"if-unmodified-since"))
        if since is not None and validators.modified > since:
            return Verdict.FAILED
    if_none_match = head.header_values(b"if-none-match")
    if if_none_match:
        known = _matches(if_none_match, validators.tag, weak=True)
    else:
        since = _date(head.header_values(b"if-modified-since"))
        known = since is not None and validators.modified <= since
    return Verdict.NOT_MODIFIED if known else Verdict.GO_ON


def range_holds(head: RequestHead, validators: Validators) -> bool:
    """Whether If-Range lets a part be sent (RFC 9110 13.1.5): only if the rest is of this state."""
    values = head.header_values(b"if-range")
    if not values:
        return True
    if len(values) > 1:
        return False
    if _ONE_TAG.fullmatch(values[0]):
        return _matches(values, validators.tag, weak=False)
    return validators.settled and _date(values) == validators.modified


def _matches(values: Sequence[bytes], tag: bytes, weak: bool) -> bool:
    """Whether a list of entity tags has this one, by the weak or strong comparison (RFC 9110 8.8.3.2)."""
    value = b",".join(values).strip(OWS)
    if value == b"*":
        return True
    if not _TAGS.fullmatch(value):
        return False
    named = _ONE_TAG.findall(value)
    if weak:
        return tag.removeprefix(b"W/") in [each.removeprefix(b"W/") for each in named]
    return not tag.startswith(b"W/") and tag in named


def _date(values: Sequence[bytes]) -> int | None:
    """Seconds since 1970 of a date; None if there is none or it is unusable, which is then ignored."""
    if len(values) != 1:
        return None
    parsed = parsedate_tz(values[0].decode("latin-1"))
    try:
        return None if parsed is None else mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None
