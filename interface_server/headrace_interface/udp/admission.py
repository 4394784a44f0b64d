"""Which datagrams are let in. Pure.

Seconds are counted one by one: what was let in within this one is known for each address, and forgotten with
it. So forged addresses cost memory for a second only, and no more than as many entries as datagrams may come.
"""

from __future__ import annotations

import socket
from enum import StrEnum

from .options import UdpSettings

__all__ = ["Admission", "DropReason", "plain_host"]

#: How an IPv6 socket writes the address of an IPv4 client (RFC 4291 2.5.5.2).
_MAPPED = "::ffff:"
#: Bytes of an IPv6 address that are the network's: one client may choose all others (RFC 4291 2.5.4).
_NETWORK_BYTES = 8


class DropReason(StrEnum):
    """Why a datagram is dropped: the name of its counter."""

    TOO_LARGE = "too_large"
    ADDRESS_RATE = "address_rate"
    RATE = "rate"


def plain_host(host: str) -> str:
    """An address without the mapping of IPv4 into IPv6."""
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


class Admission:
    """Lets datagrams in, up to a size and so many a second, of one address and of all."""

    def __init__(self, settings: UdpSettings) -> None:
        self._settings = settings
        self._second = -1
        self._let_in = 0
        self._by_address: dict[str | bytes, int] = {}

    def refusal(self, host: str, size_bytes: int, now: float) -> DropReason | None:
        """Why a datagram of `host`, as `plain_host` writes it, is dropped; None if it is let in."""
        settings = self._settings
        if size_bytes > settings.max_datagram_bytes:
            return DropReason.TOO_LARGE
        if int(now) != self._second:
            self._second, self._let_in = int(now), 0
            self._by_address.clear()
        address = socket.inet_pton(socket.AF_INET6, host)[:_NETWORK_BYTES] if ":" in host else host
        count = self._by_address.get(address, 0)
        # First, so that one address cannot use up what is for all.
        if settings.address_rate and count >= settings.address_rate:
            return DropReason.ADDRESS_RATE
        if self._let_in >= settings.rate:
            return DropReason.RATE
        self._let_in += 1
        self._by_address[address] = count + 1
        return None
