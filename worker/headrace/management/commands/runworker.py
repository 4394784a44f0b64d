"""`manage.py runworker`: take messages from a channel layer and run their consumers."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import autoreload

from headrace import conf
from headrace.asgi import DEFAULT_CHANNEL_LAYER, ChannelLayerWrapper, InvalidChannelLayerError, channel_layers
from headrace.development import broken_code
from headrace.development.reload import stop_before_reload
from headrace.log import setup_logging, worker_log
from headrace.routing import import_named
from headrace.signals import worker_process_ready
from headrace.types import Consumer, Content, Options
from headrace.worker.flight_record import FlightRecord
from headrace.worker.loop import WorkerLoop, apply_channel_filters
from headrace.worker.recovery import Recovery
from headrace.worker.single import Worker
from headrace.worker.supervisor import Supervisor, prepare_fork, stop_in_child, stop_on_signals
from headrace.worker.threads import ThreadedWorker
from headrace_asgi.errors import ConfigurationError

__all__ = ["Command"]

#: Messages that a worker process may note beside those of one take: what waits to be put back later, and
#: answers that wait to be written.
WAITING_SLOTS = 64


class Command(BaseCommand):
    """Runs one worker, or a parent of several worker processes."""

    help = "Takes messages from a channel layer and runs views and consumers, until SIGTERM or Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options, with their defaults."""
        parser.add_argument(
            "--layer", default=DEFAULT_CHANNEL_LAYER, help="alias in CHANNEL_LAYERS (default: default)"
        )
        parser.add_argument(
            "--only-channels",
            action="append",
            metavar="GLOB",
            help="take only from channels that match; may be repeated",
        )
        parser.add_argument(
            "--exclude-channels",
            action="append",
            metavar="GLOB",
            help="do not take from channels that match; may be repeated, stronger than --only-channels",
        )
        parser.add_argument(
            "--threads",
            type=_positive,
            default=1,
            help="threads that run consumers, per process (default: 1)",
        )
        parser.add_argument(
            "--processes", type=_positive, default=1, help="worker processes under one parent (default: 1)"
        )
        parser.add_argument(
            "--reload", action="store_true", help="restart when code changes (development, one process)"
        )

    def handle(self, *args: object, **options: Any) -> None:
        """Run; raises CommandError for what cannot work."""
        setup_logging(options["verbosity"])
        if options["reload"] and options["processes"] > 1:
            raise CommandError("--reload works with one process; leave out --processes")
        if options["reload"]:
            autoreload.run_with_reloader(self._reloaded, **options)
            return
        layer = _layer(options)
        if options["processes"] > 1:
            self._supervise(layer, options)
            return
        worker = _worker(layer, options)
        stop_on_signals(worker.stop)
        self._announce(layer, worker.channels, options)
        worker_process_ready.send(sender=type(self))
        worker.run()
        _goodbye(worker)

    def _supervise(self, layer: ChannelLayerWrapper, options: Options) -> None:
        def child(lifeline: int, record: FlightRecord) -> int:
            worker = _worker(layer, options, lifeline, record)
            stop_in_child(worker.stop)
            worker_process_ready.send(sender=type(self))
            worker.run()
            _goodbye(worker)
            return 0

        self._announce(layer, _channels(layer, options), options)
        prepare_fork()
        settings = conf.settings()
        supervisor = Supervisor(
            options["processes"],
            child,
            settings.stop_deadline_seconds,
            Recovery(layer, _channels(layer, options)),
            max(settings.take_limit, options["threads"]) + WAITING_SLOTS,
        )
        status = supervisor.run()
        if status:
            raise SystemExit(status)

    def _reloaded(self, **options: Any) -> None:
        """In the reloader's child, in a thread that is not the main one."""
        autoreload.raise_last_exception()
        broken_code.watch()
        try:
            layer = _layer(options)
        except CommandError as error:
            self.stderr.write(f"{type(error).__name__}: {error}")
            raise broken_code.Told(error) from error
        worker = _worker(layer, options)
        stop_before_reload(worker.stop, threading.current_thread())
        self._announce(layer, worker.channels, options)
        worker_process_ready.send(sender=type(self))
        worker.run()

    def _announce(self, layer: ChannelLayerWrapper, channels: list[str], options: Options) -> None:
        worker_log.info(
            "Taking from %s, %d process(es) of %d thread(s), channels %s",
            layer,
            options["processes"],
            options["threads"],
            ", ".join(channels),
        )


def _layer(options: Options) -> ChannelLayerWrapper:
    """The layer with its complete routing; CommandError in one line for whatever is wrong with it."""
    alias = options["layer"]
    try:
        conf.settings()
        if not channel_layers.configs:
            raise CommandError(
                "CHANNEL_LAYERS is not set, so there is nothing to take messages from. The least is "
                'CHANNEL_LAYERS = {"default": {"ROUTING": "project.routing.routing"}}'
            )
        layer = channel_layers[alias]
        if layer.local_only:
            raise CommandError(
                f"The layer {layer} lives in one process, so no interface server can reach this worker. "
                f"Remove BACKEND from CHANNEL_LAYERS[{alias!r}] for the embedded server, "
                "or set it to headrace_asgi.RedisChannelLayer"
            )
        layer.router.check_default(http_consumer=_http_consumer())
        _refuse_what_it_lacks(layer)
        channels = _channels(layer, options)
        urlconf = getattr(django_settings, "ROOT_URLCONF", None)
        if "http.request" in channels and isinstance(urlconf, str):
            # Now rather than in the middle of the first request, and before the fork.
            import_named(f"{urlconf}.urlpatterns", f"ROOT_URLCONF = {urlconf!r}")
        if not channels:
            raise CommandError(
                "--only-channels and --exclude-channels leave no channel of "
                + ", ".join(sorted(layer.router.channels))
            )
        layer.ensure_usable()
    except ConfigurationError as error:
        raise CommandError(f"CHANNEL_LAYERS[{alias!r}]: {error}") from error
    except (InvalidChannelLayerError, ImproperlyConfigured, ImportError) as error:
        raise CommandError(str(error)) from error
    return layer


def _refuse_what_it_lacks(layer: ChannelLayerWrapper) -> None:
    lacks = layer.router.unserved(layer.extensions, f"The layer {layer}")
    if lacks:
        raise CommandError(
            f"{lacks}. Set BACKEND of CHANNEL_LAYERS[{layer.alias!r}] to headrace_asgi.RedisChannelLayer, or "
            "let the consumers do without"
        )


def _channels(layer: ChannelLayerWrapper, options: Options) -> list[str]:
    return apply_channel_filters(layer.router.channels, options["only_channels"], options["exclude_channels"])


def _worker(
    layer: ChannelLayerWrapper,
    options: Options,
    lifeline: int | None = None,
    record: FlightRecord | None = None,
) -> WorkerLoop:
    callback = _say if options["verbosity"] > 1 else None
    only, exclude, threads = options["only_channels"], options["exclude_channels"], options["threads"]
    if threads == 1:
        return Worker(layer, callback, only, exclude, lifeline=lifeline, record=record)
    return ThreadedWorker(layer, callback, only, exclude, threads=threads, lifeline=lifeline, record=record)


def _http_consumer() -> Consumer | None:
    """With DEBUG and Django's staticfiles app, the consumer that serves static files too."""
    if not django_settings.DEBUG or "django.contrib.staticfiles" not in django_settings.INSTALLED_APPS:
        return None
    from headrace.staticfiles import StaticFilesConsumer

    consumer: Consumer = StaticFilesConsumer()
    return consumer


def _goodbye(worker: WorkerLoop) -> None:
    counted = ", ".join(f"{name} {count}" for name, count in sorted(worker.counters.items()))
    worker_log.info("Stopped; handled since the start: %s", counted or "nothing")


def _say(channel: str, content: Content) -> None:
    worker_log.debug("< %s %s", channel, content.get("reply_channel") or "")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)
