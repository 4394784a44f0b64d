"""Puts the interface server together, runs it, and ends it: nothing open is dropped without being told.

Ending (SIGTERM, SIGINT): listening stops, WebSockets are closed with 1012 in batches, a connection is closed
after the next answer or when it is quiet, every disconnect is told, then the layer's port stops. All of that
is one budget, the drain deadline. A second signal ends it at once.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from twisted.internet import defer, threads
from twisted.logger import ILogObserver, globalLogPublisher

from headrace_asgi.close_codes import SERVICE_RESTART
from headrace_asgi.contract import ChannelLayer, InterfacePort
from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.limits import STOP_SECONDS

from .access_log import AccessLog
from .admin import AdminFactory
from .connections import SocketShell
from .context import ServerContext
from .inbox import Inbox
from .listeners import HttpFactory, Refusals, accept_waiting, describe, listen
from .process_state import ProcessState
from .proxy_gate import GateFactory
from .settings import InterfaceSettings
from .tls.renewal import Renewal
from .upgrade.hand_over import HandingOver
from .upgrade.image import Images, become, rehearse
from .upgrade.state import packed
from .upgrade.take_over import AdoptingReactor, take_over
from .websocket.protocol import WebSocketShell

__all__ = ["Server", "run"]

logger = logging.getLogger("headrace.interface")

#: WebSockets closed in one turn, and seconds between turns: a thousand reconnects a second, not all at once.
_CLOSE_BATCH = 50
_CLOSE_INTERVAL_SECONDS = 0.05
#: Seconds for what is open when the parent process is gone: nobody waits for us any more.
_ORPHAN_SECONDS = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
#: Seconds that the layer's port has for its end even where the drain deadline has passed.
_PORT_SECONDS = 1.0


class Server:
    """One interface server inside a reactor that somebody else runs.

    `when_stopped` is called once, with the exit status, when nothing is left to do.
    """

    def __init__(
        self,
        reactor: Any,
        ports: Sequence[InterfacePort],
        settings: InterfaceSettings,
        endpoints: Sequence[tuple[str, Any]],
        access_log: AccessLog | None,
        when_stopped: Callable[[int], None],
    ) -> None:
        self.context = ServerContext(settings, ports[0], reactor, access_log)
        for port in ports[1:]:
            self.context.at(port)
        #: One for each place of the layer.
        self.places = tuple(self.context.places)
        self.state = ProcessState(self.context)
        self.inboxes = [Inbox(place) for place in self.places]
        self._reactor = reactor
        self._endpoints = endpoints
        self._when_stopped = when_stopped
        self.listening: list[Any] = []
        self._stop_by = 0.0
        #: How many ports have not ended; None before they are to end.
        self._running: int | None = None
        self._closed: set[str] = set()

    async def start(self, handed_over: Message | None = None) -> list[str]:
        """Listen everywhere and connect to the layer; the addresses.

        What another image of this process `handed_over` goes on from where it was. Raises ConfigurationError
        if one of the endpoints cannot be listened on; the others are given up.
        """
        gate = partial(GateFactory, self.context) if self.context.settings.proxy_protocol else None
        try:
            for endpoint in self._endpoints:
                factory = HttpFactory(self.context, WebSocketShell)
                self.listening.append(await listen(endpoint, factory, gate))
        except ConfigurationError:
            await self._stop_listening()
            raise
        if handed_over is not None:
            take_over(self.places, handed_over, self._reactor)
        for place, inbox in zip(self.places, self.inboxes, strict=True):
            place.port.start(inbox)
        self.state.addresses = [describe(port) for port in self.listening]
        return list(self.state.addresses)

    def stop(self, seconds: float | None = None) -> None:
        """Begin to end, or if it is ending, end within `seconds` (the drain deadline)."""
        context = self.context
        by = context.clock.seconds() + (context.settings.deadlines.drain if seconds is None else seconds)
        if context.draining:
            self._stop_by = min(self._stop_by, by)
            return
        self._stop_by = by
        for place in self.places:
            place.draining = True
        sockets = context.socket_count
        requests = sum(len(place.connections) for place in self.places) - sockets
        logger.info("Stopping: %d WebSockets and %d requests are open.", sockets, requests)
        for port in self.listening:
            accept_waiting(port)
        defer.ensureDeferred(self._stop_listening())
        for shell in list(context.http_shells):
            shell.drain()
        self._drain()

    async def _stop_listening(self) -> None:
        listening, self.listening = self.listening, []
        for port in listening:
            await defer.maybeDeferred(port.stopListening)

    def _drain(self) -> None:
        """One turn: close some sockets; when all is gone or it is too late, stop the port."""
        context = self.context
        if not (context.http_shells or context.socket_count):
            self._stop_ports()
            return
        if context.clock.seconds() >= self._stop_by:
            self._abort_all()
            return
        # Sockets that are already closing ignore it, and stay listed until their client has answered.
        waiting = [shell for shell in self._sockets() if shell.local not in self._closed]
        for shell in waiting[:_CLOSE_BATCH]:
            self._closed.add(shell.local)
            shell.close(SERVICE_RESTART, "server restarts")
        context.clock.callLater(_CLOSE_INTERVAL_SECONDS, self._drain)

    def _abort_all(self) -> None:
        context = self.context
        sockets = self._sockets()
        shells = list(context.http_shells)
        late = len(sockets) + sum(shell.busy for shell in shells)
        if late:
            logger.warning("%d connections did not end in time and are cut.", late)
        for shell in (*sockets, *shells):
            shell.abort()
        # Their `connectionLost` comes in a later turn, and tells the disconnects.
        context.clock.callLater(_CLOSE_INTERVAL_SECONDS, self._stop_ports)

    def _sockets(self) -> list[SocketShell]:
        return [shell for place in self.places for shell in place.connections.sockets()]

    def _stop_ports(self) -> None:
        if self._running is not None:
            return
        self._running = len(self.places)
        seconds = max(_PORT_SECONDS, min(self._stop_by - self.context.clock.seconds(), STOP_SECONDS))
        for place, inbox in zip(self.places, self.inboxes, strict=True):
            inbox.stop()
            place.port.stop(self._port_stopped, seconds)

    def _port_stopped(self) -> None:
        self._running = (self._running or 0) - 1
        if self._running > 0:
            return
        if self.context.access_log is not None:
            self.context.access_log.close()
        logger.info("Stopped.")
        self._when_stopped(0)


class _Process:
    """The process around a `Server`: the reactor, signals, the lifeline, the exit status."""

    def __init__(
        self, reactor: Any, admin: tuple[str, Any] | None, images: Images, renewal: Renewal | None
    ) -> None:
        """`admin` is the endpoint for probes, `renewal` has the certificates of TLS, where there are any."""
        self._reactor = reactor
        self._admin = admin
        self._renewal = renewal
        self._server: Server | None = None
        self._signals = 0
        self._upgrading = False
        self._images = images
        self.status = 0
        self.error: ConfigurationError | None = None

    def run(self, server: Server, ready_fd: int | None, lifeline: bool) -> int:
        """Run until stopped; the exit status. Raises ConfigurationError if it cannot start."""
        self._server = server
        reactor = self._reactor
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: reactor.callFromThread(self._signalled))
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(self._hung_up))
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(self._tell_state))
        signal.signal(signal.SIGUSR2, lambda *_: reactor.callFromThread(self._upgrade))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        reactor.callWhenRunning(lambda: defer.ensureDeferred(self._start(ready_fd, lifeline)))
        reactor.run(installSignalHandlers=False)
        if self.error is not None:
            raise self.error
        return self.status

    def end(self, status: int) -> None:
        """Leave the reactor."""
        self.status = status
        if self._reactor.running:
            self._reactor.stop()

    async def _start(self, ready_fd: int | None, lifeline: bool) -> None:
        server = self._server
        if server is None:
            return
        try:
            # First, so that probes are answered while the rest starts.
            probes = await self._listen_for_probes(server)
            addresses = await server.start(self._images.handed_over)
        except ConfigurationError as error:
            self.error = error
            self.end(1)
            return
        except Exception:
            logger.exception("The server could not start.")
            self.end(1)
            return
        where = ", ".join(place.port.label for place in server.places)
        logger.info("Listening on %s; the channel layer is %s", ", ".join(addresses), where)
        if probes:
            logger.info("Probes are answered at %s", probes)
        if self._renewal is not None:
            server.state.certificates = self._renewal.as_dicts
            self._renewal.watch(self._reactor)
        if lifeline:
            threading.Thread(target=self._watch_lifeline, name="lifeline", daemon=True).start()
        if ready_fd is not None:
            _tell_ready(ready_fd, addresses)

    async def _listen_for_probes(self, server: Server) -> str:
        """Where; empty if nowhere. It listens until the process ends: probes ask while it drains, too."""
        if self._admin is None:
            return ""
        return describe(await listen(self._admin, AdminFactory(server.state, self._reactor)))

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals > 1 or self._server is None:
            logger.warning("A second signal: ending at once.")
            self.end(1)
        else:
            self._server.stop()

    def _hung_up(self) -> None:
        """SIGHUP: files are opened and read again."""
        self._reopen_log()
        if self._renewal is not None:
            self._renewal.reload()

    def _upgrade(self) -> None:
        """Have the next image of this process go on, if it would start."""
        server = self._server
        if server is None or self._upgrading or server.context.draining:
            logger.warning("SIGUSR2: this process ends, starts, or is being upgraded already.")
            return
        if not all(place.port.hands_over for place in server.places):
            logger.error("SIGUSR2: this channel layer cannot be handed over: restart the process instead.")
            return
        self._upgrading = True
        logger.info("SIGUSR2: seeing whether the next image of this process would start.")
        threads.deferToThread(rehearse).addCallback(self._rehearsed)

    def _rehearsed(self, problem: str) -> None:
        if problem or self._server is None:
            self._put_off(f"it would not start: {problem}")
            return
        HandingOver(self._server, self._reactor, self._leave, self._put_off).begin()

    def _leave(self, state: Message, descriptors: Sequence[int]) -> None:
        """Become the next image. Signals wait for it: they would end it before it can hear them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            become(packed({**self._images.keeps, **state}), descriptors)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _put_off(self, reason: str) -> None:
        self._upgrading = False
        logger.error("The upgrade is put off, everything goes on as before: %s", reason)

    def _tell_state(self) -> None:
        """Somebody asked, so it is said at every verbosity."""
        if self._server is not None:
            logger.warning("SIGUSR1, the state is %s", self._server.state.as_line())

    def _watch_lifeline(self) -> None:
        """Blocks in a thread: what stdin is (pipe, file, terminal) makes no difference to `read`."""
        try:
            while os.read(0, 4096):
                pass
        except OSError as error:
            logger.debug("The lifeline cannot be read: %s", error)
        if self._server is not None:
            self._reactor.callFromThread(self._server.stop, _ORPHAN_SECONDS)

    def _reopen_log(self) -> None:
        log = None if self._server is None else self._server.context.access_log
        if log is not None:
            try:
                log.reopen()
            except OSError as error:
                logger.error("The access log cannot be opened again and stays where it was: %s", error)


def _tell_ready(fd: int, addresses: Sequence[str]) -> None:
    """Write the addresses, a line each, and close: whoever started us reads until the end."""
    try:
        os.write(fd, "".join(f"{address}\n" for address in addresses).encode())
        os.close(fd)
    except OSError as error:
        logger.warning("--ready-fd %d cannot be written: %s", fd, error.strerror)


def run(
    layer: ChannelLayer,
    settings: InterfaceSettings,
    make_endpoints: Callable[[Any], Sequence[tuple[str, Any]]],
    open_access_log: Callable[[Any], AccessLog | None],
    *,
    admin: Callable[[Any], tuple[str, Any]] | None = None,
    ready_fd: int | None = None,
    lifeline: bool = False,
    images: Images | None = None,
    renewal: Renewal | None = None,
) -> int:
    """Run an interface server in this process until a signal ends it; the exit status.

    `images` is about those before and after this one; `renewal` has the certificates that its endpoints speak
    TLS with, which are looked after.

    Raises ConfigurationError, before anything is served, if it cannot start. A layer that does not answer yet
    is no error: requests wait for it.
    """
    from twisted.internet import reactor as the_reactor

    from headrace_asgi.layers.from_config import interface_ports

    reactor: Any = the_reactor
    # Twisted's clock is the wall clock: a jump of it would expire every deadline at once, or none.
    reactor.seconds = time.monotonic
    globalLogPublisher.addObserver(cast(ILogObserver, Refusals(reactor)))
    images = images or Images()
    process = _Process(reactor, None if admin is None else admin(reactor), images, renewal)
    ports = interface_ports(layer, reactor)
    listens = reactor
    if images.handed_over is not None:
        listens = AdoptingReactor(reactor, images.handed_over["listening"])
    server = Server(reactor, ports, settings, make_endpoints(listens), open_access_log(reactor), process.end)
    return process.run(server, ready_fd, lifeline)
