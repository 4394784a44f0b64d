"""Why there is no connection to a Redis, and what to do about it: the same words for both executors. Pure."""

from __future__ import annotations

import errno
import socket
import ssl
from enum import Enum, auto
from typing import NamedTuple

from headrace_asgi.errors import LayerRefused, LayerUnavailable

from ..address import ServerAddress

__all__ = ["SETTING", "Fault", "connect_error", "fault_of", "fault_of_errno", "fault_of_tls"]

#: Where people say which Redis is meant.
SETTING = "hosts or --layer"


class Fault(Enum):
    """What went wrong before Redis said its first word."""

    UNKNOWN_NAME = auto()
    NOBODY = auto()
    NO_WAY = auto()
    NO_SOCKET = auto()
    NO_ACCESS = auto()
    SILENT = auto()
    CLOSED = auto()
    NO_REDIS = auto()
    NO_TLS = auto()
    UNTRUSTED = auto()
    OTHER_NAME = auto()
    UNPROVEN = auto()
    CERTIFICATES = auto()
    OTHER = auto()


class _Words(NamedTuple):
    """What is the case, and what to do. `refused` says that waiting does not help."""

    case: str
    remedy: str
    refused: bool = False


_WORDS = {
    Fault.UNKNOWN_NAME: _Words("no host has the name {host!r}", "correct it in " + SETTING),
    Fault.NOBODY: _Words("nobody listens there", "start it, or correct where it is in " + SETTING),
    Fault.NO_WAY: _Words(
        "nothing answers there", "correct host and port in " + SETTING + ", or see to network and firewall"
    ),
    Fault.NO_SOCKET: _Words("there is no such socket", "start it, or correct the path in " + SETTING),
    Fault.NO_ACCESS: _Words(
        "this user may not use the socket", "see unixsocketperm in Redis, and the groups of this user"
    ),
    Fault.SILENT: _Words(
        "it takes connections and says nothing",
        "it hangs, or something else listens there: then correct host and port in " + SETTING,
    ),
    Fault.CLOSED: _Words(
        "it closed the connection without a word",
        "a port that wants TLS does that: then write rediss:// in " + SETTING,
    ),
    Fault.NO_REDIS: _Words(
        "what answers there does not speak the Redis protocol",
        "correct host and port in " + SETTING + ", or write rediss:// if that port wants TLS",
    ),
    Fault.NO_TLS: _Words(
        "what answers there does not speak TLS",
        "write redis:// in " + SETTING + ", or correct host and port (tls-port in Redis)",
    ),
    Fault.UNTRUSTED: _Words(
        "its certificate cannot be trusted, as it is out of date or signed by nobody who is known here",
        "renew it, or set ssl_ca_certs to the file of the authority that signed it",
        refused=True,
    ),
    Fault.OTHER_NAME: _Words(
        "its certificate is not for the name {host!r}",
        "write the name that it is for in " + SETTING + ", or set ssl_check_hostname to False",
        refused=True,
    ),
    Fault.UNPROVEN: _Words(
        "it wants a certificate of ours that it trusts",
        "set ssl_certfile and ssl_keyfile, or tls-auth-clients in Redis",
        refused=True,
    ),
    Fault.CERTIFICATES: _Words(
        "the certificates for TLS cannot be used",
        "see ssl_ca_certs, ssl_certfile and ssl_keyfile",
        refused=True,
    ),
}
#: Where people cannot say where it is, as a sentinel did.
_WORDS_FOUND = {
    fault: _Words(_WORDS[fault].case, "its Sentinels are asked again until they name another")
    for fault in (Fault.NOBODY, Fault.NO_WAY, Fault.SILENT)
}
_WORDS_BUCKET = {
    fault: _Words(
        _WORDS[fault].case, "the other nodes of its Cluster are asked again until its replica has its slots"
    )
    for fault in (Fault.NOBODY, Fault.NO_WAY, Fault.SILENT)
}
#: With TLS these look different: the peer did not even say that it speaks it.
_WORDS_TLS = {
    Fault.SILENT: _Words(
        "it takes connections and says nothing",
        "it hangs, or that port does not speak TLS: then write redis:// in " + SETTING,
    ),
    Fault.CLOSED: _Words(
        "it closed the connection without a word",
        "a port without TLS does that: then write redis:// in "
        + SETTING
        + "; or one that wants a certificate of ours: then set ssl_certfile and ssl_keyfile",
    ),
}
_ERRNO = {
    errno.ECONNREFUSED: Fault.NOBODY,
    errno.ETIMEDOUT: Fault.NO_WAY,
    errno.EHOSTUNREACH: Fault.NO_WAY,
    errno.ENETUNREACH: Fault.NO_WAY,
    errno.ENOENT: Fault.NO_SOCKET,
    errno.ENOTSOCK: Fault.NO_SOCKET,
    errno.EACCES: Fault.NO_ACCESS,
    errno.ECONNRESET: Fault.CLOSED,
    errno.EPIPE: Fault.CLOSED,
}
#: Pieces of OpenSSL's sentences, the first that is found counts.
_TLS = {
    "mismatch": Fault.OTHER_NAME,
    "certificate verify failed": Fault.UNTRUSTED,
    "alert certificate": Fault.UNPROVEN,
    "alert bad certificate": Fault.UNPROVEN,
    "alert unknown ca": Fault.UNPROVEN,
    "certificate required": Fault.UNPROVEN,
    "eof": Fault.CLOSED,
    "wrong version number": Fault.NO_TLS,
    "packet length too long": Fault.NO_TLS,
    "record layer failure": Fault.NO_TLS,
}


def connect_error(address: ServerAddress, fault: Fault, said: str = "") -> LayerUnavailable:
    """The error for a connection that was not made; LayerRefused where only somebody can mend it.

    `said` is what a library says of it, told where our words say less.
    """
    found = (_WORDS_FOUND if address.primary_of else _WORDS_BUCKET if address.bucket else {}).get(fault)
    words = found or (_WORDS_TLS if address.tls else {}).get(fault) or _WORDS.get(fault)
    where = f"there is no connection to {address.kind} at {address.label}"
    if words is None:
        return LayerUnavailable(f"{where}: {said}")
    case = words.case.format(host=address.host) + (f" ({said})" if fault is Fault.CERTIFICATES else "")
    kind = LayerRefused if words.refused else LayerUnavailable
    return kind(f"{where}: {case}; {words.remedy}")


def fault_of(error: OSError) -> Fault:
    """What an error of a socket of the standard library means."""
    if isinstance(error, socket.gaierror):
        return Fault.UNKNOWN_NAME
    if isinstance(error, ssl.SSLError):
        return fault_of_tls(str(error))
    if isinstance(error, TimeoutError) and error.errno is None:
        return Fault.SILENT if "handshake" in str(error) else Fault.NO_WAY
    return fault_of_errno(error.errno)


def fault_of_errno(number: int | None) -> Fault:
    """What an error of the system means."""
    return _ERRNO.get(number or 0, Fault.OTHER)


def fault_of_tls(said: str) -> Fault:
    """What OpenSSL means by a sentence."""
    plain = said.lower()
    return next((fault for piece, fault in _TLS.items() if piece in plain), Fault.OTHER)
