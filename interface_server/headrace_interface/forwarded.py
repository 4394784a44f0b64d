"""What proxies say about their clients, believed only from networks configured as proxies.

Pure. `X-Forwarded-For`, `-Port` and `-Proto`, or instead `Forwarded` (RFC 7239): the operator chose one, the
other is nothing. Each proxy appends the address it saw, so the list is read from the right: the first address
that is not a trusted proxy is the client. What stands left of it was written by the client itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import unquote_to_bytes

from .forwarded_header import hops
from .http.grammar import listed, number
from .http.head import Endpoints, RequestHead
from .proxy_protocol import Introduced
from .settings import InterfaceSettings, Network

__all__ = ["apply", "endpoints_of", "is_proxy", "is_trusted"]


def endpoints_of(peer: Any, host: Any, secure: bool, settings: InterfaceSettings) -> Endpoints:
    """What is known of a connection before its first request, from its two addresses.

    They are Twisted's, or `Introduced` by a proxy.
    """
    client, server = _internet(peer), _internet(host)
    trusted = settings.proxy_headers and is_proxy(peer, settings)
    return Endpoints("https" if secure else "http", client, server, settings.root_path, trusted)


def is_proxy(peer: Any, settings: InterfaceSettings) -> bool:
    """Whether a connection's peer is believed about others: by its network, or as a unix socket's."""
    if isinstance(peer, Introduced) and not peer.is_known:
        return False
    client = _internet(peer)
    return settings.trust_unix if client is None else is_trusted(client[0], settings.trusted_proxies)


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


def apply(head: RequestHead, settings: InterfaceSettings) -> None:
    """Put what the trusted peer says about its client into `head`. What cannot be understood is ignored."""
    if settings.forwarded:
        _apply_forwarded(head, settings.trusted_proxies)
    else:
        _apply_x_forwarded(head, settings)
    if settings.root_path_header:
        path = _root_path(head.header_values(settings.root_path_header))
        if path is not None:
            head.root_path = path


def _apply_forwarded(head: RequestHead, networks: Sequence[Network]) -> None:
    """Each element that is read was written by a trusted proxy; the last read has the client's own words."""
    for hop in hops(head.header_values(b"forwarded")):
        head.scheme = hop.scheme or head.scheme
        if hop.address is None:
            return
        head.client = [str(hop.address), hop.port]
        if not is_trusted(head.client[0], networks):
            return


def _apply_x_forwarded(head: RequestHead, settings: InterfaceSettings) -> None:
    hosts = [part for value in head.header_values(settings.client_header) for part in _parts(value)]
    client = _first_untrusted(reversed(hosts), settings.trusted_proxies)
    if client is not None:
        port = number(head.header(settings.port_header) or b"")
        head.client = [client, port if port is not None and port < 65536 else 0]
    protocol = [part for value in head.header_values(b"x-forwarded-proto") for part in _parts(value)]
    if protocol and protocol[-1].lower() in ("http", "https"):
        head.scheme = protocol[-1].lower()


def _root_path(values: Sequence[bytes]) -> str | None:
    """What the one header says, URL-encoded as `--root-path`; None if there is none or it is no path."""
    if len(values) != 1:
        return None
    try:
        path = unquote_to_bytes(values[0]).decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Links that begin with two slashes lead to another host.
    is_path = path.startswith("/") and not path.startswith("//") and path.isprintable()
    return path.rstrip("/") if is_path else None


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
