"""`manage.py runserver`: an interface server as a child process, worker threads that reload with the code.

The interface server is started by the process that never reloads, so WebSockets stay open while code changes.
Without CHANNEL_LAYERS, or with --noasgi, this is Django's own command.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import threading
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.core.management.commands.runserver import Command as DjangoCommand
from django.db import connections
from django.utils import autoreload
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from headrace import __version__, conf
from headrace.asgi import (
    DEFAULT_CHANNEL_LAYER,
    ChannelLayerWrapper,
    InvalidChannelLayerError,
    channel_layers,
)
from headrace.development import broken_code
from headrace.development.interface_child import InterfaceChild, listening_socket
from headrace.development.layer import ensure_usable, layer_config
from headrace.development.reload import STOP_SECONDS, stop_before_reload
from headrace.development.request_lines import request_line
from headrace.log import setup_logging
from headrace.signals import worker_process_ready
from headrace.types import Consumer, Options
from headrace.worker.loop import WorkerLoop
from headrace.worker.single import Worker
from headrace.worker.supervisor import stop_on_signals
from headrace.worker.threads import ThreadedWorker
from headrace_asgi.errors import HeadraceError
from headrace_asgi.layers.from_config import layer_from_config

__all__ = ["Command"]

#: Set for the reloader's child: the port on which the interface server of its parent listens.
INTERFACE_ENV = "HEADRACE_RUNSERVER_PORT"
#: Enough for a page and what it loads; --nothreading makes it 1.
WORKER_THREADS = 4

_BIND_ERRORS = {
    errno.EACCES: "You don't have permission to access that port.",
    errno.EADDRINUSE: "That port is already in use.",
    errno.EADDRNOTAVAIL: "That IP address can't be assigned to.",
}

if apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command as BaseCommand
else:
    BaseCommand = DjangoCommand  # type: ignore[assignment, misc]


class Command(BaseCommand):
    """Serves HTTP and WebSockets for development."""

    addr: str
    port: str
    use_ipv6: bool

    help = "Starts a development server for HTTP and WebSockets, with worker threads that reload."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Django's options and four more."""
        super().add_arguments(parser)  # type: ignore[arg-type]
        parser.add_argument(
            "--noworker",
            action="store_false",
            dest="run_worker",
            help="Runs no workers: start them yourself with runworker.",
        )
        parser.add_argument(
            "--noasgi",
            action="store_false",
            dest="use_asgi",
            help="Runs Django's own server, without WebSockets.",
        )
        parser.add_argument(
            "--http_timeout",
            "--http-timeout",
            type=float,
            default=None,
            help="Seconds a view may run; without end if DEBUG is on, otherwise 120.",
        )
        parser.add_argument(
            "--websocket_handshake_timeout",
            "--websocket-handshake-timeout",
            type=float,
            default=None,
            help="Seconds the application may take to accept a WebSocket, 30 by default.",
        )

    def run(self, **options: Any) -> None:
        """Start the interface server, unless a parent did, and the worker under Django's reloader."""
        if not self._is_asgi(options):
            super().run(**options)
            return
        if os.environ.get(DJANGO_AUTORELOAD_ENV) == "true" and INTERFACE_ENV in os.environ:
            self.port = os.environ[INTERFACE_ENV]
            super().run(**options)
            return
        interface = self._start_interface(options)
        try:
            super().run(**options)
        finally:
            for name in (INTERFACE_ENV, broken_code.PAGE_ENV):
                os.environ.pop(name, None)
            interface.stop()

    def inner_run(self, *args: Any, **options: Any) -> None:
        """One life of the worker: until the code changes, or Ctrl-C."""
        if not self._is_asgi(options):
            super().inner_run(*args, **options)
            return
        autoreload.raise_last_exception()
        if options["use_reloader"]:
            broken_code.watch()
        try:
            layer = self._make_layer(options)
            # Before the checks, which would tell of a bad routing in more than its one line.
            worker = self._make_worker(layer, options) if options["run_worker"] else None
        except (HeadraceError, InvalidChannelLayerError, ImproperlyConfigured, ImportError) as error:
            if not options["use_reloader"]:
                raise CommandError(str(error)) from error
            self.stderr.write(f"Error: {error}")
            raise broken_code.Told(error) from error
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()
        setup_logging(1)
        self.on_bind(int(self.port))
        self.stdout.write(self._banner(layer, worker))
        try:
            self._work(worker, options)
        except KeyboardInterrupt:
            if message := options.get("shutdown_message"):
                self.stdout.write(message)
            sys.exit(0)

    def _banner(self, layer: ChannelLayerWrapper, worker: WorkerLoop | None) -> str:
        """Which layer this is, what is taken from it, and whether sockets outlive a reload."""
        if worker is None:
            doing = f"uses {layer}; no worker runs here (--noworker), start one with runworker"
        else:
            doing = f"takes {', '.join(sorted(worker.channels))} from {layer}"
        survives = INTERFACE_ENV in os.environ
        return f"Headrace {__version__} {doing}." + (
            "\nWebSockets stay open while the code changes." if survives else ""
        )

    def _is_asgi(self, options: Options) -> bool:
        return options["use_asgi"] and DEFAULT_CHANNEL_LAYER in channel_layers.configs

    def _start_interface(self, options: Options) -> InterfaceChild:
        in_reloaded = os.environ.get(DJANGO_AUTORELOAD_ENV) == "true"
        interface = InterfaceChild(self._show)
        try:
            listening = listening_socket(self.addr, int(self.port), self.use_ipv6)
            # Other processes learn of the port that was bound: the one asked for may be 0.
            self.port = str(listening.getsockname()[1])
            config, note = layer_config(int(self.port), apart=options["run_worker"])
            ensure_usable(config)
            interface.start(
                listening,
                {"BACKEND": config.backend, "CONFIG": config.options},
                self._interface_options(options),
            )
        except OverflowError as error:
            raise CommandError(f"{self.port} is no port: it must be 0 to 65535.") from error
        except OSError as error:
            raise CommandError(_BIND_ERRORS.get(error.errno or 0, str(error))) from error
        except (HeadraceError, InvalidChannelLayerError, ImproperlyConfigured, ImportError) as error:
            raise CommandError(str(error)) from error
        if note:
            self.stdout.write(self.style.NOTICE(note))
        if in_reloaded:
            self.stdout.write(
                self.style.NOTICE(
                    "The project could not be loaded when this command started: until you start it again, "
                    "WebSockets are closed at every change of the code."
                )
            )
        elif options["use_reloader"]:
            os.environ[INTERFACE_ENV] = self.port
        if options["run_worker"] and options["use_reloader"]:
            os.environ[broken_code.PAGE_ENV] = self.port
            broken_code.watch_if_asked()
        return interface

    def _interface_options(self, options: Options) -> list[str]:
        seconds = options["http_timeout"]
        if seconds is None and django_settings.DEBUG:
            seconds = -1  # somebody may be at a breakpoint
        given = {
            "--http-timeout": seconds,
            "--websocket-connect-timeout": options["websocket_handshake_timeout"],
            "--root-path": django_settings.FORCE_SCRIPT_NAME,
        }
        debug = ["--debug"] if django_settings.DEBUG else []
        return debug + [f"{name}={value}" for name, value in given.items() if value is not None]

    def _make_layer(self, options: Options) -> ChannelLayerWrapper:
        config, _ = layer_config(int(self.port), apart=options["run_worker"])
        raw = layer_from_config({"BACKEND": config.backend, "CONFIG": config.options})
        layer = ChannelLayerWrapper(raw, DEFAULT_CHANNEL_LAYER, config.routing)
        channel_layers.set(DEFAULT_CHANNEL_LAYER, layer)
        return layer

    def _make_worker(self, layer: ChannelLayerWrapper, options: Options) -> WorkerLoop:
        layer.router.check_default(http_consumer=self._http_consumer(options))
        settings = replace(conf.settings(), stop_deadline_seconds=STOP_SECONDS)
        if not options["use_threading"]:
            return Worker(layer, settings=settings)
        return ThreadedWorker(layer, threads=WORKER_THREADS, settings=settings)

    def _http_consumer(self, options: Options) -> Consumer | None:
        if not options.get("use_static_handler"):
            return None
        if not (django_settings.DEBUG or options["insecure_serving"]):
            return None
        from headrace.staticfiles import StaticFilesConsumer

        return StaticFilesConsumer()

    def _work(self, worker: WorkerLoop | None, options: Options) -> None:
        if worker is None:
            threading.Event().wait()
            return
        if options["use_reloader"]:
            stop_before_reload(worker.stop, threading.current_thread())
        else:
            stop_on_signals(worker.stop)
        worker_process_ready.send(sender=type(self))
        worker.run()

    def _show(self, line: str) -> None:
        self.stderr.write(request_line(line, self.style), lambda text: text)
