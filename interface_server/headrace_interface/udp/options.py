"""The options of the UDP server, and what they mean as `UdpSettings`. Pure."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from headrace_asgi import __version__
from headrace_asgi.errors import ConfigurationError

from ..options import ENVIRONMENT_PREFIX, OptionParser, normalised

__all__ = ["PROGRAM", "UdpAddress", "UdpOptions", "UdpSettings", "make_udp_parser", "options_from"]

PROGRAM = "python -m headrace_interface.udp"

#: Bytes of the largest payload that IPv4 carries (RFC 768, RFC 791): 65,535 without both headers.
_LARGEST_DATAGRAM = 65_507


@dataclass(frozen=True, slots=True)
class UdpAddress:
    """Where to listen, and the path that messages from there have."""

    host: str
    port: int
    path: str = "/"


@dataclass(frozen=True, slots=True)
class UdpSettings:
    """What the server was told. Sizes are in bytes."""

    listen: tuple[UdpAddress, ...] = field(default_factory=tuple)
    #: Larger datagrams are dropped. Those beyond 1,500 or so travel in fragments, of which each may be lost.
    max_datagram_bytes: int = 8192
    #: Datagrams a second of one address, or of one /64 of IPv6, which one client has all of. 0 is without a
    #: limit. Devices send some; a worker runs some hundred a second.
    address_rate: int = 100
    #: Datagrams a second of all: source addresses can be forged, so that a limit for each is none for all.
    rate: int = 5000
    #: Seconds after which a datagram that no worker has taken is of no use any more.
    queue_seconds: float = 30.0
    #: Seconds in which answers still leave after the server was told to end.
    linger_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class UdpOptions:
    """All that a command line says."""

    layer: str
    verbosity: int
    settings: UdpSettings


def make_udp_parser() -> OptionParser:
    """The parser, with a help text for everything. Raises ConfigurationError; SystemExit for --help."""
    parser = OptionParser(
        prog=PROGRAM,
        description="Serves UDP: a datagram is a message on udp.receive, and what a worker replies is one.",
        epilog=f"The layer may also stand in the environment, as {ENVIRONMENT_PREFIX}LAYER.",
        allow_abbrev=False,
    )
    defaults = UdpSettings()
    parser.add_argument("--version", action="version", version=f"headrace {__version__}")
    group = parser.add_argument_group("the UDP server")
    group.add_argument("--layer", metavar="URL", help="the channel layer, as for headrace-interface")
    group.add_argument(
        "--listen",
        action="append",
        default=[],
        type=_address,
        metavar="ADDRESS",
        help="host:port or host:port/path, such as 127.0.0.1:5140/log; messages have that path (/); may be "
        "repeated, and one is needed",
    )
    group.add_argument(
        "-v", "--verbosity", type=int, choices=range(4), default=1, help="0 warnings to 3 everything (1)"
    )
    for option, name, convert, metavar, text in _NUMBERS:
        default = getattr(defaults, name)
        group.add_argument(
            option,
            dest=name,
            type=convert,
            default=default,
            metavar=metavar,
            help=f"{text} ({default:g})",
        )
    return parser


def options_from(arguments: Sequence[str], environment: Mapping[str, str]) -> UdpOptions:
    """What a command line and the environment say. Raises ConfigurationError; SystemExit for --help."""
    given = make_udp_parser().parse_args(normalised(arguments))
    layer = given.layer or environment.get(f"{ENVIRONMENT_PREFIX}LAYER")
    if not layer:
        raise ConfigurationError("give the channel layer: --layer redis://127.0.0.1:6379")
    if not given.listen:
        raise ConfigurationError("say where to listen: --listen 127.0.0.1:5140")
    numbers: dict[str, Any] = {name: getattr(given, name) for _, name, *_ in _NUMBERS}
    return UdpOptions(layer, given.verbosity, UdpSettings(listen=tuple(given.listen), **numbers))


def _address(text: str) -> UdpAddress:
    where, slash, path = text.partition("/")
    host, colon, port = where.rpartition(":")
    is_bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or not port.isdecimal() or int(port) > 65535 or is_bare_ipv6:
        raise argparse.ArgumentTypeError(f"an address is as 127.0.0.1:5140 or [::1]:5140/log, not {text!r}")
    host = host.strip("[]") or "127.0.0.1"
    try:
        ip_address(host)
    except ValueError:
        raise argparse.ArgumentTypeError(f"listen on an address of this machine, not on {host!r}") from None
    return UdpAddress(host, int(port), slash + path or "/")


def _number(least: int, most: int, text: str) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"a number from {least} to {most}, not {text!r}")
    return int(text)


def _bytes(text: str) -> int:
    return _number(1, _LARGEST_DATAGRAM, text)


def _rate(text: str) -> int:
    return _number(0, 1_000_000, text)


def _overall_rate(text: str) -> int:
    return _number(1, 1_000_000, text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0, not {text!r}")
    return value


#: Option, field of `UdpSettings`, what reads it, how its value is called, what it is.
_NUMBERS = (
    (
        "--max-datagram-size",
        "max_datagram_bytes",
        _bytes,
        "BYTES",
        f"bytes of a datagram, up to {_LARGEST_DATAGRAM}; larger ones are dropped",
    ),
    (
        "--address-rate",
        "address_rate",
        _rate,
        "N",
        "datagrams a second of one address, of IPv6 of one /64, 0 for no limit; more are dropped",
    ),
    ("--rate", "rate", _overall_rate, "N", "datagrams a second of all addresses; more are dropped"),
    (
        "--queue-timeout",
        "queue_seconds",
        _seconds,
        "SECONDS",
        "drop a datagram that no worker has taken within this time",
    ),
    (
        "--linger",
        "linger_seconds",
        _seconds,
        "SECONDS",
        "let answers leave for so long when the server is to end",
    ),
)
