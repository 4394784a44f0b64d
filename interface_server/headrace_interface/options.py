"""The options of `headrace-interface`, and what they mean as `InterfaceSettings`. Pure.

The parser is the one table of them: `sources` reads the same options from a file and from the environment.
Options are those of daphne 1.4.2 and 4.2.2 where it had one; a hyphen and an underscore in a name are the
same.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_network
from typing import Any, NoReturn
from urllib.parse import unquote

from headrace_asgi import __version__
from headrace_asgi.errors import ConfigurationError

from .access_log import COMMON, FORMATS
from .deadlines import OFF, Deadlines, rows
from .files.mounts import Mount, mount_from
from .http.grammar import TOKEN
from .settings import InterfaceSettings, Network

__all__ = [
    "ENVIRONMENT_PREFIX",
    "ONE_OF",
    "WITHOUT_MEANING",
    "OptionParser",
    "changed_limits",
    "make_parser",
    "normalised",
    "settings_from",
]

#: An option's name in the environment is this and its long name in capitals, with underscores.
ENVIRONMENT_PREFIX = "HEADRACE_INTERFACE_"

#: Attributes of options that answer one question: of several sources the strongest that says any decides.
ONE_OF = (
    frozenset(("layer", "channel_layer", "layer_config_fd")),
    frozenset(("access_log", "no_access_log")),
    frozenset(("server_name", "no_server_name")),
    frozenset(("http2", "no_http2")),
)

#: Options of daphne that are accepted and change nothing, with the reason. What they are given is not read.
WITHOUT_MEANING = {
    "--force-sync": "the interface server always speaks to its layer without blocking",
    "--application-close-timeout": "no code of yours runs in this process, and a worker's consumer is never "
    "cut off because its client left",
    "--request-buffer-size": "a body travels in the request's message up to 256 KiB, and beyond in parts",
}

#: Believed when `--proxy-headers` is given without networks: a proxy on the same machine.
_LOOPBACK = ("127.0.0.0/8", "::1/128")

_EPILOG = (
    "Seconds may be fractions; 0 or -1 switches a deadline off. Names of options may be written with "
    "underscores. Without -b, -p, -u, --fd or -e it listens on 127.0.0.1:8000. Each option may also stand in "
    f"the file of --config, by its long name, and in the environment, as {ENVIRONMENT_PREFIX}HTTP_TIMEOUT is "
    "--http-timeout; the command line counts before the environment, and that before the file."
)


class OptionParser(argparse.ArgumentParser):
    """Says what is wrong in one line; `--help` says the rest."""

    def __init__(self, **how: Any) -> None:
        #: The options of all groups: what a file and the environment may say, too.
        self.options: list[argparse.Action] = []
        self._repeatable: set[str] = set()
        super().__init__(**how)

    def add_argument_group(self, *args: Any, **how: Any) -> Any:
        """A group whose options are noted in `options`."""
        group = super().add_argument_group(*args, **how)
        add = group.add_argument

        def noted(*names: Any, **how: Any) -> argparse.Action:
            option: argparse.Action = add(*names, **how)
            self.options.append(option)
            if how.get("action") == "append":
                self._repeatable.add(option.dest)
            return option

        group.add_argument = noted  # type: ignore[method-assign]
        return group

    def takes_several(self, option: argparse.Action) -> bool:
        """Whether an option has a list of values."""
        return option.nargs == "*" or option.dest in self._repeatable

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message}; see --help")


def make_parser() -> OptionParser:
    """The parser, with a help text for everything. Raises ConfigurationError; SystemExit for --help."""
    parser = OptionParser(
        prog="headrace-interface",
        description="Serves HTTP and WebSocket clients; workers answer them through the channel layer.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"headrace {__version__}")
    _add_layer(parser)
    _add_listening(parser)
    _add_tls(parser)
    _add_behaviour(parser)
    _add_http2(parser)
    _add_files(parser)
    _add_logs(parser)
    _add_operation(parser)
    _add_proxies(parser)
    _add_deadlines(parser)
    _add_limits(parser)
    _add_without_meaning(parser)
    return parser


def _add_layer(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("channel layer (one of)")
    group.add_argument(
        "--layer",
        metavar="URL",
        help="redis://host:port/db, rediss://, redis+sentinel://, redis+cluster://, unix:///path, "
        "ipc://NAME, or module:attribute",
    )
    group.add_argument(
        "channel_layer", nargs="?", metavar="module:attribute", help="the same, as in daphne 1.x"
    )
    group.add_argument(
        "--layer-config-fd",
        type=int,
        metavar="N",
        help='read {"BACKEND": …, "CONFIG": …} as JSON from this inherited descriptor',
    )


def _add_listening(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("listening (all that are given)")
    group.add_argument("-b", "--bind", metavar="HOST", help="address to listen on (127.0.0.1)")
    group.add_argument("-p", "--port", type=_port, metavar="PORT", help="TCP port, 0 for a free one (8000)")
    group.add_argument("-u", "--unix-socket", metavar="PATH", help="unix socket to make and listen on")
    group.add_argument(
        "--fd", type=int, metavar="N", help="inherited descriptor of a listening socket; may be 0"
    )
    group.add_argument(
        "-e",
        "--endpoint",
        action="append",
        default=[],
        metavar="STRING",
        help="Twisted endpoint, such as ssl:443:privateKey=key.pem:certKey=cert.pem; may be repeated",
    )
    group.add_argument(
        "--ready-fd", type=int, metavar="N", help="write the addresses here when listening, then close"
    )


def _add_tls(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TLS")
    group.add_argument(
        "--certfile",
        action="append",
        default=[],
        metavar="FILE",
        help="speak TLS on the TCP port, with this certificate (PEM, with those of its issuers behind it); "
        "may be repeated: a client gets the one for the name that it asks for, or else the first",
    )
    group.add_argument(
        "--keyfile",
        action="append",
        default=[],
        metavar="FILE",
        help="the key of that certificate (PEM, without a passphrase), unless it is in the same file; as "
        "often as --certfile, and in the same order",
    )


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("behaviour")
    group.add_argument(
        "-s",
        "--server-name",
        default=InterfaceSettings().server_name.decode("ascii"),
        metavar="NAME",
        help="what the Server header of responses says (headrace)",
    )
    group.add_argument("--no-server-name", action="store_true", help="responses have no Server header")
    group.add_argument(
        "--root-path", default="", metavar="PATH", help="SCRIPT_NAME of the application, URL-encoded"
    )
    group.add_argument(
        "--ws-protocol",
        nargs="*",
        default=[],
        metavar="NAME",
        help="WebSocket subprotocols to choose from if the application does not",
    )
    group.add_argument(
        "--no-websocket-compression", action="store_true", help="never take up a client's permessage-deflate"
    )
    group.add_argument(
        "--stream-uploads",
        action="store_true",
        help="pass large request bodies on as they arrive, not when they are whole; slow ones hold workers",
    )
    group.add_argument(
        "--debug", action="store_true", help="tell clients why nobody answers them: for development only"
    )
    group.add_argument("--lifeline", action="store_true", help="end when stdin is closed: the parent is gone")


def _add_http2(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("HTTP/2")
    group.add_argument(
        "--http2",
        action="store_true",
        help="offer HTTP/2 to clients over TLS; so it is where h2 is installed (pip install headrace[http2])",
    )
    group.add_argument("--no-http2", action="store_true", help="offer clients HTTP/1.1 only")
    group.add_argument(
        "--http2-prior-knowledge",
        action="store_true",
        help="trusted proxies may speak HTTP/2 without TLS, from the first byte on",
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files that are sent from here")
    group.add_argument(
        "--static",
        action="append",
        default=[],
        metavar="PREFIX=DIR",
        help="answer what is below this path, such as /static/=/srv/static, with the files of this folder, "
        "without a worker; may be repeated, and the longest prefix counts",
    )
    group.add_argument(
        "--internal",
        action="append",
        default=[],
        metavar="PREFIX=DIR",
        help="send the files of this folder that a view names in X-Accel-Redirect, and that nobody can ask "
        "for; may be repeated",
    )
    group.add_argument(
        "--sendfile-root",
        metavar="DIR",
        help="send the files below this folder that a view names in X-Sendfile",
    )


def _add_logs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logs")
    group.add_argument(
        "-v", "--verbosity", type=int, choices=range(4), default=1, help="0 warnings to 3 everything (1)"
    )
    group.add_argument(
        "--log-fmt",
        type=_log_format,
        metavar="FORMAT",
        help="a line of the log, as Python's logging.Formatter writes it with %% (time, level, logger, text)",
    )
    group.add_argument(
        "--access-log",
        metavar="PATH",
        help="one line a request to a file, - is stdout (stdout from verbosity 1 on)",
    )
    group.add_argument(
        "--access-log-format",
        choices=list(FORMATS),
        default=COMMON,
        help="the common log format, or one JSON object on each line (common)",
    )
    group.add_argument("--no-access-log", action="store_true", help="no access log at all")


def _add_operation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("operation")
    group.add_argument("--config", metavar="FILE", help="a TOML file with options, by their long names")
    group.add_argument(
        "--check",
        action="store_true",
        help="say what would run, ask the layer, and exit with 0 or 1; listens on nothing",
    )
    group.add_argument(
        "--upgrade",
        type=int,
        metavar="PID",
        help="have a running interface server go on as the code and the options that are there now, with all "
        "that it has open, and exit with 0 or 1",
    )
    group.add_argument(
        "--admin",
        metavar="ADDRESS",
        help="answer /live, /ready, /startup and /state here, as host:port or the path of a unix socket",
    )


_HEADER_NAMES = (
    ("--proxy-headers-host", "header with the client's address (X-Forwarded-For)"),
    ("--proxy-headers-port", "header with the client's port (X-Forwarded-Port)"),
    (
        "--proxy-headers-root-path",
        "header with the root path, URL-encoded, such as Daphne-Root-Path (none); proxies must set it, "
        "or remove a client's",
    ),
)


def _add_proxies(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("proxies")
    group.add_argument(
        "--proxy-headers",
        action="store_true",
        help="believe X-Forwarded-For, -Port and -Proto of trusted proxies",
    )
    group.add_argument(
        "--forwarded",
        action="store_true",
        help="believe Forwarded (RFC 7239) of trusted proxies, and none of X-Forwarded-*",
    )
    for option, text in _HEADER_NAMES:
        group.add_argument(option, type=_header_name, metavar="NAME", help=text)
    group.add_argument(
        "--proxy-protocol",
        action="store_true",
        help="each connection begins with a header of the PROXY protocol, 1 or 2; only trusted proxies may "
        "connect",
    )
    group.add_argument(
        "--trusted-proxies",
        action="append",
        metavar="NETWORKS",
        help="their networks, separated by commas (this machine); may be repeated",
    )
    group.add_argument(
        "--no-trust-unix", action="store_true", help="do not take a unix socket's peer for a proxy"
    )


def _add_deadlines(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("deadlines")
    for name, default, row in rows():
        short = ["-t"] if row.option == "--http-timeout" else []
        shown = f"{default:g}"
        group.add_argument(
            *short,
            row.option,
            dest=f"deadline_{name}",
            type=_seconds,
            default=default,
            metavar="SECONDS",
            help=f"{row.help} ({shown})",
        )


_LIMITS = (
    ("--max-body-size", "max_body_bytes", "of a request body, 0 for no limit"),
    ("--max-bodies-memory", "max_bodies_memory_bytes", "of all waiting request bodies in memory"),
    ("--max-bodies-disk", "max_bodies_disk_bytes", "of all waiting request bodies in temporary files"),
    ("--max-head-size", "max_head_bytes", "of a request's headers"),
    ("--websocket-max-message-size", "max_websocket_message_bytes", "of a WebSocket message, 0 for no limit"),
    ("--websocket-max-frame-size", "max_websocket_frame_bytes", "of a WebSocket frame, 0 for no limit"),
    (
        "--websocket-rate-size",
        "max_websocket_bytes_per_second",
        "a second that one WebSocket may say in large messages, 0 for no limit",
    ),
    ("--max-pending-size", "max_pending_bytes", "that may wait for a client that reads slowly"),
    ("--websocket-share-size", "share_bytes", "of a WebSocket that may wait for workers, 0 for no limit"),
    (
        "--address-share-size",
        "address_share_bytes",
        "that all WebSockets of an address may have waiting, 0 for no limit",
    ),
    ("--process-share-size", "process_share_bytes", "that all WebSockets may have waiting, 0 for no limit"),
)

_COUNTS = (
    ("--max-websockets", "max_websockets", "WebSockets at the same time, 0 for no limit"),
    (
        "--websocket-share",
        "share_messages",
        "messages of a WebSocket that may wait for workers, 0 for no limit",
    ),
    (
        "--max-address-handshakes",
        "max_address_handshakes",
        "WebSockets of an address that may wait for workers, opening or left, 0 for no limit",
    ),
)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    defaults = InterfaceSettings()
    for option, name, text in _LIMITS:
        default: int = getattr(defaults, name)
        group.add_argument(
            option, dest=name, type=_size, default=default, metavar="BYTES", help=f"bytes {text} ({default})"
        )
    for option, name, text in _COUNTS:
        count: int = getattr(defaults, name)
        group.add_argument(
            option, dest=name, type=_size, default=count, metavar="N", help=f"{text} ({count})"
        )


def _add_without_meaning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of daphne, without a meaning here")
    for option, reason in WITHOUT_MEANING.items():
        how: dict[str, Any] = {"action": "store_true"} if option == "--force-sync" else {"metavar": "X"}
        group.add_argument(option, help=f"nothing: {reason}", **how)


def _log_format(text: str) -> str:
    """Raises ArgumentTypeError for what logging could not write a line with."""
    record = logging.LogRecord("headrace.interface", logging.INFO, "", 0, "", None, None)
    try:
        logging.Formatter(text).format(record)
    except (ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(
            f"a format as in '%(asctime)s %(levelname)s %(message)s', not {text!r} ({error})"
        ) from None
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _header_name(text: str) -> bytes:
    name = text.encode("ascii", "replace")
    if not TOKEN.fullmatch(name) or b"_" in name:
        raise argparse.ArgumentTypeError(f"the name of a header, without underscores, not {text!r}")
    return name.lower()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value in (0, -1):
        return OFF
    if not 0 < value < OFF:
        raise argparse.ArgumentTypeError(f"a number of seconds, or 0 or -1 for none, not {text!r}")
    return value


def _size(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number from 0, not {text!r}")
    return int(text)


def normalised(arguments: Sequence[str]) -> list[str]:
    """The arguments with hyphens in the names of long options, where underscores may stand."""
    changed: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--":
            return [*changed, *arguments[index:]]
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
        changed.append(name + equals + value)
    return changed


def settings_from(options: argparse.Namespace) -> InterfaceSettings:
    """What the options mean. Raises ConfigurationError."""
    given: dict[str, Any] = vars(options)
    deadlines = Deadlines(**{name: given[f"deadline_{name}"] for name, _, _ in rows()})
    sizes = {name: given[name] for _, name, _ in (*_LIMITS, *_COUNTS)}
    return InterfaceSettings(
        deadlines=deadlines,
        debug=options.debug,
        root_path=_root_path(options.root_path),
        server_name=b"" if options.no_server_name else _server_name(options.server_name),
        websocket_protocols=tuple(options.ws_protocol),
        websocket_compression=not options.no_websocket_compression,
        stream_uploads=options.stream_uploads,
        **_http2(options),
        **_proxies(options),
        static=_mounts("--static", options.static),
        internal=_mounts("--internal", options.internal),
        sendfile_root=options.sendfile_root,
        **sizes,
    )


def _http2(options: argparse.Namespace) -> dict[str, Any]:
    """Who may speak HTTP/2: needs a library that is an extra."""
    wanted = options.http2 or options.http2_prior_knowledge
    if options.no_http2 and wanted:
        raise ConfigurationError("--no-http2 excludes --http2 and --http2-prior-knowledge")
    installed = find_spec("h2") is not None
    if wanted and not installed:
        raise ConfigurationError("HTTP/2 needs the package h2; pip install headrace[http2]")
    return {
        "http2": installed and not options.no_http2,
        "http2_prior_knowledge": options.http2_prior_knowledge,
    }


def _proxies(options: argparse.Namespace) -> dict[str, Any]:
    """Whom to believe about clients, and what."""
    if options.proxy_headers and options.forwarded:
        raise ConfigurationError(
            "--proxy-headers and --forwarded exclude each other: which do your proxies set?"
        )
    believes = options.proxy_headers or options.forwarded
    asked = believes or options.proxy_protocol or options.http2_prior_knowledge
    if options.trusted_proxies and not asked:
        raise ConfigurationError(
            "--trusted-proxies says whom to believe; add --proxy-headers, --forwarded or --proxy-protocol "
            "to believe them"
        )
    host, port, root_path = (
        getattr(options, f"proxy_headers_{each}") for each in ("host", "port", "root_path")
    )
    if (host or port) and not options.proxy_headers:
        raise ConfigurationError(
            "--proxy-headers-host and -port name headers; add --proxy-headers to believe them"
        )
    if root_path and not believes:
        raise ConfigurationError(
            "--proxy-headers-root-path names a header; add --proxy-headers or --forwarded to believe it"
        )
    defaults = InterfaceSettings()
    return {
        "proxy_headers": believes,
        "forwarded": options.forwarded,
        "client_header": host or defaults.client_header,
        "port_header": port or defaults.port_header,
        "root_path_header": root_path or b"",
        "proxy_protocol": options.proxy_protocol,
        "trusted_proxies": _networks(options.trusted_proxies or _LOOPBACK),
        "trust_unix": not options.no_trust_unix,
    }


def changed_limits(settings: InterfaceSettings) -> list[str]:
    """The limits that are not as by default, by their options."""
    defaults = InterfaceSettings()
    return [
        f"{option} {getattr(settings, name)} (not {getattr(defaults, name)})"
        for option, name, _ in (*_LIMITS, *_COUNTS)
        if getattr(settings, name) != getattr(defaults, name)
    ]


def _root_path(text: str) -> str:
    """It is written URL-encoded, and messages hold it decoded."""
    path = unquote(text).rstrip("/")
    if path and not path.startswith("/"):
        raise ConfigurationError(f"--root-path must begin with a slash, not {text!r}")
    return path


def _mounts(option: str, texts: Sequence[str]) -> tuple[Mount, ...]:
    mounts = tuple(mount_from(option, text) for text in texts)
    prefixes = [mount.prefix for mount in mounts]
    for prefix in prefixes:
        if prefixes.count(prefix) > 1:
            raise ConfigurationError(f"{option}: {prefix} is given twice, and has one folder")
    return mounts


def _server_name(text: str) -> bytes:
    """It is a header's value (RFC 9110 5.5), and empty it is none."""
    if not (text.isascii() and text.isprintable() and text == text.strip()):
        raise ConfigurationError(f"--server-name must be printable ASCII, not {text!r}")
    return text.encode("ascii")


def _networks(texts: Sequence[str]) -> tuple[Network, ...]:
    found = []
    for text in ",".join(texts).split(","):
        if text.strip():
            try:
                found.append(ip_network(text.strip(), strict=False))
            except ValueError as error:
                raise ConfigurationError(f"--trusted-proxies: {error}") from None
    return tuple(found)
