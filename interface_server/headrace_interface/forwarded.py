"""`X-Forwarded-For`, `-Port` and `-Proto`, believed only from networks configured as proxies.

Pure. Each proxy appends the address it saw, so the list is read from the right: the first address that is not
a trusted proxy is the client. What stands left of it was written by the client itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from .http.grammar import listed, number
from .http.head import Endpoints, RequestHead
from .settings import InterfaceSettings, Network

__all__ = ["apply", "endpoints_of", "is_trusted"]


def endpoints_of(peer: Any, host: Any, secure: bool, settings: InterfaceSettings) -> Endpoints:
    """What is known of a connection before its first request, from its two Twisted addresses."""
    client, server = _internet(peer), _internet(host)
    trusted = settings.proxy_headers and (
        settings.trust_unix if client is None else is_trusted(client[0], settings.trusted_proxies)
    )
    return Endpoints("https" if secure else "http", client, server, settings.root_path, trusted)


def _internet(address: Any) -> list[Any] | None:
    """`[host, port]` of an internet address; None for a unix socket."""
    host = getattr(address, "host", None)
    return None if host is None else [host, address.port]


def is_trusted(host: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; a text that is no address does not."""
    address = _address(host)
    return address is not None and any(
        address in network for network in networks if network.version == address.version
    )


def apply(head: RequestHead, networks: Sequence[Network]) -> None:
    """Put what the trusted peer says about its client into `head`. What cannot be understood is ignored."""
    hosts = [part for value in head.header_values(b"x-forwarded-for") for part in _parts(value)]
    client = _first_untrusted(reversed(hosts), networks)
    if client is not None:
        port = number(head.header(b"x-forwarded-port") or b"")
        head.client = [client, port if port is not None and port < 65536 else 0]
    protocol = [part for value in head.header_values(b"x-forwarded-proto") for part in _parts(value)]
    if protocol and protocol[-1].lower() in ("http", "https"):
        head.scheme = protocol[-1].lower()


def _first_untrusted(hosts: Iterable[str], networks: Sequence[Network]) -> str | None:
    found = None
    for host in hosts:
        address = _address(host)
        if address is None:
            # Whoever wrote this is no proxy of ours; what is left of it is worth nothing.
            return found
        found = str(address)
        if not is_trusted(found, networks):
            return found
    return found


def _parts(value: bytes) -> list[str]:
    return [part.decode("latin-1") for part in listed(value)]


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """An address as text, with the brackets and port that some proxies add."""
    text = host.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
