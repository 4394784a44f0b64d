"""The close codes of WebSockets (RFC 6455 section 7.4) that are used here, and which of all may be sent."""

from __future__ import annotations

__all__ = [
    "ABNORMAL",
    "INVALID_DATA",
    "NORMAL",
    "NO_CODE",
    "POLICY_VIOLATION",
    "SENDABLE",
    "SERVER_ERROR",
    "SERVICE_RESTART",
    "TRY_AGAIN_LATER",
    "UNSUPPORTED_DATA",
    "may_be_sent",
]

NORMAL = 1000
#: A kind of data that the receiver does not understand.
UNSUPPORTED_DATA = 1003
#: Stands for a close frame without a code; never sent.
NO_CODE = 1005
#: Stands for a connection that ended without a close frame; never sent.
ABNORMAL = 1006
#: The data contradicts its kind: text that is not UTF-8, or not what was agreed on.
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
SERVER_ERROR = 1011
#: The client may connect again at once.
SERVICE_RESTART = 1012
#: The client should wait before it connects again.
TRY_AGAIN_LATER = 1013

#: The codes that may be sent, for texts of errors.
SENDABLE = "1000-1003, 1007-1014 or 3000-4999"


def may_be_sent(code: int) -> bool:
    """Whether a close frame may carry this code: 1004 to 1006 and 1015 must not, the rest is unassigned."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
