"""An interface server for a protocol of one's own: what it needs beside the protocol.

Such a server extends `Bridge`, which knows the layer: it sends, hears replies, counts, says once what goes
wrong again and again, and ends in order. `serve` is the process around it. docs/interface-servers.md leads
through a whole one.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from twisted.internet import defer

from headrace_asgi.contract import InterfacePort, InterfaceReceiver, OpenSocket, Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.errors import ConfigurationError
from headrace_asgi.layers.from_config import interface_ports, layer_from_url
from headrace_asgi.layers.threaded_port import ThreadedPort
from headrace_asgi.limits import DEFAULT_EXPIRY_SECONDS, STOP_SECONDS
from headrace_asgi.names import OTHER_PROTOCOL

from . import log
from .episodes import Episode

__all__ = ["UNTAKEN_SECONDS", "Bridge", "BridgePlace", "serve"]

logger = logging.getLogger("headrace.interface")

#: Seconds between two looks whether the clients of a server that ends are done.
_LOOK_SECONDS = 0.05
#: Seconds for which a channel is sent to, and no worker is known to take it, until that is said: workers say
#: what they take when they start, and a process hears of it with its next beat.
UNTAKEN_SECONDS = 15.0
#: What is counted of a message that was not accepted; what is not here is "away".
_REFUSALS = {Outcome.FULL: "full", Outcome.UNSENDABLE: "unsendable"}


def _ignore(outcome: Outcome) -> None:
    """Nobody waits for it; it is counted."""


class BridgePlace(InterfaceReceiver):
    """One place of the layer: a bridge's messages leave through it, and what is said to its clients comes."""

    def __init__(self, bridge: Bridge, port: InterfacePort) -> None:
        self.port = port
        #: Whether the layer is there.
        self.up = False
        #: Messages that the layer has yet to answer for.
        self.unanswered = 0
        self._bridge = bridge
        self._was_told = False
        #: Channels that no worker is known to take, and since when they are sent to.
        self._untaken: dict[str, float] = {}
        # A port over the blocking methods of a layer never hears of workers.
        self._hears_of_workers = not isinstance(port, ThreadedPort)

    def reply_channel(self, local: str) -> str:
        """Where a client of this place is reached."""
        return self.port.process + OTHER_PROTOCOL + local

    def leave_groups(self, local: str) -> None:
        """A client has ended, and so have its memberships."""
        self.port.leave_groups(OTHER_PROTOCOL + local)

    def send(
        self,
        channel: str,
        message: Message,
        expiry_seconds: float = DEFAULT_EXPIRY_SECONDS,
        done: Callable[[Outcome], None] = _ignore,
    ) -> None:
        """Put a message on a channel, for so many seconds. Does not block, raises nothing.

        `done` is called once: at once where the layer is away or has too much to answer for, else later. What
        is not accepted is counted, and said in the log.
        """
        if not self.up or self.unanswered >= self._bridge.max_unanswered:
            self._answered(channel, done, Outcome.UNAVAILABLE)
            return
        self.unanswered += 1
        self.port.send(channel, message, expiry_seconds, partial(self._sent, channel, done))

    def _sent(self, channel: str, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        self.unanswered -= 1
        self._answered(channel, done, outcome)

    def _answered(self, channel: str, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        if outcome.accepted:
            self._bridge.counters["sent"] += 1
            if self._hears_of_workers:
                self._look_for_workers(channel)
        else:
            self._bridge.refused(self, channel, outcome)
        self._guarded(done, outcome)

    def _look_for_workers(self, channel: str) -> None:
        """What nobody takes expires in silence, so it is said here."""
        if channel in self.port.taken_channels:
            self._untaken.pop(channel, None)
            return
        now = self._bridge.reactor.seconds()
        if now - self._untaken.setdefault(channel, now) >= UNTAKEN_SECONDS:
            self._bridge.trouble(
                "untaken",
                f"No worker is known to take {channel}: is one running?",
                f"{{count}} messages were put on {channel} within {{seconds}} s while no worker was known to "
                "take it.",
            )

    # InterfaceReceiver

    def reply(self, local: str, message: Message) -> None:
        self._bridge.counters["replies"] += 1
        self._guarded(self._bridge.reply, local.removeprefix(OTHER_PROTOCOL), message)

    def group_message(self, group: str, members: Sequence[str], message: Message) -> None:
        for local in members:
            self.reply(local, message)

    def control(self, kind: str, local: str, body: Message) -> None:
        """Notes are about requests and WebSockets."""

    def level(self, channel: str, sent: int, waiting: int, capacity: int) -> None:
        """Nobody asked."""

    def data_lost(self) -> None:
        logger.error("The channel layer %s lost its data: what no worker had taken is gone.", self.port.label)

    def entries_lost(self, count: int) -> None:
        self._bridge.counters["entries_lost"] += count
        logger.error("%d replies were lost with a connection to the channel layer.", count)
        self._guarded(self._bridge.replies_lost, self)

    def layer_lost(self, reason: str) -> None:
        if self.up or not self._was_told:
            logger.warning(
                "The channel layer %s cannot be reached (%s); it is tried again until it answers.",
                self.port.label,
                reason,
            )
        self._was_told, self.up = True, False

    def layer_back(self) -> None:
        if self._was_told:
            logger.warning("The channel layer %s is back.", self.port.label)
        self._was_told = self.up = True
        self._guarded(self._bridge.layer_back, self)

    def fenced(self) -> None:
        logger.error(
            "This process stood still for so long that others declared it dead; it goes on under a new name."
        )
        self._guarded(self._bridge.fenced, self)

    def is_open(self, local: str) -> bool:
        return bool(self._guarded(self._bridge.is_open, local.removeprefix(OTHER_PROTOCOL)))

    def open_sockets(self) -> Iterable[OpenSocket]:
        """None: those are WebSockets."""
        return ()

    def _guarded(self, act: Callable[..., object], *arguments: Any) -> object:
        """A bug of the protocol's must not reach the layer's port, which serves all its clients."""
        try:
            return act(*arguments)
        except Exception:
            self._bridge.counters["errors"] += 1
            logger.exception("The interface server failed at something the channel layer said.")
            return None


class Bridge:
    """An interface server inside a reactor that somebody else runs; a protocol extends it.

    It must implement `listen`, `stop_listening` and `reply`, and may implement what stands between them.
    Nothing blocks. How much is read, and for whom, is the protocol's to bound.
    """

    #: Seconds that clients have, when the server is to end, for what is on its way to them.
    drain_seconds = 1.0
    #: Messages that the layer has yet to answer for, at each place: a healthy one answers for a thousand in
    #: some milliseconds, and one that hangs shall not fill this process's memory.
    max_unanswered = 1000

    def __init__(self, reactor: Any, ports: Sequence[InterfacePort]) -> None:
        """Take a reactor, or a clock, and one port for each place of the layer."""
        self.reactor = reactor
        self.counters: Counter[str] = Counter()
        self.places = [BridgePlace(self, port) for port in ports]
        self._turn = 0
        self._episodes: dict[str, Episode] = {}
        self._stop_by = 0.0

    # What a protocol says

    async def listen(self) -> list[str]:
        """Listen; the addresses, for people. Raises ConfigurationError for what cannot be listened on."""
        raise NotImplementedError

    def stop_listening(self) -> None:
        """The server is to end: take nothing new."""
        raise NotImplementedError

    def reply(self, local: str, message: Message) -> None:
        """Something was said to a client, unchecked; one that is not known is to be counted."""
        raise NotImplementedError

    def is_open(self, local: str) -> bool:
        """Whether this client is still there; else it can join no group."""
        return False

    def is_busy(self) -> bool:
        """Whether a client waits for something; asked while the server ends."""
        return False

    def close(self) -> None:
        """It is over: close whatever is still open."""

    def layer_back(self, place: BridgePlace) -> None:
        """The layer answers, for the first time or again."""

    def replies_lost(self, place: BridgePlace) -> None:
        """Replies to clients of this place are lost, nobody knows whose."""

    def fenced(self, place: BridgePlace) -> None:
        """Reply channels that were given out before are nobody's now, and memberships of groups are over."""

    # What it uses

    def next_place(self) -> BridgePlace:
        """Where a new client belongs: places take turns, and those that are away are left out."""
        for _ in self.places:
            self._turn = (self._turn + 1) % len(self.places)
            if self.places[self._turn].up:
                break
        return self.places[self._turn]

    def trouble(self, kind: str, begins: str, ends: str, **about: str) -> None:
        """Count something that went wrong; the log says so when it begins and when it is over.

        `begins` has the names of `about` in braces, and `ends` {count} and {seconds}. Each `ends` is
        remembered, so nothing of a client's may stand there.
        """
        self.counters[kind] += 1
        episode = self._episodes.get(ends)
        if episode is None:
            episode = self._episodes[ends] = Episode(self.reactor, begins, ends)
        episode.happened(**about)

    def refused(self, place: BridgePlace, channel: str, outcome: Outcome) -> None:
        """Count and say that a message was not accepted."""
        kind = _REFUSALS.get(outcome, "away")
        if kind == "full":
            taken = channel in place.port.taken_channels
            begins = f"{channel} is full, so messages are refused" + (
                ": there are too few workers, or they are busy." if taken else ": does a worker take it?"
            )
        elif kind == "unsendable":
            begins = f"A message for {channel} is refused: it is larger than the channel layer carries."
        else:
            begins = f"The channel layer does not answer, so messages for {channel} are refused."
        ends = f"{{count}} messages for {channel} were refused within {{seconds}} s ({kind})."
        self.trouble(kind, begins, ends)

    async def start(self) -> list[str]:
        """Listen, and connect to the layer; the addresses. Raises ConfigurationError."""
        addresses = await self.listen()
        for place in self.places:
            place.port.start(place)
        return addresses

    def stop(self, when_stopped: Callable[[], None]) -> None:
        """End: nothing new is taken, what is on its way has `drain_seconds`, then the layer's ports end."""
        self._stop_by = self.reactor.seconds() + self.drain_seconds
        self.stop_listening()
        self._drain(when_stopped)

    def _drain(self, when_stopped: Callable[[], None]) -> None:
        busy = self.is_busy() or any(place.unanswered for place in self.places)
        if busy and self.reactor.seconds() < self._stop_by:
            self.reactor.callLater(_LOOK_SECONDS, self._drain, when_stopped)
            return
        self.close()
        running = set(self.places)

        def stopped(place: BridgePlace) -> None:
            running.discard(place)
            if not running:
                when_stopped()

        for place in self.places:
            place.port.stop(partial(stopped, place), STOP_SECONDS)


def serve(
    name: str,
    layer_url: str,
    make: Callable[[Any, Sequence[InterfacePort]], Bridge],
    verbosity: int = 1,
) -> int:
    """Run a bridge in this process until SIGTERM or SIGINT, and return the exit status.

    `layer_url` is what `--layer` takes; `make` makes the bridge of a reactor and the layer's ports. What
    cannot work is one line on stderr, after `name`, and status 1. A layer that is merely away is waited for.
    """
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    # Twisted's clock is the wall clock, which may jump.
    reactor.seconds = time.monotonic
    log.configure(verbosity)
    # A layer by import path is looked for where the command is run.
    sys.path.insert(0, ".")
    try:
        layer = layer_from_url(layer_url)
        layer.ensure_usable()
        return _BridgeProcess(reactor, make(reactor, interface_ports(layer, reactor))).run()
    except ConfigurationError as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201 (the one line)
        return 1


class _BridgeProcess:
    """The process around a bridge: the reactor, signals, the exit status."""

    def __init__(self, reactor: Any, bridge: Bridge) -> None:
        self._reactor = reactor
        self._bridge = bridge
        self._signals = 0
        self._status = 0
        self._error: ConfigurationError | None = None

    def run(self) -> int:
        """Run until stopped; the exit status. Raises ConfigurationError if it cannot start."""
        reactor = self._reactor
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: reactor.callFromThread(self._signalled))
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(self._tell_state))
        reactor.callWhenRunning(lambda: defer.ensureDeferred(self._start()))
        reactor.run(installSignalHandlers=False)
        if self._error is not None:
            raise self._error
        return self._status

    async def _start(self) -> None:
        try:
            addresses = await self._bridge.start()
        except ConfigurationError as error:
            self._error = error
            self._end(1)
        except Exception:
            logger.exception("The server could not start.")
            self._end(1)
        else:
            where = ", ".join(place.port.label for place in self._bridge.places)
            logger.info("Listening on %s; the channel layer is %s", ", ".join(addresses), where)

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals > 1:
            logger.warning("A second signal: ending at once.")
            self._end(1)
        else:
            logger.info("Stopping.")
            self._bridge.stop(self._stopped)

    def _stopped(self) -> None:
        logger.info("Stopped.")
        self._end(0)

    def _tell_state(self) -> None:
        """Somebody asked, so it is said at every verbosity."""
        state = {
            "counters": dict(sorted(self._bridge.counters.items())),
            "places": [{"layer": place.port.label, "up": place.up} for place in self._bridge.places],
        }
        logger.warning("SIGUSR1, the state is %s", json.dumps(state))

    def _end(self, status: int) -> None:
        self._status = status
        if self._reactor.running:
            self._reactor.stop()
