"""`headrace-interface`: reads its options, opens what it names, runs the server.

What cannot work is one line on stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from headrace_asgi.contract import ChannelLayer
from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.from_config import layer_from_config, layer_from_url

from .access_log import AccessLog, Sink
from .files.mounts import ensure_folders
from .options import ENVIRONMENT_PREFIX, make_parser, settings_from
from .sources import Given, gather
from .upgrade.image import Images, ask_to_upgrade, is_rehearsal, taken_over

if TYPE_CHECKING:
    from .settings import InterfaceSettings
    from .tls.renewal import Renewal

__all__ = ["main"]

MakeEndpoint = Callable[[Any], tuple[str, Any]]
MakeEndpoints = Callable[[Any], Sequence[tuple[str, Any]]]

logger = logging.getLogger("headrace.interface")

#: What the next image of this process is told besides what is open.
_LAYER_CONFIG = "layer_config"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until a signal ends it; the exit status."""
    try:
        given = gather(make_parser(), sys.argv[1:] if arguments is None else arguments, os.environ)
        if given.options.upgrade is None:
            return _run(given)
        ask_to_upgrade(given.options.upgrade)
        return 0
    except ConfigurationError as error:
        print(f"headrace-interface: {_one_line(error)}", file=sys.stderr)  # noqa: T201 (the one line)
        return 1


def _run(given: Given) -> int:
    options = given.options
    try:
        from . import log
        from .server import run
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the package {error.name} is not installed; pip install headrace[interface]"
        ) from error

    if options.lifeline and options.fd == 0:
        raise ConfigurationError("--lifeline watches stdin, so --fd must not be 0 with it")
    settings = settings_from(options)
    ensure_folders(settings.folders)
    log.configure(options.verbosity, line=options.log_fmt)
    _warn(given)
    handed_over = taken_over(os.environ)
    renewal = _read_certificates(options)
    endpoints, admin = _listening(options, renewal)
    if is_rehearsal(os.environ):
        return _tried(endpoints)
    config = _layer_config(options, handed_over)
    layer = _open_layer(options, config)
    if options.check:
        return _checked(layer, settings, endpoints, admin, renewal)
    layer.ensure_usable()
    return run(
        layer,
        settings,
        endpoints,
        partial(_open_access_log, options),
        admin=admin,
        ready_fd=options.ready_fd if handed_over is None else None,
        lifeline=options.lifeline,
        images=Images(handed_over, {_LAYER_CONFIG: config}),
        renewal=renewal,
    )


def _read_certificates(options: argparse.Namespace) -> Renewal | None:
    """What TLS is spoken with, read and checked; None without it."""
    from .tls.certificates import certificate_files
    from .tls.renewal import Renewal

    files = certificate_files(options.certfile, options.keyfile)
    return Renewal(files) if files else None


def _listening(
    options: argparse.Namespace, renewal: Renewal | None
) -> tuple[MakeEndpoints, MakeEndpoint | None]:
    """What makes the endpoints for clients, and that for probes, from a reactor."""
    from .admin import admin_endpoint
    from .listeners import make_endpoints

    endpoints: MakeEndpoints = partial(
        make_endpoints,
        host=options.bind,
        port=options.port,
        unix_socket=options.unix_socket,
        fd=options.fd,
        strings=options.endpoint,
    )
    if renewal is not None:
        endpoints = partial(renewal.secured, endpoints)
    return endpoints, None if options.admin is None else partial(admin_endpoint, options.admin)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (what --check was asked for)


def _checked(
    layer: ChannelLayer,
    settings: InterfaceSettings,
    endpoints: MakeEndpoints,
    admin: MakeEndpoint | None,
    renewal: Renewal | None,
) -> int:
    """The exit status of `--check`. Raises ConfigurationError."""
    from twisted.internet import reactor

    from .rehearsal import rehearse

    certificates = () if renewal is None else renewal.lines()
    rehearse(reactor, layer, settings, endpoints, admin, _say, certificates)
    return 0


def _warn(given: Given) -> None:
    for warning in given.warnings:
        logger.warning("%s", warning)


def _tried(endpoints: MakeEndpoints) -> int:
    """The exit status of a rehearsal. Raises ConfigurationError if there is nothing to listen on."""
    from twisted.internet import reactor

    from .upgrade.take_over import AdoptingReactor

    endpoints(AdoptingReactor(reactor, ()))
    return 0


def _layer_config(options: argparse.Namespace, handed_over: Message | None) -> dict[str, Any] | None:
    """What `--layer-config-fd` said, to this image of the process or to one before it."""
    if options.layer_config_fd is None:
        return None
    return _read_config(options.layer_config_fd) if handed_over is None else handed_over[_LAYER_CONFIG]


def _open_layer(options: argparse.Namespace, config: dict[str, Any] | None) -> ChannelLayer:
    given = [each for each in (options.layer, options.channel_layer) if each]
    if len(given) + (options.layer_config_fd is not None) != 1:
        raise ConfigurationError(
            "give one channel layer: --layer redis://127.0.0.1:6379, or module:attribute"
            f" (or {ENVIRONMENT_PREFIX}LAYER, or layer in the file of --config)"
        )
    # A layer by import path is looked for where the command is run, as daphne did.
    sys.path.insert(0, ".")
    if config is not None:
        return layer_from_config(config)
    return layer_from_url(given[0])


def _read_config(fd: int) -> dict[str, Any]:
    """Keys and passwords come through a pipe: an argument list is readable for everybody."""
    try:
        with os.fdopen(fd, encoding="utf-8") as pipe:
            config = json.load(pipe)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--layer-config-fd {fd} has no JSON to read: {error}") from None
    if not isinstance(config, dict):
        raise ConfigurationError(f'--layer-config-fd {fd}: expected {{"BACKEND": …, "CONFIG": …}}')
    return config


def _open_access_log(options: argparse.Namespace, clock: Any) -> AccessLog | None:
    path = options.access_log
    if options.no_access_log or (path is None and options.verbosity < 1):
        return None
    if path is None or path == "-":
        return AccessLog(clock, stream=_unbuffered_stdout(), lines=options.access_log_format)
    try:
        return AccessLog(clock, path=path, lines=options.access_log_format)
    except OSError as error:
        raise ConfigurationError(f"--access-log {path} cannot be opened: {error.strerror}") from None


def _unbuffered_stdout() -> Sink:
    """What cannot be written now must not come up again when the process ends."""
    return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
